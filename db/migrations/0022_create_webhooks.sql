-- migrate:up

SET LOCAL lock_timeout = '2s';

-- Where events are posted to. `position` is how far into the feed deliveries were made for it; the
-- rest of the feed is its backlog, so a receiver that is away costs no room here.
--
-- The worker is told by `due_time` that there may be something to do, and by nobody else: whoever
-- makes work sets it. To work it takes a lease and clears `due_time`; what comes meanwhile sets it
-- again. A lease that ran out is due: its worker is gone.
CREATE TABLE webhooks (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    url text NOT NULL,
    types text [] NOT NULL,
    description text NOT NULL,
    everybodys boolean NOT NULL,
    disable_reason text,
    position bigint NOT NULL,
    due_time timestamptz DEFAULT now(),
    lease_expire_time timestamptz,
    retry_time timestamptz,
    failure_count integer NOT NULL DEFAULT 0,
    failing_since_time timestamptz,
    is_slow boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    delete_time timestamptz,
    CONSTRAINT webhooks_pkey PRIMARY KEY (id),
    CONSTRAINT webhooks_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT webhooks_url_not_empty CHECK (url <> ''),
    CONSTRAINT webhooks_disable_reason_known CHECK (disable_reason IN ('OWNER', 'FAILING')),
    CONSTRAINT webhooks_position_not_negative CHECK (position >= 0),
    CONSTRAINT webhooks_failure_count_fits CHECK ((failure_count > 0) = (failing_since_time IS NOT NULL)),
    CONSTRAINT webhooks_due_while_live CHECK (due_time IS NULL OR (disable_reason IS NULL AND delete_time IS NULL))
) WITH (fillfactor = 70);
COMMENT ON COLUMN webhooks.everybodys IS 'made by an admin: tells of all users, as long as its owner is one';
COMMENT ON COLUMN webhooks.disable_reason IS 'null while it is enabled';
COMMENT ON COLUMN webhooks.retry_time IS 'nothing is tried before, as nothing succeeded lately';
COMMENT ON COLUMN webhooks.failure_count IS 'rounds without success in a row';
CREATE INDEX webhooks_user_id_idx ON webhooks (user_id, id) WHERE delete_time IS NULL;
CREATE INDEX webhooks_everybodys_idx ON webhooks (id) WHERE everybodys AND delete_time IS NULL;
CREATE INDEX webhooks_due_idx ON webhooks ((failure_count > 0 OR is_slow), due_time) WHERE due_time IS NOT NULL;
CREATE INDEX webhooks_lease_idx ON webhooks (lease_expire_time) WHERE lease_expire_time IS NOT NULL;
CREATE INDEX webhooks_deleted_idx ON webhooks (delete_time) WHERE delete_time IS NOT NULL;

-- What requests are signed with: the newest, and earlier ones that have not expired.
CREATE TABLE webhook_secrets (
    id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    ciphertext bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz,
    CONSTRAINT webhook_secrets_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_secrets_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks (id)
);
COMMENT ON COLUMN webhook_secrets.ciphertext IS 'under the webhook key of the keys file, bound to the webhook';
CREATE INDEX webhook_secrets_webhook_id_idx ON webhook_secrets (webhook_id, id);
CREATE INDEX webhook_secrets_expire_time_idx ON webhook_secrets (expire_time) WHERE expire_time IS NOT NULL;

-- One event for one webhook.
CREATE TABLE webhook_deliveries (
    id uuid NOT NULL,
    webhook_id uuid NOT NULL,
    position bigint NOT NULL,
    event_type text NOT NULL,
    subject_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'PENDING',
    attempt_count integer NOT NULL DEFAULT 0,
    response_status integer,
    failure text,
    first_attempt_time timestamptz,
    last_attempt_time timestamptz,
    next_attempt_time timestamptz DEFAULT now(),
    end_time timestamptz,
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhook_deliveries_pkey PRIMARY KEY (id),
    CONSTRAINT webhook_deliveries_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES webhooks (id),
    CONSTRAINT webhook_deliveries_webhook_position_key UNIQUE (webhook_id, position),
    CONSTRAINT webhook_deliveries_position_positive CHECK (position > 0),
    CONSTRAINT webhook_deliveries_state_known CHECK (state IN ('PENDING', 'DELIVERED', 'FAILED')),
    CONSTRAINT webhook_deliveries_failure_known CHECK (
        failure IN ('STATUS', 'HOST', 'CONNECTION', 'TLS', 'TIMEOUT', 'RESPONSE', 'NOT_VISIBLE', 'SECRET')
    ),
    CONSTRAINT webhook_deliveries_delivered_without_failure CHECK (state <> 'DELIVERED' OR failure IS NULL),
    CONSTRAINT webhook_deliveries_failed_with_failure CHECK (state <> 'FAILED' OR failure IS NOT NULL),
    CONSTRAINT webhook_deliveries_pending_is_due CHECK ((state = 'PENDING') = (next_attempt_time IS NOT NULL)),
    CONSTRAINT webhook_deliveries_ended_when_not_pending CHECK ((state = 'PENDING') = (end_time IS NULL))
) WITH (fillfactor = 70);
COMMENT ON COLUMN webhook_deliveries.first_attempt_time IS 'of the present series of tries';
CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (webhook_id, position) WHERE state = 'PENDING';
CREATE INDEX webhook_deliveries_state_idx ON webhook_deliveries (webhook_id, state, position);
CREATE INDEX webhook_deliveries_end_time_idx ON webhook_deliveries (end_time) WHERE end_time IS NOT NULL;

-- One row: up to which position webhooks were told that there is something to do. Who holds its lock tells.
CREATE TABLE webhook_feed (
    only_row boolean NOT NULL DEFAULT true,
    position bigint NOT NULL,
    CONSTRAINT webhook_feed_pkey PRIMARY KEY (only_row),
    CONSTRAINT webhook_feed_one_row CHECK (only_row)
);
INSERT INTO webhook_feed (position) SELECT coalesce(max(position), 0) FROM events;

GRANT SELECT, INSERT, DELETE ON webhooks, webhook_secrets, webhook_deliveries TO bank_app;
GRANT SELECT ON webhook_feed TO bank_app;
GRANT UPDATE (position) ON webhook_feed TO bank_app;
GRANT UPDATE (expire_time) ON webhook_secrets TO bank_app;
GRANT UPDATE (
    url, types, description, disable_reason, position, due_time, lease_expire_time, retry_time, failure_count,
    failing_since_time, is_slow, update_time, delete_time
) ON webhooks TO bank_app;
GRANT UPDATE (
    state, attempt_count, response_status, failure, first_attempt_time, last_attempt_time, next_attempt_time, end_time
) ON webhook_deliveries TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE webhook_feed;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_secrets;
DROP TABLE webhooks;
