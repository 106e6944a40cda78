-- name: InsertOutboxJob :exec
-- Ask for work to be done after the commit of this transaction.
INSERT INTO outbox (id, job, payload) VALUES (@id, @job, @payload);

-- name: LockOutboxJobsToQueue :many
-- Open jobs of the given names that were never queued, or so long ago that the queue must have
-- lost them, without those that another relay is about to queue. New ones go first: they need not
-- wait until many old ones are queued again. Among both the oldest.
SELECT id, job FROM outbox
WHERE
    done_time IS NULL AND dead_time IS NULL AND job = ANY(@jobs::text [])
    AND (enqueue_time IS NULL OR enqueue_time < clock_timestamp() - make_interval(secs => @patience_s::float8))
ORDER BY enqueue_time IS NOT NULL, create_time
LIMIT @count_max
FOR UPDATE SKIP LOCKED;

-- name: MarkOutboxJobsQueued :exec
UPDATE outbox SET enqueue_time = clock_timestamp() WHERE id = ANY(@ids::uuid []);

-- name: MarkOutboxJobStarted :one
-- The payload of an open job and how long ago it was asked for; a job that runs now counts as
-- queued now, so that it is not queued a second time while it runs.
UPDATE outbox SET enqueue_time = clock_timestamp()
WHERE id = @id AND job = @job AND done_time IS NULL AND dead_time IS NULL
RETURNING payload, extract(EPOCH FROM clock_timestamp() - create_time)::float8 AS age_s;

-- name: MarkOutboxJobDone :execrows
-- One row for the first that reports it, none for the others.
UPDATE outbox SET done_time = clock_timestamp(), last_error = NULL
WHERE id = @id AND done_time IS NULL AND dead_time IS NULL;

-- name: MarkOutboxJobDead :execrows
-- Give a job up until an operator replays it.
UPDATE outbox SET dead_time = clock_timestamp(), last_error = @last_error
WHERE id = @id AND done_time IS NULL AND dead_time IS NULL;

-- name: MarkOutboxJobReplayed :execrows
-- Open a dead job again.
UPDATE outbox SET dead_time = NULL, enqueue_time = NULL, last_error = NULL
WHERE id = @id AND dead_time IS NOT NULL;

-- name: MarkAllOutboxJobsReplayed :execrows
-- Open all dead jobs again.
UPDATE outbox SET dead_time = NULL, enqueue_time = NULL, last_error = NULL
WHERE dead_time IS NOT NULL;

-- name: ListDeadOutboxJobs :many
-- Latest first.
SELECT id, job, create_time, dead_time::timestamptz AS dead_time, coalesce(last_error, '')::text AS last_error
FROM outbox
WHERE dead_time IS NOT NULL
ORDER BY dead_time DESC
LIMIT @count_max;

-- name: GetOutboxState :one
-- How many jobs are open, seconds that the oldest of them has waited, 0 if there is none, and how
-- many were given up.
SELECT
    count(*) AS open_count,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(create_time)), 0)::float8 AS age_s,
    (SELECT count(*) FROM outbox WHERE dead_time IS NOT NULL) AS dead_count
FROM outbox
WHERE done_time IS NULL AND dead_time IS NULL;
