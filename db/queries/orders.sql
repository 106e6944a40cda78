-- name: GetActor :one
-- Who acts: whether session and user are in force, and what the user may do.
SELECT
    (
        sessions.revoke_time IS NULL
        AND sessions.expire_time > clock_timestamp()
        AND sessions.idle_expire_time > clock_timestamp()
    )::boolean AS live,
    users.disabled,
    users.email_verified,
    users.roles
FROM sessions
INNER JOIN users ON sessions.user_id = users.id
WHERE sessions.id = @session_id AND sessions.user_id = @user_id;

-- name: InsertOrder :one
-- Store a new one with its items and its event.
WITH inserted_items AS (
    INSERT INTO order_items (order_id, product_id, line, product_name, quantity, unit_price_minor)
    SELECT
        @id,
        unnest(@product_ids::uuid []),
        unnest(@lines::integer []),
        unnest(@product_names::text []),
        unnest(@quantities::bigint []),
        unnest(@unit_prices_minor::bigint [])
),

inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, counterparty_user_id, data, create_time)
    VALUES (
        'order.created',
        @id,
        @buyer_user_id,
        @merchant_user_id,
        jsonb_build_object(
            'state', 'PLACED',
            'payment_state', 'HELD',
            'fulfillment_state', 'RESERVED',
            'total_minor', @total_minor::bigint,
            'currency_code', @currency_code::text
        ),
        @create_time
    )
)

INSERT INTO orders (
    id, buyer_user_id, merchant_user_id, payment_account_id, settlement_account_id, total_minor, currency_code,
    hold_id, expire_time, create_time, update_time
)
VALUES (
    @id, @buyer_user_id, @merchant_user_id, @payment_account_id, @settlement_account_id, @total_minor, @currency_code,
    @hold_id, @expire_time, @create_time, @create_time
)
RETURNING *;

-- name: LockOrder :one
-- Wait for whoever changes it; what is returned is fresh.
SELECT * FROM orders WHERE id = @id FOR NO KEY UPDATE;

-- name: LockOverdueOrder :one
-- One that is overdue and that nobody else is changing.
SELECT * FROM orders
WHERE id = @id AND fulfillment_state = 'RESERVED' AND expire_time <= clock_timestamp()
FOR NO KEY UPDATE SKIP LOCKED;

-- name: ListOverdueOrders :many
-- Orders that the sweep has to look at, the longest overdue first, after the one looked at last.
SELECT id, expire_time FROM orders
WHERE
    fulfillment_state = 'RESERVED'
    AND expire_time <= (SELECT clock_timestamp())
    AND (expire_time, id) > (@after_time::timestamptz, @after_id::uuid)
ORDER BY expire_time, id
LIMIT @most;

-- name: ListOrdersToDeliver :many
-- Orders under way to which nothing happened for a while, after the one looked at last. They come
-- in the order of an index that is needed anyway: how soon one is found does not depend on it.
SELECT id, payment_account_id FROM orders
WHERE
    state = 'PLACED'
    AND update_time <= clock_timestamp() - make_interval(secs => @delay_s)
    AND (fulfillment_state = 'SHIPPED' OR expire_time > clock_timestamp())
    AND (payment_account_id, id) > (@after_payment_account_id::uuid, @after_id::uuid)
ORDER BY payment_account_id, id
LIMIT @most;

-- name: LockOrderToDeliver :one
-- One under way to which nothing happened for a while and that nobody else is changing.
SELECT * FROM orders
WHERE id = @id AND state = 'PLACED' AND update_time <= clock_timestamp() - make_interval(secs => @delay_s)
FOR NO KEY UPDATE SKIP LOCKED;

-- name: UpdateOrderStates :exec
-- Change the states of one that is locked, with its event.
WITH inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, counterparty_user_id, data)
    SELECT
        @event_type,
        orders.id,
        orders.buyer_user_id,
        orders.merchant_user_id,
        jsonb_strip_nulls(
            jsonb_build_object(
                'state', @state::text,
                'payment_state', @payment_state::text,
                'fulfillment_state', @fulfillment_state::text,
                'transfer_id', sqlc.narg('event_transfer_id')::uuid,
                'amount_minor', sqlc.narg('event_amount_minor')::bigint
            )
        )
    FROM orders
    WHERE orders.id = @id
)

UPDATE orders
SET
    state = @state,
    payment_state = @payment_state,
    fulfillment_state = @fulfillment_state,
    transfer_id = coalesce(orders.transfer_id, sqlc.narg('transfer_id')::uuid),
    update_time = clock_timestamp()
WHERE orders.id = @id;

-- name: AddRestockedQuantities :exec
-- Note what came back of the items of an order that is locked.
UPDATE order_items SET restocked_quantity = order_items.restocked_quantity + restocked.quantity
FROM (SELECT unnest(@product_ids::uuid []) AS product_id, unnest(@quantities::bigint []) AS quantity) AS restocked
WHERE order_items.order_id = @order_id AND order_items.product_id = restocked.product_id;

-- name: GetOrder :one
SELECT
    orders.*,
    coalesce(reversed_totals.amount_minor, 0)::bigint AS refunded_minor,
    (orders.fulfillment_state = 'RESERVED' AND orders.expire_time <= clock_timestamp())::boolean AS overdue
FROM orders
LEFT JOIN reversed_totals ON orders.transfer_id = reversed_totals.transfer_id
WHERE orders.id = @id;

-- name: ListOrderTotals :many
-- What orders cost, which never changes.
SELECT id, total_minor, currency_code FROM orders WHERE id = ANY(@ids::uuid []);

-- name: ListOrderItems :many
-- Of several orders, in the order of their lines.
SELECT * FROM order_items WHERE order_id = ANY(@order_ids::uuid []) ORDER BY order_id, line;

-- name: ListAllOrders :many
-- Newest first, after the one named by the page token.
SELECT
    orders.*,
    coalesce(reversed_totals.amount_minor, 0)::bigint AS refunded_minor,
    (orders.fulfillment_state = 'RESERVED' AND orders.expire_time <= @now::timestamptz)::boolean AS overdue
FROM orders
LEFT JOIN reversed_totals ON orders.transfer_id = reversed_totals.transfer_id
WHERE
    orders.id < @before_id
    AND (
        sqlc.narg('state')::text IS NULL
        OR sqlc.narg('state')::text = CASE
            WHEN orders.fulfillment_state = 'RESERVED' AND orders.expire_time <= @now::timestamptz THEN 'EXPIRED'
            ELSE orders.state
        END
    )
ORDER BY orders.id DESC
LIMIT @page_size;

-- name: ListOrdersOfUser :many
-- Those the user placed, those placed with the user, or both; each once.
SELECT
    page.*,
    coalesce(reversed_totals.amount_minor, 0)::bigint AS refunded_minor,
    (page.fulfillment_state = 'RESERVED' AND page.expire_time <= @now::timestamptz)::boolean AS overdue
FROM (
    (
        SELECT * FROM orders
        WHERE
            @as_buyer::boolean
            AND orders.buyer_user_id = @user_id
            AND orders.id < @before_id
            AND (
                sqlc.narg('state')::text IS NULL
                OR sqlc.narg('state')::text = CASE
                    WHEN orders.fulfillment_state = 'RESERVED' AND orders.expire_time <= @now::timestamptz
                        THEN 'EXPIRED'
                    ELSE orders.state
                END
            )
        ORDER BY orders.id DESC
        LIMIT @page_size
    )
    UNION
    (
        SELECT * FROM orders
        WHERE
            @as_merchant::boolean
            AND orders.merchant_user_id = @user_id
            AND orders.id < @before_id
            AND (
                sqlc.narg('state')::text IS NULL
                OR sqlc.narg('state')::text = CASE
                    WHEN orders.fulfillment_state = 'RESERVED' AND orders.expire_time <= @now::timestamptz
                        THEN 'EXPIRED'
                    ELSE orders.state
                END
            )
        ORDER BY orders.id DESC
        LIMIT @page_size
    )
) AS page
LEFT JOIN reversed_totals ON page.transfer_id = reversed_totals.transfer_id
ORDER BY page.id DESC
LIMIT @page_size;
