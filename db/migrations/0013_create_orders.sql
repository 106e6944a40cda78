-- migrate:up

SET LOCAL lock_timeout = '2s';

-- What users ordered from merchants. Whoever changes a row has it locked, and locks products after
-- it, then accounts.
CREATE TABLE orders (
    id uuid NOT NULL,
    buyer_user_id uuid NOT NULL,
    merchant_user_id uuid NOT NULL,
    payment_account_id uuid NOT NULL,
    settlement_account_id uuid NOT NULL,
    total_minor bigint NOT NULL,
    currency_code text NOT NULL,
    state text NOT NULL DEFAULT 'PLACED',
    payment_state text NOT NULL DEFAULT 'HELD',
    fulfillment_state text NOT NULL DEFAULT 'RESERVED',
    hold_id uuid NOT NULL,
    transfer_id uuid,
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (id),
    -- No key to users: their rows are locked before accounts, and this is written after.
    CONSTRAINT orders_hold_id_key UNIQUE (hold_id),
    CONSTRAINT orders_total_minor_range CHECK (total_minor BETWEEN 1 AND 100000000000000000),
    -- The states that server/orders/transitions.py leads to, and no others.
    CONSTRAINT orders_states_legal CHECK (
        (state = 'PLACED' AND payment_state = 'HELD' AND fulfillment_state = 'RESERVED')
        OR (
            payment_state IN ('PAID', 'PARTIALLY_REFUNDED', 'REFUNDED')
            AND (
                (state = 'PLACED' AND fulfillment_state = 'SHIPPED')
                OR (state = 'COMPLETED' AND fulfillment_state = 'DELIVERED')
            )
        )
        OR (state IN ('CANCELED', 'EXPIRED') AND payment_state = 'RELEASED' AND fulfillment_state = 'RELEASED')
    ),
    CONSTRAINT orders_paid_with_transfer CHECK (
        (payment_state IN ('PAID', 'PARTIALLY_REFUNDED', 'REFUNDED')) = (transfer_id IS NOT NULL)
    )
);
CREATE INDEX orders_buyer_user_id_idx ON orders (buyer_user_id, id);
CREATE INDEX orders_merchant_user_id_idx ON orders (merchant_user_id, id);
CREATE INDEX orders_unshipped_idx ON orders (expire_time, id) WHERE fulfillment_state = 'RESERVED';
-- Whether an account may be closed.
CREATE INDEX orders_open_payment_idx ON orders (payment_account_id) WHERE state = 'PLACED';
CREATE INDEX orders_open_settlement_idx ON orders (settlement_account_id) WHERE state = 'PLACED';

-- What was ordered, of each product once; name and price as they were.
CREATE TABLE order_items (
    order_id uuid NOT NULL,
    product_id uuid NOT NULL,
    line integer NOT NULL,
    product_name text NOT NULL,
    quantity bigint NOT NULL,
    unit_price_minor bigint NOT NULL,
    restocked_quantity bigint NOT NULL DEFAULT 0,
    CONSTRAINT order_items_pkey PRIMARY KEY (order_id, product_id),
    CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES orders (id),
    CONSTRAINT order_items_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (id),
    CONSTRAINT order_items_quantity_positive CHECK (quantity > 0),
    CONSTRAINT order_items_unit_price_minor_positive CHECK (unit_price_minor > 0),
    CONSTRAINT order_items_restocked_quantity_range CHECK (restocked_quantity BETWEEN 0 AND quantity)
);

GRANT SELECT, INSERT ON orders, order_items TO bank_app;
GRANT UPDATE (state, payment_state, fulfillment_state, transfer_id, update_time) ON orders TO bank_app;
GRANT UPDATE (restocked_quantity) ON order_items TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE order_items;
DROP TABLE orders;
