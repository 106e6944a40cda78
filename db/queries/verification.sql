-- name: ListUnbalancedCurrencies :many
-- Currencies whose posted balances do not sum to zero.
SELECT
    currency_code AS subject,
    0::bigint AS expected,
    least(greatest(sum(posted_minor), -9223372036854775808), 9223372036854775807)::bigint AS actual
FROM accounts
GROUP BY currency_code
HAVING sum(posted_minor) <> 0
ORDER BY currency_code
LIMIT @most;

-- name: ListWrongBalances :many
-- Accounts whose posted balance is not the sum of their entries; an account that does not exist has none.
SELECT
    coalesce(accounts.id, booked.account_id)::text AS subject,
    least(greatest(coalesce(booked.total, 0), -9223372036854775808), 9223372036854775807)::bigint AS expected,
    coalesce(accounts.posted_minor, 0)::bigint AS actual
FROM accounts
FULL JOIN (
    SELECT account_id, sum(amount_minor) AS total FROM entries GROUP BY account_id
) AS booked ON accounts.id = booked.account_id
WHERE coalesce(accounts.posted_minor, 0) <> coalesce(booked.total, 0)
ORDER BY 1
LIMIT @most;

-- name: ListBrokenBalanceChains :many
-- Accounts with an entry whose balance is not the one before plus its amount; the first of each.
SELECT DISTINCT ON (chain.account_id)
    chain.account_id::text AS subject,
    (chain.balance_before_minor + chain.amount_minor)::bigint AS expected,
    chain.balance_after_minor AS actual
FROM (
    SELECT
        account_id,
        sequence,
        amount_minor,
        balance_after_minor,
        coalesce(lag(balance_after_minor) OVER (PARTITION BY account_id ORDER BY sequence), 0)::numeric
            AS balance_before_minor
    FROM entries
) AS chain
WHERE chain.balance_after_minor <> chain.balance_before_minor + chain.amount_minor
ORDER BY chain.account_id, chain.sequence
LIMIT @most;

-- name: ListBrokenSequences :many
-- Accounts whose entries are not numbered from 1 to the account's count; it is 0 for an account
-- that does not exist.
SELECT
    coalesce(accounts.id, booked.account_id)::text AS subject,
    coalesce(accounts.entry_count, 0)::bigint AS expected,
    coalesce(booked.entry_count, 0)::bigint AS actual
FROM accounts
FULL JOIN (
    SELECT account_id, count(*) AS entry_count, max(sequence) AS last_sequence FROM entries GROUP BY account_id
) AS booked ON accounts.id = booked.account_id
WHERE
    coalesce(accounts.entry_count, 0) <> coalesce(booked.entry_count, 0)
    OR coalesce(booked.last_sequence, 0) <> coalesce(booked.entry_count, 0)
ORDER BY 1
LIMIT @most;

-- name: ListBrokenTransfers :many
-- Transfers that do not have exactly the two entries they name.
SELECT
    transfers.id::text AS subject,
    2::bigint AS expected,
    ((debit.account_id IS NOT NULL)::integer + (credit.account_id IS NOT NULL)::integer)::bigint AS actual
FROM transfers
LEFT JOIN entries AS debit
    ON
        transfers.source_account_id = debit.account_id
        AND transfers.source_sequence = debit.sequence
        AND transfers.id = debit.transfer_id
        AND transfers.amount_minor = -debit.amount_minor
LEFT JOIN entries AS credit
    ON
        transfers.destination_account_id = credit.account_id
        AND transfers.destination_sequence = credit.sequence
        AND transfers.id = credit.transfer_id
        AND transfers.amount_minor = credit.amount_minor
WHERE debit.account_id IS NULL OR credit.account_id IS NULL
ORDER BY transfers.id
LIMIT @most;

-- name: ListOrphanEntries :many
-- Transfers named by an entry that they do not name.
SELECT
    entries.transfer_id::text AS subject,
    2::bigint AS expected,
    (2 + count(*))::bigint AS actual
FROM entries
LEFT JOIN transfers
    ON
        entries.transfer_id = transfers.id
        AND (
            (transfers.source_account_id = entries.account_id AND transfers.source_sequence = entries.sequence)
            OR (
                transfers.destination_account_id = entries.account_id
                AND transfers.destination_sequence = entries.sequence
            )
        )
WHERE transfers.id IS NULL
GROUP BY entries.transfer_id
ORDER BY entries.transfer_id
LIMIT @most;

-- name: ListOverdrawnAccounts :many
-- Customer accounts below their limit.
SELECT
    id::text AS subject,
    (held_minor - overdraft_limit_minor)::bigint AS expected,
    posted_minor AS actual
FROM accounts
WHERE kind = 'CUSTOMER' AND posted_minor < held_minor - overdraft_limit_minor
ORDER BY id
LIMIT @most;

-- name: ListWrongHeldAmounts :many
-- Accounts that hold another amount than their pending holds.
SELECT
    accounts.id::text AS subject,
    coalesce(pending.total, 0)::bigint AS expected,
    accounts.held_minor AS actual
FROM accounts
LEFT JOIN (
    SELECT source_account_id, sum(amount_minor) AS total FROM holds WHERE state = 'PENDING' GROUP BY source_account_id
) AS pending ON accounts.id = pending.source_account_id
WHERE accounts.held_minor <> coalesce(pending.total, 0)
ORDER BY accounts.id
LIMIT @most;

-- name: ListWrongCaptures :many
-- Holds whose captured amount is not that of the one transfer that captured them.
SELECT
    coalesce(holds.id, captures.hold_id)::text AS subject,
    coalesce(captures.amount_minor, 0)::bigint AS expected,
    coalesce(holds.captured_amount_minor, 0)::bigint AS actual
FROM holds
FULL JOIN (
    SELECT id, hold_id, amount_minor FROM transfers WHERE hold_id IS NOT NULL
) AS captures ON holds.capture_transfer_id = captures.id AND holds.id = captures.hold_id
WHERE
    (holds.id IS NULL OR captures.id IS NOT NULL OR holds.state = 'CAPTURED')
    AND coalesce(holds.captured_amount_minor, 0) <> coalesce(captures.amount_minor, 0)
ORDER BY 1
LIMIT @most;

-- name: ListWrongReversals :many
-- Transfers whose reversed total is not the sum of their reversals, or more than their amount.
SELECT
    coalesce(reversed_totals.transfer_id, reversals.transfer_id)::text AS subject,
    coalesce(reversals.total, 0)::bigint AS expected,
    coalesce(reversed_totals.amount_minor, 0)::bigint AS actual
FROM reversed_totals
FULL JOIN (
    SELECT reverses_transfer_id AS transfer_id, sum(amount_minor) AS total
    FROM transfers
    WHERE reverses_transfer_id IS NOT NULL
    GROUP BY reverses_transfer_id
) AS reversals ON reversed_totals.transfer_id = reversals.transfer_id
LEFT JOIN transfers AS originals ON reversed_totals.transfer_id = originals.id
WHERE
    coalesce(reversals.total, 0) <> coalesce(reversed_totals.amount_minor, 0)
    OR coalesce(reversed_totals.amount_minor, 0) > originals.amount_minor
ORDER BY 1
LIMIT @most;

-- name: ListWrongCaptureCounts :many
-- Orders that are paid without exactly one capture, or captured without being paid.
SELECT
    coalesce(orders.id, captures.order_id)::text AS subject,
    coalesce((orders.transfer_id IS NOT NULL)::integer, 0)::bigint AS expected,
    coalesce(captures.capture_count, 0)::bigint AS actual
FROM orders
FULL JOIN (
    SELECT order_id, count(*) AS capture_count
    FROM transfers
    WHERE order_id IS NOT NULL AND kind = 'CAPTURE'
    GROUP BY order_id
) AS captures ON orders.id = captures.order_id
WHERE coalesce((orders.transfer_id IS NOT NULL)::integer, 0) <> coalesce(captures.capture_count, 0)
ORDER BY 1
LIMIT @most;

-- name: ListWrongPayments :many
-- Paid orders whose transfer is not the capture of their hold, for their total, to their merchant.
SELECT
    orders.id::text AS subject,
    orders.total_minor AS expected,
    coalesce(transfers.amount_minor, 0)::bigint AS actual
FROM orders
LEFT JOIN transfers
    ON
        orders.transfer_id = transfers.id
        AND orders.id = transfers.order_id
        AND orders.hold_id = transfers.hold_id
        AND orders.payment_account_id = transfers.source_account_id
        AND orders.settlement_account_id = transfers.destination_account_id
WHERE orders.transfer_id IS NOT NULL AND orders.total_minor <> coalesce(transfers.amount_minor, 0)
ORDER BY orders.id
LIMIT @most;

-- name: ListWrongRefunds :many
-- Paid orders of which another part was paid back than their state says; expected is the least.
SELECT
    orders.id::text AS subject,
    (
        CASE orders.payment_state WHEN 'PAID' THEN 0 WHEN 'PARTIALLY_REFUNDED' THEN 1 ELSE orders.total_minor END
    )::bigint AS expected,
    coalesce(reversed_totals.amount_minor, 0)::bigint AS actual
FROM orders
LEFT JOIN reversed_totals ON orders.transfer_id = reversed_totals.transfer_id
WHERE
    orders.transfer_id IS NOT NULL
    AND orders.payment_state <> CASE
        WHEN coalesce(reversed_totals.amount_minor, 0) = 0 THEN 'PAID'
        WHEN reversed_totals.amount_minor < orders.total_minor THEN 'PARTIALLY_REFUNDED'
        ELSE 'REFUNDED'
    END
ORDER BY orders.id
LIMIT @most;

-- name: ListWrongOrderHolds :many
-- Orders whose hold is not in the state that theirs asks for, and holds of no order. The hold of an
-- order whose time has run out may be let go before the order is.
SELECT
    coalesce(orders.id, holds.order_id)::text AS subject,
    coalesce(orders.total_minor, 0)::bigint AS expected,
    coalesce(holds.amount_minor, 0)::bigint AS actual
FROM orders
FULL JOIN (
    SELECT * FROM holds WHERE order_id IS NOT NULL
) AS holds ON orders.hold_id = holds.id AND orders.id = holds.order_id
WHERE
    orders.id IS NULL
    OR holds.id IS NULL
    OR orders.total_minor <> holds.amount_minor
    OR NOT CASE
        WHEN orders.state = 'CANCELED' THEN holds.state = 'VOIDED'
        WHEN orders.state = 'EXPIRED' THEN holds.state = 'EXPIRED'
        WHEN orders.payment_state = 'HELD'
            THEN
                holds.state = 'PENDING'
                OR (holds.state = 'EXPIRED' AND orders.expire_time <= clock_timestamp())
        ELSE holds.state = 'CAPTURED'
    END
ORDER BY 1
LIMIT @most;

-- name: ListWrongReservations :many
-- Products of which another number is reserved than their unshipped orders have.
SELECT
    products.id::text AS subject,
    coalesce(open_items.quantity, 0)::bigint AS expected,
    products.reserved AS actual
FROM products
LEFT JOIN (
    SELECT order_items.product_id, sum(order_items.quantity) AS quantity
    FROM order_items
    INNER JOIN orders ON order_items.order_id = orders.id
    WHERE orders.fulfillment_state = 'RESERVED'
    GROUP BY order_items.product_id
) AS open_items ON products.id = open_items.product_id
WHERE products.reserved <> coalesce(open_items.quantity, 0)
ORDER BY products.id
LIMIT @most;

-- name: ListWrongStocks :many
-- Products whose stock is not the sum of their movements, each numbered.
SELECT
    products.id::text AS subject,
    coalesce(moved.on_hand, 0)::bigint AS expected,
    products.on_hand AS actual
FROM products
LEFT JOIN (
    SELECT
        product_id,
        sum(on_hand_change) AS on_hand,
        sum(reserved_change) AS reserved,
        count(*) AS movement_count,
        max(sequence) AS last_sequence
    FROM inventory_movements
    GROUP BY product_id
) AS moved ON products.id = moved.product_id
WHERE
    products.on_hand <> coalesce(moved.on_hand, 0)
    OR products.reserved <> coalesce(moved.reserved, 0)
    OR products.movement_count <> coalesce(moved.movement_count, 0)
    OR products.movement_count <> coalesce(moved.last_sequence, 0)
ORDER BY products.id
LIMIT @most;

-- name: ListUnsealedTransfers :many
-- Transfers that are in no block although no event waits to be sealed for them: nobody posted them.
SELECT transfers.id FROM transfers
WHERE
    NOT EXISTS (
        SELECT FROM (SELECT unnest(ledger_blocks.transfer_ids) AS id FROM ledger_blocks) AS sealed
        WHERE sealed.id = transfers.id
    )
    AND NOT EXISTS (
        SELECT FROM events
        WHERE
            events.subject_id = transfers.id
            AND events.type IN ('transfer.posted', 'transfer.reversed')
            AND (events.position IS NULL OR events.position > @head_position::bigint)
    )
ORDER BY transfers.id
LIMIT @most;

-- name: CountLedger :one
SELECT
    (SELECT count(*) FROM accounts)::bigint AS account_count,
    (SELECT count(*) FROM transfers)::bigint AS transfer_count,
    (SELECT count(*) FROM entries)::bigint AS entry_count,
    now()::timestamptz AS snapshot_time;

-- name: ListTrialBalances :many
-- What all accounts have, by currency.
SELECT
    accounts.currency_code,
    least(
        greatest(coalesce(sum(accounts.posted_minor) FILTER (WHERE accounts.kind = 'CUSTOMER'), 0), -9223372036854775808),
        9223372036854775807
    )::bigint AS customer_posted_minor,
    least(
        greatest(coalesce(sum(accounts.posted_minor) FILTER (WHERE accounts.kind <> 'CUSTOMER'), 0), -9223372036854775808),
        9223372036854775807
    )::bigint AS cash_posted_minor,
    least(greatest(sum(accounts.posted_minor), -9223372036854775808), 9223372036854775807)::bigint AS difference_minor,
    least(sum(accounts.held_minor), 9223372036854775807)::bigint AS held_minor,
    (count(*) FILTER (WHERE accounts.kind = 'CUSTOMER'))::bigint AS customer_account_count,
    now()::timestamptz AS snapshot_time
FROM accounts
GROUP BY accounts.currency_code
HAVING count(*) FILTER (WHERE accounts.kind = 'CUSTOMER') > 0
ORDER BY accounts.currency_code;
