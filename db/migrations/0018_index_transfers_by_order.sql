-- migrate:up transaction:false

-- No order is paid twice, whatever else fails.
CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS transfers_order_id_key ON transfers (order_id)
WHERE order_id IS NOT NULL AND kind = 'CAPTURE';

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS transfers_order_id_key;
