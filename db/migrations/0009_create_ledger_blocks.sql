-- migrate:up

SET LOCAL lock_timeout = '2s';

-- The hash chain over what was posted, sealed after the fact; see server/ledger/chain.py.
CREATE TABLE ledger_blocks (
    number bigint NOT NULL,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    entry_count integer NOT NULL,
    transfer_ids uuid [] NOT NULL,
    digests bytea NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT ledger_blocks_pkey PRIMARY KEY (number),
    CONSTRAINT ledger_blocks_number_positive CHECK (number > 0),
    CONSTRAINT ledger_blocks_positions_ordered CHECK (0 < first_position AND first_position <= last_position),
    CONSTRAINT ledger_blocks_hash_length CHECK (octet_length(hash) = 32 AND octet_length(previous_hash) = 32),
    CONSTRAINT ledger_blocks_digests_length CHECK (octet_length(digests) = 32 * cardinality(transfer_ids))
);
COMMENT ON COLUMN ledger_blocks.digests IS '32 bytes for each of transfer_ids, in their order';

-- A block is sealed once and never changed.
GRANT SELECT, INSERT ON ledger_blocks TO bank_app;

-- migrate:down

SET LOCAL lock_timeout = '2s';

DROP TABLE ledger_blocks;
