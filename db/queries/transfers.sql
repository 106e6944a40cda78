-- name: InsertPostings :one
-- Write a batch that the rules have passed: requests in key order, transfers, two entries each,
-- one event each, and the new state of every account. A conflict fails the whole statement;
-- returned is how many accounts were updated, to be compared with how many were meant.
WITH posting AS (
    SELECT
        unnest(@ids::uuid []) AS id,
        unnest(@kinds::text []) AS kind,
        unnest(@source_account_ids::uuid []) AS source_account_id,
        unnest(@destination_account_ids::uuid []) AS destination_account_id,
        unnest(@amounts_minor::bigint []) AS amount_minor,
        unnest(@currency_codes::text []) AS currency_code,
        unnest(@initiator_user_ids::uuid []) AS initiator_user_id,
        unnest(@request_ids::uuid []) AS request_id,
        unnest(@rpcs::text []) AS rpc,
        unnest(@fingerprints::bytea []) AS fingerprint,
        unnest(@descriptions::text []) AS description,
        unnest(@refs::text []) AS reference,
        unnest(@metadatas::text [])::jsonb AS metadata,
        unnest(@source_sequences::bigint []) AS source_sequence,
        unnest(@source_balances_minor::bigint []) AS source_balance_minor,
        unnest(@source_user_ids::uuid []) AS source_user_id,
        unnest(@destination_sequences::bigint []) AS destination_sequence,
        unnest(@destination_balances_minor::bigint []) AS destination_balance_minor,
        unnest(@destination_user_ids::uuid []) AS destination_user_id,
        unnest(@create_times::timestamptz []) AS create_time,
        unnest(@hold_ids::uuid []) AS hold_id,
        unnest(@reverses_transfer_ids::uuid []) AS reverses_transfer_id,
        unnest(@order_ids::uuid []) AS order_id
),

inserted_requests AS (
    INSERT INTO requests (user_id, request_id, rpc, fingerprint, result_id)
    SELECT initiator_user_id, request_id, rpc, fingerprint, id FROM posting
    ORDER BY initiator_user_id, request_id
),

inserted_transfers AS (
    INSERT INTO transfers (
        id, kind, source_account_id, destination_account_id, amount_minor, currency_code,
        initiator_user_id, request_id, description, reference, metadata,
        source_sequence, destination_sequence, create_time, hold_id, reverses_transfer_id, order_id
    )
    SELECT
        id, kind, source_account_id, destination_account_id, amount_minor, currency_code,
        initiator_user_id, request_id, description, reference, metadata,
        source_sequence, destination_sequence, create_time, hold_id, reverses_transfer_id, order_id
    FROM posting
),

inserted_entries AS (
    INSERT INTO entries (account_id, sequence, transfer_id, amount_minor, balance_after_minor, create_time)
    SELECT source_account_id, source_sequence, id, -amount_minor, source_balance_minor, create_time FROM posting
    UNION ALL
    SELECT
        destination_account_id, destination_sequence, id, amount_minor, destination_balance_minor, create_time
    FROM posting
),

inserted_events AS (
    INSERT INTO events (type, subject_id, user_id, counterparty_user_id, create_time)
    SELECT
        CASE WHEN reverses_transfer_id IS NULL THEN 'transfer.posted' ELSE 'transfer.reversed' END, id, source_user_id,
        destination_user_id, create_time
    FROM posting
),

updated_accounts AS (
    UPDATE accounts
    SET
        posted_minor = changed.posted_minor,
        held_minor = changed.held_minor,
        entry_count = changed.entry_count,
        last_entry_time = changed.last_entry_time
    FROM (
        SELECT
            unnest(@account_ids::uuid []) AS id,
            unnest(@accounts_posted_minor::bigint []) AS posted_minor,
            unnest(@accounts_held_minor::bigint []) AS held_minor,
            unnest(@accounts_entry_count::bigint []) AS entry_count,
            unnest(@accounts_last_entry_time::timestamptz []) AS last_entry_time
    ) AS changed
    WHERE accounts.id = changed.id
    RETURNING 1
)

SELECT count(*)::bigint AS account_count FROM updated_accounts;

-- name: ListOriginals :many
-- What of the transfers that shall be reversed never changes.
SELECT id, kind, source_account_id, destination_account_id, amount_minor, currency_code, order_id
FROM transfers
WHERE id = ANY(@ids::uuid []);

-- name: ListReversedTotals :many
-- How much of each was undone, read after the locks.
SELECT * FROM reversed_totals WHERE transfer_id = ANY(@ids::uuid []);

-- name: SetReversedTotals :exec
-- Set, for accounts that are locked, how much of each transfer was undone.
INSERT INTO reversed_totals (transfer_id, amount_minor)
SELECT unnest(@ids::uuid []), unnest(@amounts_minor::bigint [])
ON CONFLICT (transfer_id) DO UPDATE SET amount_minor = excluded.amount_minor;

-- name: GetTransfer :one
SELECT
    transfers.*,
    coalesce(reversed_totals.amount_minor, 0)::bigint AS reversed_amount_minor,
    source.owner_user_id AS source_user_id,
    destination.owner_user_id AS destination_user_id
FROM transfers
INNER JOIN accounts AS source ON transfers.source_account_id = source.id
INNER JOIN accounts AS destination ON transfers.destination_account_id = destination.id
LEFT JOIN reversed_totals ON transfers.id = reversed_totals.transfer_id
WHERE transfers.id = @id;

-- name: ListAllTransfers :many
-- Newest first by id, which begins with the time; the exact time bounds are checked beside it.
SELECT transfers.*, coalesce(reversed_totals.amount_minor, 0)::bigint AS reversed_amount_minor
FROM transfers
LEFT JOIN reversed_totals ON transfers.id = reversed_totals.transfer_id
WHERE
    transfers.id < @before_id AND transfers.id >= @first_id
    AND transfers.create_time >= @start_time AND transfers.create_time < @end_time
    AND (sqlc.narg('kind')::text IS NULL OR transfers.kind = sqlc.narg('kind')::text)
ORDER BY transfers.id DESC
LIMIT @page_size;

-- name: GetTransferByReference :one
SELECT transfers.*, coalesce(reversed_totals.amount_minor, 0)::bigint AS reversed_amount_minor
FROM transfers
LEFT JOIN reversed_totals ON transfers.id = reversed_totals.transfer_id
WHERE transfers.initiator_user_id = @initiator_user_id AND transfers.reference = @ref::text;

-- name: ListTransfersOfAccounts :many
-- Newest first over all the accounts; a transfer between two of them is listed once. Each
-- account's part of the time range is found by halving its sequence.
SELECT page.*
FROM (SELECT unnest(@account_ids::uuid []) AS id) AS listed
CROSS JOIN LATERAL (
    SELECT
        transfers.*,
        coalesce(reversed_totals.amount_minor, 0)::bigint AS reversed_amount_minor,
        entries.account_id AS listed_account_id,
        entries.sequence AS listed_sequence
    FROM entries
    INNER JOIN transfers ON entries.transfer_id = transfers.id
    LEFT JOIN reversed_totals ON transfers.id = reversed_totals.transfer_id
    WHERE
        entries.account_id = listed.id
        AND entries.sequence > entry_sequence_before(listed.id, @start_time::timestamptz)
        AND entries.sequence <= entry_sequence_before(listed.id, @end_time::timestamptz)
        AND (entries.create_time, entries.account_id, entries.sequence)
        < (@before_time::timestamptz, @before_account_id::uuid, @before_sequence::bigint)
        AND (sqlc.narg('kind')::text IS NULL OR transfers.kind = sqlc.narg('kind')::text)
        AND NOT (entries.amount_minor > 0 AND transfers.source_account_id = ANY(@account_ids::uuid []))
    ORDER BY entries.sequence DESC
    LIMIT @page_size
) AS page
ORDER BY page.create_time DESC, page.listed_account_id DESC, page.listed_sequence DESC
LIMIT @page_size;

-- name: ListTransfersByIds :many
SELECT transfers.*, coalesce(reversed_totals.amount_minor, 0)::bigint AS reversed_amount_minor
FROM transfers
LEFT JOIN reversed_totals ON transfers.id = reversed_totals.transfer_id
WHERE transfers.id = ANY(@ids::uuid []);

-- name: ListTransfersByLabel :many
-- Newest first by id; of one initiator or of anyone.
SELECT transfers.*, coalesce(reversed_totals.amount_minor, 0)::bigint AS reversed_amount_minor
FROM transfers
LEFT JOIN reversed_totals ON transfers.id = reversed_totals.transfer_id
WHERE
    transfers.metadata IS NOT NULL
    AND transfers.metadata @> jsonb_build_object(@label_key::text, @label_value::text)
    AND transfers.id < @before_id AND transfers.id >= @first_id
    AND transfers.create_time >= @start_time AND transfers.create_time < @end_time
    AND (sqlc.narg('initiator_user_id')::uuid IS NULL OR transfers.initiator_user_id = sqlc.narg('initiator_user_id')::uuid)
    AND (
        sqlc.narg('account_id')::uuid IS NULL
        OR sqlc.narg('account_id')::uuid IN (transfers.source_account_id, transfers.destination_account_id)
    )
    AND (sqlc.narg('kind')::text IS NULL OR transfers.kind = sqlc.narg('kind')::text)
ORDER BY transfers.id DESC
LIMIT @page_size;
