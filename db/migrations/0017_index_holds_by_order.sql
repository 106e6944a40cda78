-- migrate:up transaction:false

-- No order holds money twice, whatever else fails.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS holds_order_id_key ON holds (order_id)
WHERE order_id IS NOT NULL;

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS holds_order_id_key;
