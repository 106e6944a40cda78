-- migrate:up

SET LOCAL lock_timeout = '2s';

-- Of the tables that the money is written to, a migration locks one: two in one transaction could
-- deadlock with a transfer under way.
ALTER TABLE products
ADD CONSTRAINT products_settlement_account_id_fkey FOREIGN KEY (settlement_account_id) REFERENCES accounts (id);
ALTER TABLE orders
ADD CONSTRAINT orders_payment_account_id_fkey FOREIGN KEY (payment_account_id) REFERENCES accounts (id),
ADD CONSTRAINT orders_settlement_account_id_fkey FOREIGN KEY (settlement_account_id) REFERENCES accounts (id);

-- migrate:down

SET LOCAL lock_timeout = '2s';

ALTER TABLE orders
DROP CONSTRAINT orders_settlement_account_id_fkey,
DROP CONSTRAINT orders_payment_account_id_fkey;
ALTER TABLE products DROP CONSTRAINT products_settlement_account_id_fkey;
