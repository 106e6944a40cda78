-- name: LockAccounts :many
-- Lock accounts in id order, waiting for each; what is returned is fresh.
SELECT
    id, kind, owner_user_id, currency_code, state, posted_minor, held_minor, overdraft_limit_minor,
    entry_count, last_entry_time
FROM accounts
WHERE id = ANY(@ids::uuid [])
ORDER BY id
FOR NO KEY UPDATE;

-- name: LockFreeAccounts :many
-- Lock those of the accounts that nobody else has locked.
SELECT
    id, kind, owner_user_id, currency_code, state, posted_minor, held_minor, overdraft_limit_minor,
    entry_count, last_entry_time
FROM accounts
WHERE id = ANY(@ids::uuid [])
ORDER BY id
FOR NO KEY UPDATE SKIP LOCKED;

-- name: LockAccountsOfUser :many
-- Lock every account of a user in id order, so that no debit is between its checks and its commit.
SELECT id FROM accounts WHERE owner_user_id = @owner_user_id ORDER BY id FOR NO KEY UPDATE;

-- name: ListSystemAccounts :many
-- Whoever has no owner is no customer; asked so because there is an index by owner.
SELECT id, currency_code FROM accounts WHERE owner_user_id IS NULL ORDER BY currency_code, id;

-- name: InsertAccount :one
INSERT INTO accounts (id, owner_user_id, display_name, currency_code)
VALUES (@id, @owner_user_id, @display_name, @currency_code)
RETURNING *, 0::bigint AS overdue_minor;

-- name: GetAccount :one
-- With what overdue holds still count in held_minor, which is free already.
SELECT
    accounts.*,
    coalesce(
        (
            SELECT sum(holds.amount_minor)
            FROM holds
            WHERE
                holds.source_account_id = accounts.id
                AND holds.state = 'PENDING'
                AND holds.expire_time <= (SELECT clock_timestamp())
        ),
        0
    )::bigint AS overdue_minor
FROM accounts
WHERE accounts.id = @id AND accounts.kind = 'CUSTOMER';

-- name: ListAccounts :many
-- Newest first, after the account named by the page token; of one owner or of everyone.
SELECT
    accounts.*,
    coalesce(
        (
            SELECT sum(holds.amount_minor)
            FROM holds
            WHERE
                holds.source_account_id = accounts.id
                AND holds.state = 'PENDING'
                AND holds.expire_time <= (SELECT clock_timestamp())
        ),
        0
    )::bigint AS overdue_minor
FROM accounts
WHERE accounts.kind = 'CUSTOMER' AND accounts.id < @before_id
ORDER BY accounts.id DESC
LIMIT @page_size;

-- name: ListAccountsOfUser :many
SELECT
    accounts.*,
    coalesce(
        (
            SELECT sum(holds.amount_minor)
            FROM holds
            WHERE
                holds.source_account_id = accounts.id
                AND holds.state = 'PENDING'
                AND holds.expire_time <= (SELECT clock_timestamp())
        ),
        0
    )::bigint AS overdue_minor
FROM accounts
WHERE accounts.owner_user_id = @owner_user_id AND accounts.id < @before_id
ORDER BY accounts.id DESC
LIMIT @page_size;

-- name: ListAccountIdsOfUser :many
SELECT id FROM accounts WHERE owner_user_id = @owner_user_id ORDER BY id;

-- name: ListExistingAccountIds :many
-- Which of the ids are accounts, whoever has them locked.
SELECT id FROM accounts WHERE id = ANY(@ids::uuid []);

-- name: LockAccount :exec
-- Wait for one account, holding no other.
SELECT id FROM accounts WHERE id = @id FOR NO KEY UPDATE;

-- name: UpdateAccountSettings :exec
-- Change the settings of an account that is locked.
UPDATE accounts
SET
    display_name = @display_name,
    metadata = @metadata,
    overdraft_limit_minor = @overdraft_limit_minor,
    version = version + 1,
    update_time = clock_timestamp()
WHERE id = @id;

-- name: UpdateAccountState :exec
-- Change the state of an account that is locked.
UPDATE accounts SET state = @state, version = version + 1, update_time = clock_timestamp() WHERE id = @id;

-- name: ListOpenObligations :many
-- What still binds an account that shall be closed and is locked: one row for each kind of thing.
-- Overdue holds on it are released already; those for it are released by whoever has them. A
-- transfer to it that somebody else has scheduled binds nothing, or a stranger could keep it open:
-- it will fail.
SELECT 'hold'::text AS obligation
WHERE EXISTS (
    SELECT 1 FROM holds
    WHERE holds.source_account_id = @account_id AND holds.state = 'PENDING'
    UNION ALL
    SELECT 1 FROM holds
    WHERE
        holds.destination_account_id = @account_id
        AND holds.state = 'PENDING'
        AND holds.expire_time > clock_timestamp()
)
UNION ALL
SELECT 'scheduled transfer'::text AS obligation
WHERE EXISTS (
    SELECT 1 FROM scheduled_transfers
    WHERE scheduled_transfers.source_account_id = @account_id AND scheduled_transfers.state = 'SCHEDULED'
)
UNION ALL
SELECT 'order'::text AS obligation
WHERE EXISTS (
    SELECT 1 FROM orders
    WHERE orders.payment_account_id = @account_id AND orders.state = 'PLACED'
    UNION ALL
    SELECT 1 FROM orders
    WHERE orders.settlement_account_id = @account_id AND orders.state = 'PLACED'
);

-- name: GetBalanceAt :one
-- What an account had after all entries posted before the instant.
SELECT
    accounts.id,
    accounts.currency_code,
    coalesce(entries.balance_after_minor, 0)::bigint AS posted_minor,
    coalesce(entries.sequence, 0)::bigint AS sequence
FROM accounts
LEFT JOIN entries
    ON accounts.id = entries.account_id AND entries.sequence = entry_sequence_before(accounts.id, @before_time)
WHERE accounts.id = @id;

-- name: ListAccountOwners :many
-- What of an account never changes.
SELECT id, owner_user_id, currency_code FROM accounts WHERE id = ANY(@ids::uuid []);

-- name: GetPayee :one
-- The oldest open account of somebody who is found by name. Whatever is missing, one query tells,
-- so that neither the answer nor its time says what.
SELECT users.username, users.full_name, accounts.id AS account_id, accounts.currency_code
FROM users
INNER JOIN accounts ON users.id = accounts.owner_user_id
WHERE
    users.username = @username
    AND users.payable_by_name
    AND NOT users.disabled
    AND accounts.currency_code = @currency_code
    AND accounts.state = 'OPEN'
ORDER BY accounts.id
LIMIT 1;
