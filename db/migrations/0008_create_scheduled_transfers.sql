-- migrate:up

SET LOCAL lock_timeout = '2s';

-- Whoever executes or cancels one has its row locked, and locks accounts after it.
CREATE TABLE scheduled_transfers (
    id uuid NOT NULL,
    creator_user_id uuid NOT NULL,
    source_account_id uuid NOT NULL,
    destination_account_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    currency_code text NOT NULL,
    description text NOT NULL,
    reference text,
    execute_time timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'SCHEDULED',
    transfer_id uuid,
    failure_reason text,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    CONSTRAINT scheduled_transfers_pkey PRIMARY KEY (id),
    CONSTRAINT scheduled_transfers_source_account_id_fkey FOREIGN KEY (source_account_id) REFERENCES accounts (id),
    CONSTRAINT scheduled_transfers_destination_account_id_fkey FOREIGN KEY (destination_account_id)
    REFERENCES accounts (id),
    CONSTRAINT scheduled_transfers_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (id),
    CONSTRAINT scheduled_transfers_accounts_differ CHECK (source_account_id <> destination_account_id),
    CONSTRAINT scheduled_transfers_amount_minor_range CHECK (amount_minor BETWEEN 1 AND 100000000000000000),
    CONSTRAINT scheduled_transfers_state_known CHECK (state IN ('SCHEDULED', 'POSTED', 'FAILED', 'CANCELED')),
    CONSTRAINT scheduled_transfers_posted_with_transfer CHECK ((state = 'POSTED') = (transfer_id IS NOT NULL)),
    CONSTRAINT scheduled_transfers_failed_with_reason CHECK ((state = 'FAILED') = (failure_reason IS NOT NULL))
);
CREATE INDEX scheduled_transfers_creator_user_id_idx ON scheduled_transfers (creator_user_id, id);
CREATE INDEX scheduled_transfers_source_account_id_idx ON scheduled_transfers (source_account_id, id);
CREATE INDEX scheduled_transfers_destination_account_id_idx ON scheduled_transfers (destination_account_id, id);
CREATE INDEX scheduled_transfers_due_idx ON scheduled_transfers (execute_time, id) WHERE state = 'SCHEDULED';
-- Whether an account may be closed.
CREATE INDEX scheduled_transfers_open_source_idx ON scheduled_transfers (source_account_id)
WHERE state = 'SCHEDULED';

GRANT SELECT, INSERT ON scheduled_transfers TO bank_app;
GRANT UPDATE (state, transfer_id, failure_reason, update_time) ON scheduled_transfers TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE scheduled_transfers;
