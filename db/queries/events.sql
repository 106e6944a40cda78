-- name: InsertEvent :exec
-- Record a fact in the transaction of the fact.
INSERT INTO events (type, subject_id, user_id, data) VALUES (@type, @subject_id, @user_id, @data);

-- name: LockSequencing :one
-- Become the one sequencer of the database for as long as this connection lasts.
SELECT pg_try_advisory_lock(@key::bigint) AS locked;

-- name: UpdateEventPositions :one
-- Give the next positions to committed events without one, in id order. The limit is written out:
-- as a parameter it would hide from the planner how few rows are joined.
WITH numbered AS (
    SELECT
        unsequenced.id,
        (SELECT coalesce(max(events.position), 0) FROM events)
        + row_number() OVER (ORDER BY unsequenced.id) AS position
    FROM (
        SELECT waiting.id FROM events AS waiting
        WHERE waiting.position IS NULL AND waiting.id > @after_id
        ORDER BY waiting.id
        LIMIT 1000
    ) AS unsequenced
),

sequenced AS (
    UPDATE events SET position = numbered.position
    FROM numbered
    WHERE events.id = numbered.id
    RETURNING events.id, events.create_time
)

SELECT
    count(*)::integer AS event_count,
    coalesce(max(id), 0)::bigint AS last_id,
    coalesce(extract(EPOCH FROM clock_timestamp() - min(create_time)), 0)::float8 AS lag_s
FROM sequenced;
