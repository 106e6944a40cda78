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
                AND holds.expire_time <= clock_timestamp()
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
                AND holds.expire_time <= clock_timestamp()
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
                AND holds.expire_time <= clock_timestamp()
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
