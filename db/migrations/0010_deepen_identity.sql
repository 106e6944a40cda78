-- migrate:up

SET LOCAL lock_timeout = '2s';

ALTER TABLE users ADD COLUMN pending_email text;
COMMENT ON COLUMN users.pending_email IS 'takes the place of email once its link is opened';
GRANT UPDATE (pending_email) ON users TO bank_app;
CREATE INDEX users_pending_email_idx ON users (lower(pending_email)) WHERE pending_email IS NOT NULL;

ALTER TABLE mail_tokens
DROP CONSTRAINT mail_tokens_purpose_known,
ADD CONSTRAINT mail_tokens_purpose_known CHECK (purpose IN ('VERIFY_EMAIL', 'RESET_PASSWORD'));

-- Failures in a row for each name that somebody tried, whether or not it is a user's: one who
-- guesses must not learn from this which names exist.
CREATE TABLE sign_in_throttles (
    name_digest bytea NOT NULL,
    failure_count integer NOT NULL,
    last_failure_time timestamptz NOT NULL,
    retry_time timestamptz NOT NULL,
    CONSTRAINT sign_in_throttles_pkey PRIMARY KEY (name_digest),
    CONSTRAINT sign_in_throttles_failure_count_not_negative CHECK (failure_count >= 0)
);
COMMENT ON COLUMN sign_in_throttles.name_digest IS 'people type other things than their name, such as a password';
COMMENT ON COLUMN sign_in_throttles.retry_time IS 'until then every password is refused unchecked';
CREATE INDEX sign_in_throttles_last_failure_time_idx ON sign_in_throttles (last_failure_time);

-- How far each subject has used up its allowance of an action: full_time is when all of it will
-- be there again (the theoretical arrival time of the generic cell rate algorithm, ITU-T I.371).
CREATE TABLE rate_limits (
    action text NOT NULL,
    subject text NOT NULL,
    full_time timestamptz NOT NULL,
    CONSTRAINT rate_limits_pkey PRIMARY KEY (action, subject)
);
CREATE INDEX rate_limits_full_time_idx ON rate_limits (full_time);

-- What happened to the security of users, sessions and accounts, for ever. No foreign keys: what
-- is recorded depends on nothing, and locks nothing.
CREATE TABLE audit_events (
    id uuid NOT NULL,
    type text NOT NULL,
    user_id uuid,
    actor_user_id uuid,
    session_id uuid,
    account_id uuid,
    client_address text NOT NULL,
    user_agent text NOT NULL,
    trace_id text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    create_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT audit_events_pkey PRIMARY KEY (id)
);
-- Lists read a page of each type: types are few, and one of them may be rare.
CREATE INDEX audit_events_type_idx ON audit_events (type, id);
CREATE INDEX audit_events_user_id_idx ON audit_events (user_id, type, id);
CREATE INDEX audit_events_actor_user_id_idx ON audit_events (actor_user_id, type, id);
CREATE INDEX audit_events_user_id_actor_user_id_idx ON audit_events (user_id, actor_user_id, type, id);

GRANT SELECT, INSERT ON audit_events TO bank_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON sign_in_throttles, rate_limits TO bank_app;

-- The life of a mailed token begins anew when its mail is sent.
GRANT UPDATE (expire_time) ON mail_tokens TO bank_app;

-- What the retention of the worker deletes.
GRANT DELETE ON outbox, refresh_tokens, sessions TO bank_app;
CREATE INDEX outbox_done_idx ON outbox (done_time) WHERE done_time IS NOT NULL;
CREATE INDEX refresh_tokens_ciphertext_idx ON refresh_tokens (use_time) WHERE successor_ciphertext IS NOT NULL;
CREATE INDEX sessions_expire_time_idx ON sessions (expire_time);
CREATE INDEX refresh_tokens_session_id_idx ON refresh_tokens (session_id);
CREATE INDEX mail_tokens_expire_time_idx ON mail_tokens (expire_time);
CREATE INDEX mail_tokens_email_idx ON mail_tokens (lower(email), create_time);

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP INDEX mail_tokens_email_idx;
DROP INDEX mail_tokens_expire_time_idx;
DROP INDEX refresh_tokens_session_id_idx;
DROP INDEX sessions_expire_time_idx;
DROP INDEX refresh_tokens_ciphertext_idx;
DROP INDEX outbox_done_idx;
REVOKE UPDATE (expire_time) ON mail_tokens FROM bank_app;
REVOKE DELETE ON outbox, refresh_tokens, sessions FROM bank_app;
DROP TABLE audit_events;
DROP TABLE rate_limits;
DROP TABLE sign_in_throttles;
DELETE FROM mail_tokens WHERE purpose = 'RESET_PASSWORD';
ALTER TABLE mail_tokens
DROP CONSTRAINT mail_tokens_purpose_known,
ADD CONSTRAINT mail_tokens_purpose_known CHECK (purpose IN ('VERIFY_EMAIL'));
ALTER TABLE users DROP COLUMN pending_email;
