-- A ledger that has been in use for years: accounts and entries whose every rule holds, as if each
-- account had once paid and once been paid in every round. Variables: owners (array), accounts,
-- rounds, first_position.
SET synchronous_commit = off;

CREATE TEMPORARY TABLE grown (number bigint PRIMARY KEY, id uuid NOT NULL, owner_user_id uuid NOT NULL);
INSERT INTO grown
SELECT
    number,
    overlay(md5('account ' || number) PLACING '7' FROM 13 FOR 1)::uuid,
    (:'owners'::uuid [])[1 + number % cardinality(:'owners'::uuid [])]
FROM generate_series(0, :accounts - 1) AS number;

-- What is paid is paid back in the same round, so all balances are zero; an overdraft limit gives
-- the load something to move.
INSERT INTO accounts (id, owner_user_id, currency_code, overdraft_limit_minor, entry_count, last_entry_time)
SELECT id, owner_user_id, 'USD', 1000000000, 2 * :rounds, now() - interval '1 day' FROM grown;

CREATE TEMPORARY TABLE moved AS
SELECT
    -- Ids in the order of time, 48 bits of it, as the ledger makes them.
    (
        lpad(to_hex((extract(EPOCH FROM now() - interval '2 days') * 1000)::bigint + ordinal / 1000), 12, '0')
        || '7000' || '8000' || lpad(to_hex(ordinal), 12, '0')
    )::uuid AS id,
    ordinal,
    source.id AS source_account_id,
    destination.id AS destination_account_id,
    source.owner_user_id AS source_user_id,
    destination.owner_user_id AS destination_user_id,
    -- Each account is credited first and debited then.
    2 * round + 2 AS source_sequence,
    2 * round + 1 AS destination_sequence,
    now() - interval '2 days' + round * interval '1 hour' AS create_time
FROM (
    SELECT number, round, round * :accounts + number AS ordinal
    FROM generate_series(0, :rounds - 1) AS round, generate_series(0, :accounts - 1) AS number
) AS planned
INNER JOIN grown AS source ON planned.number = source.number
INNER JOIN grown AS destination ON (planned.number + 1 + planned.round) % :accounts = destination.number;

INSERT INTO transfers (
    id, kind, source_account_id, destination_account_id, amount_minor, currency_code, initiator_user_id, request_id,
    description, source_sequence, destination_sequence, create_time
)
SELECT
    id, 'TRANSFER', source_account_id, destination_account_id, 1, 'USD', source_user_id, id, '',
    source_sequence, destination_sequence, create_time
FROM moved ORDER BY ordinal;

INSERT INTO entries (account_id, sequence, transfer_id, amount_minor, balance_after_minor, create_time)
SELECT source_account_id, source_sequence, id, -1, 0, create_time FROM moved
UNION ALL
SELECT destination_account_id, destination_sequence, id, 1, 1, create_time FROM moved
ORDER BY 6, 1, 2;

INSERT INTO requests (user_id, request_id, rpc, fingerprint, result_id)
SELECT source_user_id, id, 'bank.v1.TransferService/CreateTransfer', '\x00', id FROM moved;

INSERT INTO events (position, type, subject_id, user_id, counterparty_user_id, create_time)
SELECT :first_position + ordinal, 'transfer.posted', id, source_user_id, destination_user_id, create_time
FROM moved ORDER BY ordinal;

VACUUM ANALYZE;
