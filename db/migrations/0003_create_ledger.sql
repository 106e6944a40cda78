-- migrate:up

SET LOCAL lock_timeout = '2s';

CREATE TABLE currencies (
    currency_code text NOT NULL,
    minor_unit_digits smallint NOT NULL,
    name text NOT NULL,
    CONSTRAINT currencies_pkey PRIMARY KEY (currency_code),
    CONSTRAINT currencies_currency_code_iso CHECK (currency_code ~ '^[A-Z]{3}$'),
    CONSTRAINT currencies_minor_unit_digits_range CHECK (minor_unit_digits BETWEEN 0 AND 4)
);

-- A balance changes far more often than a setting: room on the page keeps those updates off the
-- indexes.
CREATE TABLE accounts (
    id uuid NOT NULL,
    kind text NOT NULL DEFAULT 'CUSTOMER',
    owner_user_id uuid,
    display_name text NOT NULL DEFAULT '',
    currency_code text NOT NULL,
    state text NOT NULL DEFAULT 'OPEN',
    posted_minor bigint NOT NULL DEFAULT 0,
    held_minor bigint NOT NULL DEFAULT 0,
    overdraft_limit_minor bigint NOT NULL DEFAULT 0,
    entry_count bigint NOT NULL DEFAULT 0,
    last_entry_time timestamptz,
    metadata jsonb NOT NULL DEFAULT '{}',
    version bigint NOT NULL DEFAULT 1,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT accounts_pkey PRIMARY KEY (id),
    CONSTRAINT accounts_owner_user_id_fkey FOREIGN KEY (owner_user_id) REFERENCES users (id),
    CONSTRAINT accounts_currency_code_fkey FOREIGN KEY (currency_code) REFERENCES currencies (currency_code),
    CONSTRAINT accounts_kind_known CHECK (kind IN ('CUSTOMER', 'SYSTEM_CASH')),
    CONSTRAINT accounts_customer_owned CHECK ((kind = 'CUSTOMER') = (owner_user_id IS NOT NULL)),
    CONSTRAINT accounts_state_known CHECK (state IN ('OPEN', 'FROZEN', 'CLOSED')),
    CONSTRAINT accounts_system_open CHECK (kind = 'CUSTOMER' OR state = 'OPEN'),
    CONSTRAINT accounts_posted_minor_range CHECK (
        posted_minor BETWEEN -4000000000000000000 AND 4000000000000000000
    ),
    CONSTRAINT accounts_held_minor_range CHECK (held_minor BETWEEN 0 AND 4000000000000000000),
    CONSTRAINT accounts_overdraft_limit_minor_range CHECK (
        overdraft_limit_minor BETWEEN 0 AND 100000000000000000
    ),
    CONSTRAINT accounts_available_minor_not_negative CHECK (
        kind = 'SYSTEM_CASH' OR posted_minor >= held_minor - overdraft_limit_minor
    ),
    CONSTRAINT accounts_closed_empty CHECK (state <> 'CLOSED' OR (posted_minor = 0 AND held_minor = 0))
) WITH (fillfactor = 70);
CREATE INDEX accounts_owner_user_id_idx ON accounts (owner_user_id, id);

CREATE TABLE transfers (
    id uuid NOT NULL,
    kind text NOT NULL,
    source_account_id uuid NOT NULL,
    destination_account_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    currency_code text NOT NULL,
    initiator_user_id uuid NOT NULL,
    request_id uuid NOT NULL,
    description text NOT NULL,
    reference text,
    metadata jsonb,
    source_sequence bigint NOT NULL,
    destination_sequence bigint NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT transfers_pkey PRIMARY KEY (id),
    CONSTRAINT transfers_source_account_id_fkey FOREIGN KEY (source_account_id) REFERENCES accounts (id),
    CONSTRAINT transfers_destination_account_id_fkey FOREIGN KEY (destination_account_id) REFERENCES accounts (id),
    CONSTRAINT transfers_kind_known CHECK (kind IN ('TRANSFER', 'DEPOSIT', 'WITHDRAWAL', 'CAPTURE', 'REVERSAL')),
    CONSTRAINT transfers_accounts_differ CHECK (source_account_id <> destination_account_id),
    CONSTRAINT transfers_amount_minor_range CHECK (amount_minor BETWEEN 1 AND 100000000000000000),
    CONSTRAINT transfers_reference_not_empty CHECK (reference <> '')
);
COMMENT ON COLUMN transfers.source_sequence IS 'with source_account_id the key of the debiting entry';
CREATE UNIQUE INDEX transfers_initiator_reference_key ON transfers (initiator_user_id, reference)
WHERE reference IS NOT NULL;

CREATE TABLE entries (
    account_id uuid NOT NULL,
    sequence bigint NOT NULL,
    transfer_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    balance_after_minor bigint NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT entries_pkey PRIMARY KEY (account_id, sequence),
    CONSTRAINT entries_account_id_fkey FOREIGN KEY (account_id) REFERENCES accounts (id),
    CONSTRAINT entries_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (id),
    CONSTRAINT entries_sequence_positive CHECK (sequence > 0),
    CONSTRAINT entries_amount_minor_not_zero CHECK (amount_minor <> 0)
);

-- One row for each call that created something or moved money, kept for ever.
CREATE TABLE requests (
    user_id uuid NOT NULL,
    request_id uuid NOT NULL,
    rpc text NOT NULL,
    fingerprint bytea NOT NULL,
    result_id uuid NOT NULL,
    CONSTRAINT requests_pkey PRIMARY KEY (user_id, request_id)
);
COMMENT ON COLUMN requests.fingerprint IS 'digest of the parsed fields; another one under the same id is refused';

-- Entries of an account never go back in time, so a time is found by halving the sequence: no
-- index by time has to be kept on the path of the money.
CREATE FUNCTION entry_sequence_before(of_account_id uuid, instant timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    low bigint := 0;
    high bigint;
    middle bigint;
    middle_time timestamptz;
BEGIN
    SELECT sequence INTO high FROM entries WHERE account_id = of_account_id ORDER BY sequence DESC LIMIT 1;
    high := coalesce(high, 0);
    WHILE low < high LOOP
        middle := low + (high - low + 1) / 2;
        SELECT create_time INTO middle_time FROM entries WHERE account_id = of_account_id AND sequence = middle;
        IF middle_time < instant THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END
$$;
COMMENT ON FUNCTION entry_sequence_before IS 'highest sequence of the account posted before the instant; 0 if none';

GRANT SELECT ON currencies TO bank_app;
GRANT SELECT, INSERT ON accounts, transfers, entries, requests TO bank_app;
GRANT UPDATE (
    display_name, state, posted_minor, held_minor, overdraft_limit_minor, entry_count, last_entry_time,
    metadata, version, update_time
) ON accounts TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP FUNCTION entry_sequence_before (uuid, timestamptz);
DROP TABLE requests;
DROP TABLE entries;
DROP TABLE transfers;
DROP TABLE accounts;
DROP TABLE currencies;
