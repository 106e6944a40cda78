-- migrate:up

SET LOCAL lock_timeout = '2s';

-- One row for each fact, written in the transaction of the fact. Neither the order of ids nor
-- that of transaction ids is the order of commits, so readers follow `position`, which the
-- sequencer gives to committed rows only.
CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY,
    position bigint,
    type text NOT NULL,
    subject_id uuid NOT NULL,
    user_id uuid,
    counterparty_user_id uuid,
    data jsonb,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (id),
    CONSTRAINT events_position_positive CHECK (position > 0)
);
COMMENT ON COLUMN events.data IS 'facts as they were, where the subject may change later; null where it cannot';
CREATE UNIQUE INDEX events_position_key ON events (position) WHERE position IS NOT NULL;
CREATE INDEX events_unsequenced_idx ON events (id) WHERE position IS NULL;

-- Work to be done after the commit of the transaction that asked for it.
CREATE TABLE outbox (
    id uuid NOT NULL,
    job text NOT NULL,
    payload jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    enqueue_time timestamptz,
    done_time timestamptz,
    dead_time timestamptz,
    last_error text,
    CONSTRAINT outbox_pkey PRIMARY KEY (id),
    CONSTRAINT outbox_done_or_dead CHECK (done_time IS NULL OR dead_time IS NULL)
);
COMMENT ON COLUMN outbox.payload IS 'ids only, never a secret';
CREATE INDEX outbox_open_idx ON outbox (create_time) WHERE done_time IS NULL AND dead_time IS NULL;
CREATE INDEX outbox_dead_idx ON outbox (dead_time) WHERE dead_time IS NOT NULL;

GRANT SELECT, INSERT ON events, outbox TO bank_app;
GRANT UPDATE (position) ON events TO bank_app;
GRANT UPDATE (enqueue_time, done_time, dead_time, last_error) ON outbox TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE outbox;
DROP TABLE events;
