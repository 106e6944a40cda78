-- migrate:up

SET LOCAL lock_timeout = '2s';

ALTER TABLE transfers ADD COLUMN order_id uuid;
ALTER TABLE orders ADD CONSTRAINT orders_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (id);

-- migrate:down

SET LOCAL lock_timeout = '2s';

ALTER TABLE orders DROP CONSTRAINT orders_transfer_id_fkey;
ALTER TABLE transfers DROP COLUMN order_id;
