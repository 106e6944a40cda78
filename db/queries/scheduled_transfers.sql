-- name: InsertScheduledTransfer :one
-- Store a new one, with its event.
WITH inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, data, create_time)
    VALUES (
        'scheduled_transfer.created',
        @id,
        @creator_user_id,
        jsonb_build_object('state', 'SCHEDULED'),
        @create_time
    )
)

INSERT INTO scheduled_transfers (
    id, creator_user_id, source_account_id, destination_account_id, amount_minor, currency_code, description,
    reference, execute_time, create_time, update_time
)
VALUES (
    @id, @creator_user_id, @source_account_id, @destination_account_id, @amount_minor, @currency_code, @description,
    sqlc.narg('reference'), @execute_time, @create_time, @create_time
)
RETURNING *;

-- name: GetScheduledTransfer :one
SELECT * FROM scheduled_transfers WHERE id = @id;

-- name: LockScheduledTransfer :one
-- Wait for whoever executes or cancels it; what is returned is fresh.
SELECT * FROM scheduled_transfers WHERE id = @id FOR NO KEY UPDATE;

-- name: MarkScheduledTransferCanceled :one
-- Cancel one that is locked, with its event.
WITH inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, data)
    SELECT 'scheduled_transfer.canceled', id, creator_user_id, jsonb_build_object('state', 'CANCELED')
    FROM scheduled_transfers
    WHERE scheduled_transfers.id = @id
)

UPDATE scheduled_transfers SET state = 'CANCELED', update_time = clock_timestamp()
WHERE scheduled_transfers.id = @id AND scheduled_transfers.state = 'SCHEDULED'
RETURNING *;

-- name: ListAllScheduledTransfers :many
-- Newest first, after the one named by the page token.
SELECT * FROM scheduled_transfers
WHERE id < @before_id AND (sqlc.narg('state')::text IS NULL OR state = sqlc.narg('state')::text)
ORDER BY id DESC
LIMIT @page_size;

-- name: ListScheduledTransfersOfUser :many
SELECT * FROM scheduled_transfers
WHERE
    creator_user_id = @creator_user_id
    AND id < @before_id
    AND (sqlc.narg('state')::text IS NULL OR state = sqlc.narg('state')::text)
ORDER BY id DESC
LIMIT @page_size;

-- name: ListScheduledTransfersOfAccount :many
-- Those from the account and, where asked for, those to it.
SELECT page.*
FROM (
    (
        SELECT * FROM scheduled_transfers
        WHERE
            scheduled_transfers.source_account_id = @account_id
            AND scheduled_transfers.id < @before_id
            AND (sqlc.narg('state')::text IS NULL OR scheduled_transfers.state = sqlc.narg('state')::text)
        ORDER BY scheduled_transfers.id DESC
        LIMIT @page_size
    )
    UNION ALL
    (
        SELECT * FROM scheduled_transfers
        WHERE
            @with_incoming::boolean
            AND scheduled_transfers.destination_account_id = @account_id
            AND scheduled_transfers.id < @before_id
            AND (sqlc.narg('state')::text IS NULL OR scheduled_transfers.state = sqlc.narg('state')::text)
        ORDER BY scheduled_transfers.id DESC
        LIMIT @page_size
    )
) AS page
ORDER BY page.id DESC
LIMIT @page_size;

-- name: ListDueScheduledTransfers :many
-- In order of time, after the one executed or passed over last.
SELECT id, execute_time FROM scheduled_transfers
WHERE
    state = 'SCHEDULED'
    AND execute_time <= (SELECT clock_timestamp())
    AND (execute_time, id) > (@after_time::timestamptz, @after_id::uuid)
ORDER BY execute_time, id
LIMIT @most;

-- name: LockScheduledTransfersToExecute :many
-- Those that are still to be executed and that no other worker is executing.
SELECT * FROM scheduled_transfers
WHERE id = ANY(@ids::uuid []) AND state = 'SCHEDULED'
ORDER BY execute_time, id
FOR NO KEY UPDATE SKIP LOCKED;

-- name: MarkScheduledTransfersExecuted :one
-- Bring locked ones to their final state, with one event each; returned is how many there were.
WITH executed AS (
    SELECT
        unnest(@ids::uuid []) AS id,
        unnest(@states::text []) AS state,
        unnest(@transfer_ids::uuid []) AS transfer_id,
        unnest(@failure_reasons::text []) AS failure_reason
),

updated AS (
    UPDATE scheduled_transfers
    SET
        state = executed.state,
        transfer_id = executed.transfer_id,
        failure_reason = executed.failure_reason,
        update_time = clock_timestamp()
    FROM executed
    WHERE scheduled_transfers.id = executed.id AND scheduled_transfers.state = 'SCHEDULED'
    RETURNING 1
),

inserted_events AS (
    INSERT INTO events (type, subject_id, user_id, data)
    SELECT
        'scheduled_transfer.' || lower(executed.state),
        executed.id,
        scheduled_transfers.creator_user_id,
        jsonb_strip_nulls(
            jsonb_build_object(
                'state', executed.state, 'transfer_id', executed.transfer_id, 'reason', executed.failure_reason
            )
        )
    FROM executed
    INNER JOIN scheduled_transfers ON executed.id = scheduled_transfers.id
)

SELECT count(*)::bigint AS schedule_count FROM updated;

-- name: ListScheduledTransfersByIds :many
SELECT * FROM scheduled_transfers WHERE id = ANY(@ids::uuid []);
