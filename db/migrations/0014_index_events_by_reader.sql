-- migrate:up

SET LOCAL lock_timeout = '2s';

-- A reader follows the positions of their own events. An event enters these when it is given its
-- position, once, and not when it is written under the locks of the money.
CREATE INDEX events_user_id_idx ON events (user_id, position) WHERE position IS NOT NULL;
CREATE INDEX events_counterparty_user_id_idx ON events (counterparty_user_id, position)
WHERE position IS NOT NULL AND counterparty_user_id IS NOT NULL;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP INDEX events_counterparty_user_id_idx;
DROP INDEX events_user_id_idx;
