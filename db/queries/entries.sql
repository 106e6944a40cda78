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
