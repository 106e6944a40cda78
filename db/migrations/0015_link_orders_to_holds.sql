-- migrate:up

SET LOCAL lock_timeout = '2s';

ALTER TABLE holds ADD COLUMN order_id uuid;
ALTER TABLE orders ADD CONSTRAINT orders_hold_id_fkey FOREIGN KEY (hold_id) REFERENCES holds (id);

-- migrate:down

SET LOCAL lock_timeout = '2s';

ALTER TABLE orders DROP CONSTRAINT orders_hold_id_fkey;
ALTER TABLE holds DROP COLUMN order_id;
