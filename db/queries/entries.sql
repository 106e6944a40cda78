-- name: ListEntries :many
-- Highest sequence first.
SELECT * FROM entries
WHERE account_id = @account_id AND sequence < @before_sequence
ORDER BY sequence DESC
LIMIT @page_size;

-- name: ListEntriesOfTransfer :many
-- The entries of one transfer on the accounts of one user, the debit first.
SELECT entries.*
FROM transfers
INNER JOIN entries
    ON (entries.account_id, entries.sequence) IN (
        (transfers.source_account_id, transfers.source_sequence),
        (transfers.destination_account_id, transfers.destination_sequence)
    )
INNER JOIN accounts ON entries.account_id = accounts.id
WHERE transfers.id = @transfer_id AND accounts.owner_user_id = @owner_user_id
ORDER BY entries.amount_minor;

-- name: GetStatementRange :one
-- The sequences that a range of time covers, after the first one named up to the last.
SELECT
    entry_sequence_before(@account_id::uuid, @start_time::timestamptz)::bigint AS before_sequence,
    entry_sequence_before(@account_id::uuid, @end_time::timestamptz)::bigint AS last_sequence;

-- name: GetStatementTotals :one
-- The balances at both ends of a range of sequences, and what moved between them.
SELECT
    coalesce(
        (
            SELECT entries.balance_after_minor FROM entries
            WHERE entries.account_id = @account_id AND entries.sequence = @before_sequence
        ),
        0
    )::bigint AS opening_balance_minor,
    coalesce(
        (
            SELECT entries.balance_after_minor FROM entries
            WHERE entries.account_id = @account_id AND entries.sequence = @last_sequence
        ),
        0
    )::bigint AS closing_balance_minor,
    least(coalesce(sum(entries.amount_minor) FILTER (WHERE entries.amount_minor > 0), 0), 9223372036854775807)::bigint
        AS credited_minor,
    least(-coalesce(sum(entries.amount_minor) FILTER (WHERE entries.amount_minor < 0), 0), 9223372036854775807)::bigint
        AS debited_minor
FROM entries
WHERE
    entries.account_id = @account_id
    AND entries.sequence > @before_sequence
    AND entries.sequence <= @last_sequence;

-- name: ListStatementEntries :many
-- Lowest sequence first.
SELECT * FROM entries
WHERE account_id = @account_id AND sequence > @after_sequence AND sequence <= @last_sequence
ORDER BY sequence
LIMIT @page_size;

-- name: ListStatementLines :many
-- Entries with what their transfers say, lowest sequence first.
SELECT
    entries.sequence,
    entries.create_time,
    entries.transfer_id,
    transfers.kind,
    transfers.description,
    entries.amount_minor,
    entries.balance_after_minor
FROM entries
INNER JOIN transfers ON entries.transfer_id = transfers.id
WHERE
    entries.account_id = @account_id
    AND entries.sequence > @after_sequence
    AND entries.sequence <= @last_sequence
ORDER BY entries.sequence
LIMIT @page_size;
