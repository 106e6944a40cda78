-- name: InsertWebhookDeliveries :exec
-- One for each event; one that is there stays.
INSERT INTO webhook_deliveries (id, webhook_id, position, event_type, subject_id)
SELECT
    unnest(@ids::uuid []),
    @webhook_id,
    unnest(@positions::bigint []),
    unnest(@event_types::text []),
    unnest(@subject_ids::uuid [])
ON CONFLICT DO NOTHING;

-- name: ListPendingWebhookDeliveries :many
-- The earliest of a webhook, in the order of events.
SELECT
    id,
    subject_id,
    next_attempt_time::timestamptz AS next_attempt_time,
    (next_attempt_time <= clock_timestamp())::boolean AS is_due
FROM webhook_deliveries
WHERE webhook_id = @webhook_id AND state = 'PENDING'
ORDER BY position
LIMIT @most;

-- name: GetNextWebhookAttemptTime :one
-- When the next of the earliest deliveries of a webhook, those that a round would list, is to be
-- tried: of each subject the first counts, the others wait for it. Null if none is pending.
SELECT min(heads.next_attempt_time)::timestamptz AS next_attempt_time
FROM (
    SELECT DISTINCT ON (earliest.subject_id) earliest.next_attempt_time
    FROM (
        SELECT subject_id, position, next_attempt_time FROM webhook_deliveries
        WHERE webhook_id = @webhook_id AND state = 'PENDING'
        ORDER BY position
        LIMIT @most
    ) AS earliest
    ORDER BY earliest.subject_id, earliest.position
) AS heads;

-- name: GetWebhookDeliveryToSend :one
-- Everything a try needs, as it is now; no row if it is not to be tried.
SELECT
    webhook_deliveries.id,
    webhook_deliveries.webhook_id,
    webhook_deliveries.position,
    webhook_deliveries.attempt_count,
    webhook_deliveries.first_attempt_time,
    webhooks.url,
    webhooks.everybodys,
    webhooks.user_id AS owner_user_id,
    users.roles AS owner_roles,
    ARRAY(
        SELECT webhook_secrets.ciphertext FROM webhook_secrets
        WHERE
            webhook_secrets.webhook_id = webhooks.id
            AND (webhook_secrets.expire_time IS NULL OR webhook_secrets.expire_time > clock_timestamp())
        ORDER BY webhook_secrets.id DESC
    )::bytea [] AS secrets,
    events.id AS event_id,
    events.type AS event_type,
    events.subject_id,
    events.user_id,
    events.counterparty_user_id,
    events.data,
    events.create_time AS event_create_time,
    clock_timestamp()::timestamptz AS now
FROM webhook_deliveries
INNER JOIN webhooks ON webhook_deliveries.webhook_id = webhooks.id
INNER JOIN users ON webhooks.user_id = users.id
INNER JOIN events ON webhook_deliveries.position = events.position
WHERE
    webhook_deliveries.id = @id
    AND webhook_deliveries.state = 'PENDING'
    AND webhooks.disable_reason IS NULL
    AND webhooks.delete_time IS NULL
    AND NOT users.disabled;

-- name: MarkWebhookDeliveryDelivered :execrows
UPDATE webhook_deliveries
SET
    state = 'DELIVERED',
    attempt_count = attempt_count + 1,
    response_status = @response_status::integer,
    failure = NULL,
    first_attempt_time = coalesce(first_attempt_time, clock_timestamp()),
    last_attempt_time = clock_timestamp(),
    next_attempt_time = NULL,
    end_time = clock_timestamp()
WHERE id = @id AND state = 'PENDING';

-- name: MarkWebhookDeliveryTried :execrows
-- A try failed; there is another after a pause, unless a new series of tries has begun meanwhile.
UPDATE webhook_deliveries
SET
    attempt_count = attempt_count + 1,
    response_status = sqlc.narg('response_status')::integer,
    failure = @failure::text,
    first_attempt_time = coalesce(first_attempt_time, clock_timestamp()),
    last_attempt_time = clock_timestamp(),
    next_attempt_time = clock_timestamp() + make_interval(secs => @pause_s::float8)
WHERE id = @id AND state = 'PENDING' AND attempt_count = @attempt_count;

-- name: MarkWebhookDeliveryFailed :execrows
-- The last try of a series failed, and no other series has begun meanwhile.
UPDATE webhook_deliveries
SET
    state = 'FAILED',
    attempt_count = attempt_count + 1,
    response_status = sqlc.narg('response_status')::integer,
    failure = @failure::text,
    first_attempt_time = coalesce(first_attempt_time, clock_timestamp()),
    last_attempt_time = clock_timestamp(),
    next_attempt_time = NULL,
    end_time = clock_timestamp()
WHERE id = @id AND state = 'PENDING' AND attempt_count = @attempt_count;

-- name: MarkWebhookDeliveriesDue :execrows
-- Try all that are pending again at once: the receiver is back.
UPDATE webhook_deliveries SET next_attempt_time = clock_timestamp()
WHERE webhook_id = @webhook_id AND state = 'PENDING' AND next_attempt_time > clock_timestamp();

-- name: MarkWebhookDeliveriesRestarted :execrows
-- Begin a new series of tries of all that are pending: the webhook has changed.
UPDATE webhook_deliveries
SET attempt_count = 0, first_attempt_time = NULL, next_attempt_time = clock_timestamp()
WHERE webhook_id = @webhook_id AND state = 'PENDING' AND attempt_count > 0;

-- name: MarkWebhookDeliveryRestarted :one
-- Begin a new series of tries, whatever came of the last.
UPDATE webhook_deliveries
SET
    state = 'PENDING',
    attempt_count = 0,
    first_attempt_time = NULL,
    next_attempt_time = clock_timestamp(),
    end_time = NULL
WHERE id = @id AND webhook_id = @webhook_id
RETURNING *;

-- name: ListWebhookDeliveries :many
-- Newest event first, before the one named by the page token.
SELECT * FROM webhook_deliveries
WHERE webhook_id = @webhook_id AND position < @before_position
ORDER BY position DESC
LIMIT @page_size;

-- name: ListWebhookDeliveriesByState :many
SELECT * FROM webhook_deliveries
WHERE webhook_id = @webhook_id AND state = @state AND position < @before_position
ORDER BY position DESC
LIMIT @page_size;

-- name: CountPendingWebhookDeliveries :one
SELECT count(*)::bigint AS pending_count FROM webhook_deliveries WHERE state = 'PENDING';
