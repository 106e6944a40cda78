-- name: InsertProduct :one
-- Store a new one without stock, with its event.
WITH inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, data)
    VALUES (
        'product.created',
        @id,
        @merchant_user_id,
        jsonb_build_object(
            'name', @name::text,
            'price_minor', @price_minor::bigint,
            'currency_code', @currency_code::text,
            'initial_quantity', @initial_quantity::bigint
        )
    )
)

INSERT INTO products (
    id, merchant_user_id, name, description, search_words, price_minor, currency_code, settlement_account_id
)
VALUES (
    @id, @merchant_user_id, @name, @description, @search_words, @price_minor, @currency_code, @settlement_account_id
)
RETURNING *;

-- name: GetProduct :one
SELECT * FROM products WHERE id = @id;

-- name: LockProducts :many
-- Lock products in id order, waiting for each; what is returned is fresh.
SELECT * FROM products WHERE id = ANY(@ids::uuid []) ORDER BY id FOR NO KEY UPDATE;

-- name: ListProducts :many
-- Newest first, after the one named by the page token.
SELECT * FROM products WHERE state = @state AND id < @before_id ORDER BY id DESC LIMIT @page_size;

-- name: ListProductsOfMerchant :many
SELECT * FROM products
WHERE merchant_user_id = @merchant_user_id AND state = @state AND id < @before_id
ORDER BY id DESC
LIMIT @page_size;

-- name: ListProductsByWords :many
-- Those whose name has all the words, each possibly going on; of one merchant or of anyone.
SELECT * FROM products
WHERE
    to_tsvector('simple', search_words) @@ to_tsquery('simple', @words::text)
    AND state = @state
    AND id < @before_id
    AND (sqlc.narg('merchant_user_id')::uuid IS NULL OR merchant_user_id = sqlc.narg('merchant_user_id')::uuid)
ORDER BY id DESC
LIMIT @page_size;

-- name: UpdateProduct :one
-- Change one that is locked, with its event.
WITH inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, data)
    SELECT
        'product.updated',
        id,
        merchant_user_id,
        jsonb_build_object(
            'name', @name::text,
            'price_minor', @price_minor::bigint,
            'currency_code', currency_code,
            'version', version + 1,
            'fields', @fields::text []
        )
    FROM products
    WHERE products.id = @id
)

UPDATE products
SET
    name = @name,
    description = @description,
    search_words = @search_words,
    price_minor = @price_minor,
    settlement_account_id = @settlement_account_id,
    version = version + 1,
    update_time = clock_timestamp()
WHERE products.id = @id
RETURNING *;

-- name: MarkProductArchived :one
-- End the sale of one that is locked, with its event.
WITH inserted_event AS (
    INSERT INTO events (type, subject_id, user_id, data)
    SELECT
        'product.archived',
        id,
        merchant_user_id,
        jsonb_build_object(
            'name', name, 'price_minor', price_minor, 'currency_code', currency_code, 'version', version + 1
        )
    FROM products
    WHERE products.id = @id
)

UPDATE products SET state = 'ARCHIVED', version = version + 1, update_time = clock_timestamp()
WHERE products.id = @id
RETURNING *;

-- name: InsertInventoryMovements :many
-- Change the stock of products that are locked, each once, with the rows that tell why; returned
-- are the products as they are now.
WITH moved AS (
    SELECT
        unnest(@product_ids::uuid []) AS product_id,
        unnest(@on_hand_changes::bigint []) AS on_hand_change,
        unnest(@reserved_changes::bigint []) AS reserved_change
),

updated AS (
    UPDATE products
    SET
        on_hand = products.on_hand + moved.on_hand_change,
        reserved = products.reserved + moved.reserved_change,
        movement_count = products.movement_count + 1
    FROM moved
    WHERE products.id = moved.product_id
    RETURNING products.*
),

inserted_movements AS (
    INSERT INTO inventory_movements (
        product_id, sequence, kind, on_hand_change, reserved_change, on_hand_after, reserved_after, user_id,
        order_id, reason
    )
    SELECT
        updated.id,
        updated.movement_count,
        @kind,
        moved.on_hand_change,
        moved.reserved_change,
        updated.on_hand,
        updated.reserved,
        sqlc.narg('user_id')::uuid,
        sqlc.narg('order_id')::uuid,
        @reason
    FROM updated
    INNER JOIN moved ON updated.id = moved.product_id
)

SELECT * FROM updated ORDER BY id;

-- name: ListInventoryMovements :many
-- Newest first, before the one named by the page token.
SELECT * FROM inventory_movements
WHERE product_id = @product_id AND sequence < @before_sequence
ORDER BY sequence DESC
LIMIT @page_size;
