-- migrate:up

SET LOCAL lock_timeout = '2s';

-- Whoever changes a hold has its source account locked.
CREATE TABLE holds (
    id uuid NOT NULL,
    source_account_id uuid NOT NULL,
    destination_account_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    currency_code text NOT NULL,
    creator_user_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'PENDING',
    captured_amount_minor bigint NOT NULL DEFAULT 0,
    capture_transfer_id uuid,
    expire_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    CONSTRAINT holds_pkey PRIMARY KEY (id),
    CONSTRAINT holds_source_account_id_fkey FOREIGN KEY (source_account_id) REFERENCES accounts (id),
    CONSTRAINT holds_destination_account_id_fkey FOREIGN KEY (destination_account_id) REFERENCES accounts (id),
    CONSTRAINT holds_capture_transfer_id_fkey FOREIGN KEY (capture_transfer_id) REFERENCES transfers (id),
    CONSTRAINT holds_accounts_differ CHECK (source_account_id <> destination_account_id),
    CONSTRAINT holds_amount_minor_range CHECK (amount_minor BETWEEN 1 AND 100000000000000000),
    CONSTRAINT holds_state_known CHECK (state IN ('PENDING', 'CAPTURED', 'VOIDED', 'EXPIRED')),
    CONSTRAINT holds_captured_amount_minor_range CHECK (captured_amount_minor BETWEEN 0 AND amount_minor),
    CONSTRAINT holds_captured_with_transfer CHECK (
        (state = 'CAPTURED') = (capture_transfer_id IS NOT NULL)
        AND (state = 'CAPTURED') = (captured_amount_minor > 0)
    )
);
CREATE INDEX holds_source_account_id_idx ON holds (source_account_id, id);
CREATE INDEX holds_destination_account_id_idx ON holds (destination_account_id, id);
CREATE INDEX holds_pending_idx ON holds (source_account_id, expire_time) WHERE state = 'PENDING';
CREATE INDEX holds_expiring_idx ON holds (expire_time) WHERE state = 'PENDING';

ALTER TABLE transfers
ADD COLUMN hold_id uuid,
ADD COLUMN reverses_transfer_id uuid,
ADD CONSTRAINT transfers_hold_of_capture CHECK ((kind = 'CAPTURE') = (hold_id IS NOT NULL)) NOT VALID,
ADD CONSTRAINT transfers_original_of_reversal CHECK (
    (kind = 'REVERSAL') = (reverses_transfer_id IS NOT NULL)
) NOT VALID;
-- No hold is captured twice, whatever else fails.
CREATE UNIQUE INDEX transfers_hold_id_key ON transfers (hold_id) WHERE hold_id IS NOT NULL;
CREATE INDEX transfers_reverses_transfer_id_idx ON transfers (reverses_transfer_id)
WHERE reverses_transfer_id IS NOT NULL;

-- How much of a transfer was undone; beside transfers, which are never changed.
CREATE TABLE reversed_totals (
    transfer_id uuid NOT NULL,
    amount_minor bigint NOT NULL,
    CONSTRAINT reversed_totals_pkey PRIMARY KEY (transfer_id),
    CONSTRAINT reversed_totals_transfer_id_fkey FOREIGN KEY (transfer_id) REFERENCES transfers (id),
    CONSTRAINT reversed_totals_amount_minor_positive CHECK (amount_minor > 0)
);

GRANT SELECT, INSERT ON holds, reversed_totals TO bank_app;
GRANT UPDATE (state, captured_amount_minor, capture_transfer_id, update_time) ON holds TO bank_app;
GRANT UPDATE (amount_minor) ON reversed_totals TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE reversed_totals;
ALTER TABLE transfers
DROP CONSTRAINT transfers_original_of_reversal,
DROP CONSTRAINT transfers_hold_of_capture,
DROP COLUMN reverses_transfer_id,
DROP COLUMN hold_id;
DROP TABLE holds;
