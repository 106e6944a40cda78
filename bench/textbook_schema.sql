-- The yardstick: 10,000 accounts with the textbook's four tables' worth of rows and indexes.
DROP SCHEMA IF EXISTS textbook CASCADE;
CREATE SCHEMA textbook;
SET search_path = textbook;

CREATE TABLE accounts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner text NOT NULL,
    balance bigint NOT NULL CHECK (balance >= 0),
    currency text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE transfers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    from_account_id bigint NOT NULL REFERENCES accounts,
    to_account_id bigint NOT NULL REFERENCES accounts,
    amount bigint NOT NULL CHECK (amount > 0),
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON transfers (from_account_id);
CREATE INDEX ON transfers (to_account_id);
CREATE INDEX ON transfers (from_account_id, to_account_id);

CREATE TABLE entries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id bigint NOT NULL REFERENCES accounts,
    amount bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON entries (account_id);

INSERT INTO accounts (owner, balance, currency)
SELECT 'u' || number, 1000000000, 'USD' FROM generate_series(1, 10000) AS number;
