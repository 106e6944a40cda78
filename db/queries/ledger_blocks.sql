-- name: GetLastLedgerBlock :one
SELECT number, last_position, hash FROM ledger_blocks ORDER BY number DESC LIMIT 1;

-- name: GetUnsealedSpan :one
-- What follows a position, at most so many events: where they end, how many they are, and how many
-- seconds the first transfer among them has waited; 0 if there is none.
SELECT
    coalesce(max(waiting.position), 0)::bigint AS last_position,
    count(*)::integer AS event_count,
    coalesce(
        extract(
            EPOCH FROM clock_timestamp()
            - min(waiting.create_time) FILTER (WHERE waiting.type IN ('transfer.posted', 'transfer.reversed'))
        ),
        0
    )::float8 AS age_s
FROM (
    SELECT events.position, events.type, events.create_time FROM events
    WHERE events.position > @after_position::bigint
    ORDER BY events.position
    LIMIT @most
) AS waiting;

-- name: ListPostedTransferIds :many
-- The transfers of a range of positions, in their order.
SELECT subject_id FROM events
WHERE
    position >= @first_position::bigint AND position <= @last_position::bigint
    AND type IN ('transfer.posted', 'transfer.reversed')
ORDER BY position;

-- name: ListTransfersToDigest :many
-- Transfers as they are stored, and of the two entries that each names what is there.
SELECT
    transfers.*,
    debit.transfer_id AS debit_transfer_id,
    debit.amount_minor AS debit_amount_minor,
    debit.balance_after_minor AS debit_balance_after_minor,
    debit.create_time AS debit_create_time,
    credit.transfer_id AS credit_transfer_id,
    credit.amount_minor AS credit_amount_minor,
    credit.balance_after_minor AS credit_balance_after_minor,
    credit.create_time AS credit_create_time
FROM transfers
LEFT JOIN entries AS debit
    ON transfers.source_account_id = debit.account_id AND transfers.source_sequence = debit.sequence
LEFT JOIN entries AS credit
    ON transfers.destination_account_id = credit.account_id AND transfers.destination_sequence = credit.sequence
WHERE transfers.id = ANY(@ids::uuid []);

-- name: InsertLedgerBlock :exec
INSERT INTO ledger_blocks (
    number, first_position, last_position, entry_count, transfer_ids, digests, previous_hash, hash
)
VALUES (
    @number, @first_position, @last_position, @entry_count, @transfer_ids::uuid [], @digests, @previous_hash, @hash
);

-- name: ListLedgerBlocks :many
-- In order, after a block.
SELECT * FROM ledger_blocks WHERE number > @after_number ORDER BY number LIMIT @most;
