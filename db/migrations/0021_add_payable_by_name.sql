-- migrate:up

SET LOCAL lock_timeout = '2s';

ALTER TABLE users ADD COLUMN payable_by_name boolean NOT NULL DEFAULT false;
GRANT UPDATE (payable_by_name) ON users TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

ALTER TABLE users DROP COLUMN payable_by_name;
