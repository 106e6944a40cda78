-- migrate:up

SET LOCAL lock_timeout = '2s';

CREATE TABLE users (
    id uuid NOT NULL,
    username text NOT NULL,
    password_hash text NOT NULL,
    full_name text NOT NULL,
    email text NOT NULL,
    email_verified boolean NOT NULL DEFAULT false,
    roles text [] NOT NULL DEFAULT '{DEPOSITOR}',
    disabled boolean NOT NULL DEFAULT false,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_username_key UNIQUE (username),
    CONSTRAINT users_username_canonical CHECK (username ~ '^[a-z][a-z0-9_-]{2,31}$'),
    CONSTRAINT users_roles_known CHECK (
        roles <@ ARRAY['DEPOSITOR', 'MERCHANT', 'BANKER', 'ADMIN'] AND 'DEPOSITOR' = ANY (roles)
    )
);
COMMENT ON COLUMN users.password_hash IS 'argon2id in PHC string form, parameters and salt included';

-- Unverified addresses may repeat, so that signing up does not tell who is a customer.
CREATE UNIQUE INDEX users_verified_email_key ON users (lower(email)) WHERE email_verified;
CREATE INDEX users_email_idx ON users (lower(email));

CREATE TABLE sessions (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    user_agent text NOT NULL,
    client_address text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    last_refresh_time timestamptz NOT NULL DEFAULT now(),
    idle_expire_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    revoke_time timestamptz,
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)
);
CREATE INDEX sessions_user_id_idx ON sessions (user_id, id);

-- Every refresh token a session ever had, so that reuse of any of them is noticed.
CREATE TABLE refresh_tokens (
    token_hash bytea NOT NULL,
    session_id uuid NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    use_time timestamptz,
    successor_ciphertext bytea,
    CONSTRAINT refresh_tokens_pkey PRIMARY KEY (token_hash),
    CONSTRAINT refresh_tokens_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (id)
);
COMMENT ON COLUMN refresh_tokens.successor_ciphertext IS
'the token that replaced this one, under a key derived from this one; cleared after the grace';
-- At most one token of a session can still be exchanged.
CREATE UNIQUE INDEX refresh_tokens_unused_key ON refresh_tokens (session_id) WHERE use_time IS NULL;

-- Tokens sent by mail. The id is that of the outbox row that sends it.
CREATE TABLE mail_tokens (
    id uuid NOT NULL,
    user_id uuid NOT NULL,
    purpose text NOT NULL,
    email text NOT NULL,
    token_hash bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz NOT NULL,
    use_time timestamptz,
    CONSTRAINT mail_tokens_pkey PRIMARY KEY (id),
    CONSTRAINT mail_tokens_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT mail_tokens_token_hash_key UNIQUE (token_hash),
    CONSTRAINT mail_tokens_purpose_known CHECK (purpose IN ('VERIFY_EMAIL'))
);
CREATE INDEX mail_tokens_user_id_idx ON mail_tokens (user_id, purpose);

GRANT SELECT, INSERT ON users, sessions, refresh_tokens, mail_tokens TO bank_app;
GRANT UPDATE (password_hash, full_name, email, email_verified, roles, disabled, update_time) ON users TO bank_app;
GRANT UPDATE (last_refresh_time, idle_expire_time, revoke_time) ON sessions TO bank_app;
GRANT UPDATE (use_time, successor_ciphertext) ON refresh_tokens TO bank_app;
GRANT UPDATE (use_time), DELETE ON mail_tokens TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE mail_tokens;
DROP TABLE refresh_tokens;
DROP TABLE sessions;
DROP TABLE users;
