-- migrate:up transaction:false

-- A reader follows the positions of their own events. An event enters this and the next when it is
-- given its position, once, and not when it is written under the locks of the money.
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_user_id_idx ON events (user_id, position)
WHERE position IS NOT NULL;

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS events_user_id_idx;
