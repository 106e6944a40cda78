-- name: ListHoldsForPosting :many
-- The holds that movements name, and those of the accounts whose time has run out.
SELECT * FROM holds
WHERE id = ANY(@ids::uuid [])
UNION
SELECT * FROM holds
WHERE source_account_id = ANY(@account_ids::uuid []) AND state = 'PENDING' AND expire_time <= @now::timestamptz;

-- name: CountPendingHolds :many
-- How many holds on each account are pending and not overdue; counting ends at the most that is asked.
SELECT
    asked.account_id::uuid AS account_id,
    counted.hold_count::bigint AS hold_count
FROM (SELECT unnest(@account_ids::uuid []) AS account_id) AS asked
CROSS JOIN LATERAL (
    SELECT count(*) AS hold_count
    FROM (
        SELECT 1
        FROM holds
        WHERE source_account_id = asked.account_id AND state = 'PENDING' AND expire_time > @now::timestamptz
        LIMIT @most
    ) AS pending
) AS counted;

-- name: ListHoldAccounts :many
-- What of a hold never changes.
SELECT id, source_account_id, destination_account_id, amount_minor, currency_code
FROM holds
WHERE id = ANY(@ids::uuid []);

-- name: InsertHolds :exec
-- Place holds: requests in key order, holds, one event each.
WITH placed AS (
    SELECT
        unnest(@ids::uuid []) AS id,
        unnest(@source_account_ids::uuid []) AS source_account_id,
        unnest(@destination_account_ids::uuid []) AS destination_account_id,
        unnest(@amounts_minor::bigint []) AS amount_minor,
        unnest(@currency_codes::text []) AS currency_code,
        unnest(@creator_user_ids::uuid []) AS creator_user_id,
        unnest(@counterparty_user_ids::uuid []) AS counterparty_user_id,
        unnest(@request_ids::uuid []) AS request_id,
        unnest(@rpcs::text []) AS rpc,
        unnest(@fingerprints::bytea []) AS fingerprint,
        unnest(@order_ids::uuid []) AS order_id,
        unnest(@expire_times::timestamptz []) AS expire_time,
        unnest(@create_times::timestamptz []) AS create_time
),

inserted_requests AS (
    INSERT INTO requests (user_id, request_id, rpc, fingerprint, result_id)
    SELECT creator_user_id, request_id, rpc, fingerprint, id FROM placed
    ORDER BY creator_user_id, request_id
),

inserted_events AS (
    INSERT INTO events (type, subject_id, user_id, counterparty_user_id, data, create_time)
    SELECT
        'hold.created', id, creator_user_id, counterparty_user_id, jsonb_build_object('state', 'PENDING'), create_time
    FROM placed
)

INSERT INTO holds (
    id, source_account_id, destination_account_id, amount_minor, currency_code, creator_user_id, order_id,
    expire_time, create_time, update_time
)
SELECT
    id, source_account_id, destination_account_id, amount_minor, currency_code, creator_user_id, order_id,
    expire_time, create_time, create_time
FROM placed;

-- name: UpdateHolds :one
-- Bring holds to their final state, with one event each; returned is how many there were.
WITH settled AS (
    SELECT
        unnest(@ids::uuid []) AS id,
        unnest(@states::text []) AS state,
        unnest(@captured_amounts_minor::bigint []) AS captured_amount_minor,
        unnest(@capture_transfer_ids::uuid []) AS capture_transfer_id,
        unnest(@update_times::timestamptz []) AS update_time
),

updated AS (
    UPDATE holds
    SET
        state = settled.state,
        captured_amount_minor = settled.captured_amount_minor,
        capture_transfer_id = settled.capture_transfer_id,
        update_time = settled.update_time
    FROM settled
    WHERE holds.id = settled.id AND holds.state = 'PENDING'
    RETURNING 1
),

inserted_events AS (
    INSERT INTO events (type, subject_id, user_id, counterparty_user_id, data, create_time)
    SELECT
        'hold.' || lower(settled.state),
        settled.id,
        source.owner_user_id,
        destination.owner_user_id,
        jsonb_build_object('state', settled.state, 'captured_amount_minor', settled.captured_amount_minor),
        settled.update_time
    FROM settled
    INNER JOIN holds ON settled.id = holds.id
    INNER JOIN accounts AS source ON holds.source_account_id = source.id
    INNER JOIN accounts AS destination ON holds.destination_account_id = destination.id
)

SELECT count(*)::bigint AS hold_count FROM updated;

-- name: GetHold :one
SELECT
    holds.*,
    source.owner_user_id AS source_user_id,
    destination.owner_user_id AS destination_user_id,
    (holds.state = 'PENDING' AND holds.expire_time <= clock_timestamp())::boolean AS overdue
FROM holds
INNER JOIN accounts AS source ON holds.source_account_id = source.id
INNER JOIN accounts AS destination ON holds.destination_account_id = destination.id
WHERE holds.id = @id;

-- name: ListAllHolds :many
SELECT
    *,
    (state = 'PENDING' AND expire_time <= @now::timestamptz)::boolean AS overdue
FROM holds
WHERE
    id < @before_id
    AND (
        sqlc.narg('state')::text IS NULL
        OR sqlc.narg('state')::text
        = CASE WHEN state = 'PENDING' AND expire_time <= @now::timestamptz THEN 'EXPIRED' ELSE state END
    )
ORDER BY id DESC
LIMIT @page_size;

-- name: ListHoldsOfAccounts :many
-- Newest first over all the accounts, on either side; a hold between two of them is listed once.
SELECT page.*
FROM (SELECT unnest(@account_ids::uuid []) AS id) AS listed
CROSS JOIN LATERAL (
    (
        SELECT
            holds.*,
            (holds.state = 'PENDING' AND holds.expire_time <= @now::timestamptz)::boolean AS overdue
        FROM holds
        WHERE
            holds.source_account_id = listed.id
            AND holds.id < @before_id
            AND (
                sqlc.narg('state')::text IS NULL
                OR sqlc.narg('state')::text = CASE
                    WHEN holds.state = 'PENDING' AND holds.expire_time <= @now::timestamptz THEN 'EXPIRED'
                    ELSE holds.state
                END
            )
        ORDER BY holds.id DESC
        LIMIT @page_size
    )
    UNION ALL
    (
        SELECT
            holds.*,
            (holds.state = 'PENDING' AND holds.expire_time <= @now::timestamptz)::boolean AS overdue
        FROM holds
        WHERE
            holds.destination_account_id = listed.id
            AND NOT holds.source_account_id = ANY(@account_ids::uuid [])
            AND holds.id < @before_id
            AND (
                sqlc.narg('state')::text IS NULL
                OR sqlc.narg('state')::text = CASE
                    WHEN holds.state = 'PENDING' AND holds.expire_time <= @now::timestamptz THEN 'EXPIRED'
                    ELSE holds.state
                END
            )
        ORDER BY holds.id DESC
        LIMIT @page_size
    )
) AS page
ORDER BY page.id DESC
LIMIT @page_size;

-- name: ListAccountsWithOverdueHolds :many
-- Accounts that the sweep has to look at, the longest overdue first.
SELECT source_account_id
FROM holds
WHERE state = 'PENDING' AND expire_time <= (SELECT clock_timestamp())
GROUP BY source_account_id
ORDER BY min(expire_time)
LIMIT @most;

-- name: ListHoldsByIds :many
SELECT * FROM holds WHERE id = ANY(@ids::uuid []);
