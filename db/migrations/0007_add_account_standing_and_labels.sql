-- migrate:up

SET LOCAL lock_timeout = '2s';

-- Transfers are found by their labels; the many without any cost nothing here.
CREATE INDEX transfers_metadata_idx ON transfers USING gin (metadata jsonb_path_ops) WHERE metadata IS NOT NULL;

-- Whether an account that shall be closed still expects money.
CREATE INDEX holds_pending_destination_idx ON holds (destination_account_id, expire_time) WHERE state = 'PENDING';

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP INDEX holds_pending_destination_idx;
DROP INDEX transfers_metadata_idx;
