-- migrate:up

SET LOCAL lock_timeout = '2s';

-- What merchants sell. The stock changes far more often than the rest: room on the page keeps those
-- updates off the indexes. Whoever changes a row has it locked, in id order where there are several,
-- and locks accounts after it.
CREATE TABLE products (
    id uuid NOT NULL,
    merchant_user_id uuid NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    search_words text NOT NULL,
    price_minor bigint NOT NULL,
    currency_code text NOT NULL,
    settlement_account_id uuid NOT NULL,
    on_hand bigint NOT NULL DEFAULT 0,
    reserved bigint NOT NULL DEFAULT 0,
    movement_count bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'ACTIVE',
    version bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT products_pkey PRIMARY KEY (id),
    CONSTRAINT products_merchant_user_id_fkey FOREIGN KEY (merchant_user_id) REFERENCES users (id),
    CONSTRAINT products_currency_code_fkey FOREIGN KEY (currency_code) REFERENCES currencies (currency_code),
    CONSTRAINT products_name_not_empty CHECK (name <> ''),
    CONSTRAINT products_price_minor_range CHECK (price_minor BETWEEN 1 AND 100000000000000000),
    CONSTRAINT products_on_hand_range CHECK (on_hand BETWEEN 0 AND 1000000000000),
    CONSTRAINT products_reserved_range CHECK (reserved BETWEEN 0 AND on_hand),
    CONSTRAINT products_state_known CHECK (state IN ('ACTIVE', 'ARCHIVED'))
) WITH (fillfactor = 70);
COMMENT ON COLUMN products.search_words IS 'words of the name without regard to capitals, made by the service';
CREATE INDEX products_state_idx ON products (state, id);
CREATE INDEX products_merchant_user_id_idx ON products (merchant_user_id, state, id);
CREATE INDEX products_search_words_idx ON products USING gin (to_tsvector('simple', search_words));

-- Every change of a stock, numbered without gaps: the stock is their sum.
CREATE TABLE inventory_movements (
    product_id uuid NOT NULL,
    sequence bigint NOT NULL,
    kind text NOT NULL,
    on_hand_change bigint NOT NULL,
    reserved_change bigint NOT NULL,
    on_hand_after bigint NOT NULL,
    reserved_after bigint NOT NULL,
    user_id uuid,
    order_id uuid,
    reason text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT inventory_movements_pkey PRIMARY KEY (product_id, sequence),
    CONSTRAINT inventory_movements_product_id_fkey FOREIGN KEY (product_id) REFERENCES products (id),
    CONSTRAINT inventory_movements_sequence_positive CHECK (sequence > 0),
    CONSTRAINT inventory_movements_kind_known CHECK (
        kind IN ('ADJUSTED', 'RESERVED', 'RELEASED', 'SHIPPED', 'RESTOCKED')
    ),
    CONSTRAINT inventory_movements_order_named CHECK ((kind = 'ADJUSTED') = (order_id IS NULL)),
    CONSTRAINT inventory_movements_something_changed CHECK (on_hand_change <> 0 OR reserved_change <> 0)
);
COMMENT ON COLUMN inventory_movements.user_id IS 'who asked for it; null for what the service does by itself';

GRANT SELECT, INSERT ON products, inventory_movements TO bank_app;
GRANT UPDATE (
    name, description, search_words, price_minor, settlement_account_id, on_hand, reserved, movement_count, state,
    version, update_time
) ON products TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE inventory_movements;
DROP TABLE products;
