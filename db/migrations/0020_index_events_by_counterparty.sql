-- migrate:up transaction:false

CREATE INDEX CONCURRENTLY IF NOT EXISTS events_counterparty_user_id_idx ON events (counterparty_user_id, position)
WHERE position IS NOT NULL AND counterparty_user_id IS NOT NULL;

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS events_counterparty_user_id_idx;
