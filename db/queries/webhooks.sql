-- name: InsertWebhook :one
-- Store a new one that is due: events that were told to the others while it was not yet there are
-- found by looking.
INSERT INTO webhooks (id, user_id, url, types, description, everybodys, position)
VALUES (@id, @user_id, @url, @types, @description, @everybodys, @position)
RETURNING *;

-- name: CountWebhooks :one
SELECT count(*)::integer AS webhook_count FROM webhooks WHERE user_id = @user_id AND delete_time IS NULL;

-- name: GetWebhook :one
SELECT * FROM webhooks WHERE id = @id AND user_id = @user_id AND delete_time IS NULL;

-- name: LockWebhook :one
SELECT * FROM webhooks WHERE id = @id AND user_id = @user_id AND delete_time IS NULL FOR NO KEY UPDATE;

-- name: ListWebhooks :many
-- Newest first, after the one named by the page token.
SELECT * FROM webhooks
WHERE user_id = @user_id AND id < @before_id AND delete_time IS NULL
ORDER BY id DESC
LIMIT @page_size;

-- name: UpdateWebhook :one
-- Change one that is locked; what failed before says nothing about it as it is now, nor does what
-- fails in a round that goes on: that one sees by `retry_time` that it was changed.
UPDATE webhooks
SET
    url = @url,
    types = @types,
    description = @description,
    disable_reason = sqlc.narg('disable_reason')::text,
    due_time = CASE WHEN sqlc.narg('disable_reason')::text IS NULL THEN clock_timestamp() END,
    retry_time = clock_timestamp(),
    failure_count = 0,
    failing_since_time = NULL,
    update_time = clock_timestamp()
WHERE id = @id
RETURNING *;

-- name: MarkWebhookDeleted :exec
-- One that is locked; the retention removes it with its deliveries.
UPDATE webhooks SET delete_time = clock_timestamp(), due_time = NULL WHERE id = @id;

-- name: MarkWebhookDue :exec
-- Have something tried now. A round that goes on and fails sees by `retry_time` not to put it off.
UPDATE webhooks SET due_time = clock_timestamp(), retry_time = clock_timestamp()
WHERE id = @id AND disable_reason IS NULL AND delete_time IS NULL;

-- name: InsertWebhookSecret :exec
INSERT INTO webhook_secrets (id, webhook_id, ciphertext) VALUES (@id, @webhook_id, @ciphertext);

-- name: UpdateWebhookSecretsExpiring :one
-- Let the secrets of a locked webhook live for so long and no longer; when the last of them ends,
-- null if there is none.
WITH ending AS (
    UPDATE webhook_secrets
    SET expire_time = least(expire_time, clock_timestamp() + make_interval(secs => @ttl_s::float8))
    WHERE webhook_id = @webhook_id AND (expire_time IS NULL OR expire_time > clock_timestamp())
    RETURNING expire_time
)

SELECT max(expire_time)::timestamptz AS expire_time FROM ending;

-- name: DeleteWebhookSecrets :exec
-- All of a webhook but the newest few.
DELETE FROM webhook_secrets
WHERE
    id IN (
        SELECT old.id FROM webhook_secrets AS old
        WHERE old.webhook_id = @webhook_id
        ORDER BY old.id DESC
        OFFSET @kept
    );

-- name: GetWebhookFeed :one
-- Up to which position webhooks were told, and where the feed ends.
SELECT webhook_feed.position, (SELECT coalesce(max(events.position), 0) FROM events)::bigint AS last_position
FROM webhook_feed
WHERE webhook_feed.only_row;

-- name: LockWebhookFeed :one
-- Become the one who tells webhooks of new events; no row while somebody else is.
SELECT position FROM webhook_feed WHERE only_row FOR NO KEY UPDATE SKIP LOCKED;

-- name: UpdateWebhookFeed :exec
UPDATE webhook_feed SET position = @position WHERE only_row;

-- name: MarkWebhooksDueByEvents :execrows
-- Tell the webhooks whom events of some positions concern; one that is due already knows.
WITH concerned AS (
    SELECT events.user_id FROM events
    WHERE events.position > @after_position AND events.position <= @last_position
    UNION
    SELECT events.counterparty_user_id FROM events
    WHERE events.position > @after_position AND events.position <= @last_position
),

told AS (
    SELECT theirs.id FROM concerned
    CROSS JOIN LATERAL (
        SELECT webhooks.id FROM webhooks
        WHERE webhooks.user_id = concerned.user_id AND webhooks.delete_time IS NULL
        OFFSET 0
    ) AS theirs
    UNION
    SELECT webhooks.id FROM webhooks
    WHERE webhooks.everybodys AND webhooks.delete_time IS NULL
)

UPDATE webhooks
SET due_time = greatest(clock_timestamp(), retry_time)
WHERE
    id = ANY(ARRAY(SELECT told.id FROM told))
    AND disable_reason IS NULL
    AND delete_time IS NULL
    AND (due_time IS NULL OR due_time > greatest(clock_timestamp(), retry_time));

-- name: MarkWebhookLeasesExpired :execrows
-- Whose worker is gone is due.
UPDATE webhooks
SET
    lease_expire_time = NULL,
    due_time = CASE WHEN disable_reason IS NULL AND delete_time IS NULL THEN clock_timestamp() END
WHERE
    id = ANY(
        ARRAY(
            SELECT leased.id FROM webhooks AS leased
            WHERE leased.lease_expire_time < (SELECT clock_timestamp())
            ORDER BY leased.lease_expire_time
            LIMIT 100
            FOR NO KEY UPDATE SKIP LOCKED
        )
    );

-- name: MarkWebhooksLeased :many
-- Take due webhooks, those that waited longest first: of the good ones, or of those that failed or
-- were slow the last time.
UPDATE webhooks
SET due_time = NULL, lease_expire_time = clock_timestamp() + make_interval(secs => @lease_s::float8)
WHERE
    id = ANY(
        ARRAY(
            SELECT due.id FROM webhooks AS due
            WHERE
                (due.failure_count > 0 OR due.is_slow) = @is_troubled::boolean
                AND due.due_time <= (SELECT clock_timestamp())
                AND due.lease_expire_time IS NULL
            ORDER BY due.due_time
            LIMIT @count_max
            FOR NO KEY UPDATE SKIP LOCKED
        )
    )
RETURNING id, lease_expire_time::timestamptz AS lease_expire_time;

-- name: MarkWebhooksGivenBack :exec
-- End leases early: their worker stops. One that ran out meanwhile may be another worker's.
UPDATE webhooks
SET
    lease_expire_time = NULL,
    due_time = CASE WHEN disable_reason IS NULL AND delete_time IS NULL THEN clock_timestamp() END
WHERE
    (id, lease_expire_time) IN (
        SELECT
            unnest(@ids::uuid []),
            unnest(@lease_expire_times::timestamptz [])
    );

-- name: GetLeasedWebhook :one
-- What a round needs to know; no row if nothing may be sent to it any more.
SELECT
    webhooks.id,
    webhooks.user_id,
    webhooks.types,
    webhooks.everybodys,
    webhooks.position,
    webhooks.failure_count,
    webhooks.retry_time,
    users.disabled AS owner_disabled,
    users.roles AS owner_roles,
    clock_timestamp()::timestamptz AS now
FROM webhooks
INNER JOIN users ON webhooks.user_id = users.id
WHERE webhooks.id = @id AND webhooks.disable_reason IS NULL AND webhooks.delete_time IS NULL;

-- name: UpdateWebhookPosition :execrows
-- Pass over what was read of the feed, unless what it was read for has changed meanwhile: it must be
-- read again then.
UPDATE webhooks
SET position = greatest(webhooks.position, @position)
FROM users
WHERE
    webhooks.id = @id AND webhooks.types = @types::text []
    AND users.id = webhooks.user_id AND users.roles = @owner_roles::text [];

-- name: UpdateWebhookRound :one
-- End a round by the lease it was begun with, no row if that ran out; what is known of the webhook.
UPDATE webhooks
SET lease_expire_time = NULL, is_slow = coalesce(sqlc.narg('is_slow')::boolean, is_slow)
WHERE id = @id AND lease_expire_time = @lease_expire_time::timestamptz
RETURNING failure_count, retry_time;

-- name: MarkWebhookWell :exec
UPDATE webhooks SET failure_count = 0, failing_since_time = NULL, retry_time = NULL WHERE id = @id;

-- name: MarkWebhookTroubled :exec
-- One more round was without success: nothing is tried for a while.
UPDATE webhooks
SET
    failure_count = failure_count + 1,
    failing_since_time = coalesce(failing_since_time, clock_timestamp()),
    retry_time = clock_timestamp() + make_interval(secs => @pause_s::float8)
WHERE id = @id;

-- name: UpdateWebhookDueTime :exec
-- Say when there is something to do again, null for nothing; what became due meanwhile stays so.
-- What is due already goes to the end of the line, however long ago it became due.
UPDATE webhooks
SET
    due_time = greatest(
        CASE
            WHEN sqlc.narg('next_time')::timestamptz IS NULL THEN due_time
            ELSE least(due_time, greatest(sqlc.narg('next_time')::timestamptz, clock_timestamp()))
        END,
        retry_time
    )
WHERE
    id = @id AND disable_reason IS NULL AND delete_time IS NULL
    AND least(due_time, sqlc.narg('next_time')::timestamptz) IS NOT NULL;

-- name: MarkWebhookFailing :execrows
-- Disable one at which nothing succeeded for so long.
UPDATE webhooks
SET disable_reason = 'FAILING', due_time = NULL, update_time = clock_timestamp()
WHERE
    id = @id AND disable_reason IS NULL AND delete_time IS NULL
    AND failing_since_time < clock_timestamp() - make_interval(secs => @age_s::float8);

-- name: GetWebhookWait :one
-- Seconds that the webhook that has been due for longest has waited for a worker; 0 if none has.
SELECT
    coalesce(
        greatest(extract(EPOCH FROM clock_timestamp() - min(due_time)), 0), 0
    )::float8 AS wait_s
FROM webhooks
WHERE due_time IS NOT NULL;
