"""No query of the service reads a whole table: it would be fast in a test and slow in its third year."""

import importlib
import json
import pkgutil
from collections.abc import AsyncIterator, Iterator, Mapping
from hashlib import md5
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import bankdb
import pytest

from server.audit.operations import AuditFilter, AuditLog
from server.audit.recording import AuditEventType
from server.caller import Caller
from server.database import Database, open_pool
from server.events.operations import EVENT_SETTINGS
from server.ledger.commit_queue import LEDGER_SETTINGS
from server.page_token import PageTokens
from server.timestamps import EARLIEST, LATEST
from tests.conftest import CloneDatabase, PostgresServer
from tests.conftest import Database as MigratedDatabase
from tests.db.migrations import superuser_url

# Filling the tables counts as time of the first test.
pytestmark = pytest.mark.timeout(180)

ROWS = 50_000
AUDIT_PAGE = 50
# Users of FILL: half of all audit events are one's, one in two thousand the other's.
HEAVY, LIGHT = (UUID(md5(user.encode(), usedforsecurity=False).hexdigest()) for user in ("u1", "u7"))
ADMIN = Caller(uuid4(), uuid4())
# Of these tables a query may read all: they stay tiny.
TINY = {"currencies", "webhook_feed"}
# These indexes hold what is under way, in another order than that of time: there is only so much of it.
OPEN = {"orders_open_payment_idx", "outbox_open_idx"}
# These may read any table as a whole.
EXEMPT_MODULES = {"verification": "the proof that the ledger adds up has to read all of it"}
# Run by the writer of the ledger, with its settings.
LEDGER_QUERIES = {
    "accounts.LOCK_ACCOUNTS",
    "accounts.LOCK_FREE_ACCOUNTS",
    "accounts.LIST_EXISTING_ACCOUNT_IDS",
    "accounts.LOCK_ACCOUNT",
    "holds.COUNT_PENDING_HOLDS",
    "requests.LIST_MOVEMENT_CONTEXTS",
    "transfers.INSERT_POSTINGS",
}


def queries() -> dict[str, str]:
    """Every generated query by module and name, but those of the exempt modules."""
    found = {}
    for module in pkgutil.iter_modules(bankdb.__path__):
        if module.name != "models" and module.name not in EXEMPT_MODULES:
            constants = vars(importlib.import_module(f"bankdb.{module.name}"))
            found |= {
                f"{module.name}.{name}": value
                for name, value in constants.items()
                if isinstance(value, str) and value.startswith("-- name: ")
            }
    return found


QUERIES = queries()
BUSY, QUIET, ABSENT = (str(UUID(int=number)) for number in (1, 2, 3))
"""Users with a quarter of all events, with one, and with none."""

FILL = f"""
SET session_replication_role = replica;
INSERT INTO users (id, username, password_hash, full_name, email, email_verified)
SELECT md5('u' || n)::uuid, 'user' || n, 'x', 'Somebody', n || '@example.org', n % 2 = 0
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time, revoke_time)
SELECT
    md5('s' || n)::uuid, md5('u' || n % 20000)::uuid, 'agent', '127.0.0.1', now() + '1 h', now() + '1 h',
    CASE WHEN n % 3 = 0 THEN now() END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO refresh_tokens (token_hash, session_id, use_time, successor_ciphertext)
SELECT
    sha256(n::text::bytea), md5('s' || n)::uuid, CASE WHEN n % 2 = 0 THEN now() END,
    CASE WHEN n % 100 = 0 THEN sha256('') END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time, use_time)
SELECT
    md5('o' || n)::uuid, md5('u' || n)::uuid, 'VERIFY_EMAIL', n || '@example.org', sha256(n::text::bytea),
    now(), CASE WHEN n % 2 = 0 THEN now() END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO outbox (id, job, payload, enqueue_time, done_time, dead_time)
SELECT
    md5('o' || n)::uuid, 'send_verification_email', '{{}}', now(),
    CASE WHEN n % 100 > 1 THEN now() END, CASE WHEN n % 100 = 1 THEN now() END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO accounts (id, owner_user_id, currency_code)
SELECT md5('a' || n)::uuid, md5('u' || n % 50000)::uuid, 'USD' FROM generate_series(1, {ROWS}) AS n;
INSERT INTO transfers (
    id, kind, source_account_id, destination_account_id, amount_minor, currency_code, initiator_user_id,
    request_id, description, reference, metadata, source_sequence, destination_sequence, create_time
)
SELECT
    md5('t' || n)::uuid, CASE WHEN n % 10 = 0 THEN 'DEPOSIT' ELSE 'TRANSFER' END,
    md5('a' || n % 1000)::uuid, md5('a' || 1000 + n % 1000)::uuid, 1, 'USD', md5('u' || n % 1000)::uuid,
    md5('r' || n)::uuid, 'rent', CASE WHEN n % 5 = 0 THEN 'reference ' || n END,
    CASE WHEN n % 10 = 0 THEN jsonb_build_object('colour', 'shade ' || n % 500) END,
    1 + n / 1000, 1 + n / 1000, '2026-01-01'::timestamptz + n * interval '1 s'
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO entries (account_id, sequence, transfer_id, amount_minor, balance_after_minor, create_time)
SELECT source_account_id, source_sequence, id, -1, 0, create_time FROM transfers
UNION ALL
SELECT destination_account_id, destination_sequence, id, 1, 0, create_time FROM transfers;
INSERT INTO reversed_totals (transfer_id, amount_minor) SELECT id, 1 FROM transfers;
INSERT INTO holds (
    id, source_account_id, destination_account_id, amount_minor, currency_code, creator_user_id, state,
    captured_amount_minor, capture_transfer_id, expire_time, create_time, update_time
)
SELECT
    md5('h' || n)::uuid, md5('a' || n % 1000)::uuid, md5('a' || 1000 + n % 1000)::uuid, 1, 'USD',
    md5('u' || n % 1000)::uuid, CASE WHEN n % 100 = 0 THEN 'PENDING' WHEN n % 2 = 0 THEN 'VOIDED' ELSE 'EXPIRED' END,
    0, NULL, now() + (n - {ROWS}) * interval '1 s', now(), now()
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO scheduled_transfers (
    id, creator_user_id, source_account_id, destination_account_id, amount_minor, currency_code, description,
    execute_time, state, create_time, update_time
)
SELECT
    md5('p' || n)::uuid, md5('u' || n % 1000)::uuid, md5('a' || n % 1000)::uuid, md5('a' || 1000 + n % 1000)::uuid,
    1, 'USD', 'rent', now() + (n - {ROWS} + 100) * interval '1 s',
    CASE WHEN n % 100 = 0 THEN 'SCHEDULED' ELSE 'CANCELED' END, now(), now()
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO products (
    id, merchant_user_id, name, description, search_words, price_minor, currency_code, settlement_account_id, on_hand,
    reserved, state
)
SELECT
    md5('q' || n)::uuid, md5('u' || n % 1000)::uuid, 'Kite ' || n, '', 'kite ' || n, 1, 'USD',
    md5('a' || n % 1000)::uuid, 5, 1, CASE WHEN n % 10 = 0 THEN 'ARCHIVED' ELSE 'ACTIVE' END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO inventory_movements (
    product_id, sequence, kind, on_hand_change, reserved_change, on_hand_after, reserved_after, reason
)
SELECT id, 1, 'ADJUSTED', 5, 0, 5, 0, '' FROM products;
INSERT INTO orders (
    id, buyer_user_id, merchant_user_id, payment_account_id, settlement_account_id, total_minor, currency_code, state,
    payment_state, fulfillment_state, hold_id, expire_time, create_time, update_time
)
SELECT
    md5('d' || n)::uuid, md5('u' || n % 1000)::uuid, md5('u' || n % 500)::uuid, md5('a' || n % 1000)::uuid,
    md5('a' || n % 500)::uuid, 1, 'USD',
    CASE WHEN n % 100 = 0 THEN 'PLACED' ELSE 'CANCELED' END,
    CASE WHEN n % 100 = 0 THEN 'HELD' ELSE 'RELEASED' END,
    CASE WHEN n % 100 = 0 THEN 'RESERVED' ELSE 'RELEASED' END,
    md5('h' || n)::uuid, now() + (n - {ROWS} + 200) * interval '1 s', now(), now()
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO order_items (order_id, product_id, line, product_name, quantity, unit_price_minor)
SELECT md5('d' || n)::uuid, md5('q' || n)::uuid, 1, 'Kite', 1, 1 FROM generate_series(1, {ROWS}) AS n;
INSERT INTO ledger_blocks (
    number, first_position, last_position, entry_count, transfer_ids, digests, previous_hash, hash
)
SELECT n, n * 10, n * 10 + 9, 2, ARRAY[md5('t' || n)::uuid], sha256(''), sha256(''), sha256('')
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO requests (user_id, request_id, rpc, fingerprint, result_id)
SELECT initiator_user_id, request_id, 'bank.v1.TransferService/CreateTransfer', '\\x00', id FROM transfers;
INSERT INTO events (position, type, subject_id, user_id, counterparty_user_id)
SELECT
    CASE WHEN n <= {ROWS} - 100 THEN n END, 'transfer.posted', md5('t' || n)::uuid,
    CASE WHEN n % 1000 = 7 THEN '{BUSY}'::uuid ELSE md5('u' || n % 1000)::uuid END,
    CASE WHEN n % 4 = 0 THEN '{BUSY}'::uuid WHEN n = 4001 THEN '{QUIET}'::uuid END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO sign_in_throttles (name_digest, failure_count, last_failure_time, retry_time)
SELECT sha256(('user' || n)::bytea), 1, now() - n * interval '1 s', now() FROM generate_series(1, {ROWS}) AS n;
INSERT INTO rate_limits (action, subject, full_time)
SELECT 'SIGN_IN', '10.' || n, now() - n * interval '1 s' FROM generate_series(1, {ROWS}) AS n;
-- Every other event is user 1's; the first five of all and of theirs are of a type that never came again.
INSERT INTO audit_events (
    id, type, user_id, actor_user_id, client_address, user_agent, trace_id, details, create_time
)
SELECT
    (lpad(to_hex((extract(EPOCH FROM create_time) * 1000)::bigint), 12, '0') || substr(md5('e' || n), 13))::uuid,
    CASE WHEN n <= 5 THEN 'ACCOUNT_CLOSED' WHEN n % 3 = 0 THEN 'SIGNED_IN' ELSE 'SIGN_IN_FAILED' END,
    md5('u' || user_number)::uuid, md5('u' || user_number)::uuid, '192.0.2.1', 'agent', md5('t' || n), '{{}}',
    create_time
FROM (
    SELECT
        n, CASE WHEN n <= 5 OR n % 2 = 0 THEN 1 ELSE n % 1000 END AS user_number,
        '2026-01-01'::timestamptz + n * interval '1 s' AS create_time
    FROM generate_series(1, {ROWS}) AS n
) AS numbered;
INSERT INTO webhooks (
    id, user_id, url, types, description, everybodys, position, due_time, lease_expire_time, failure_count,
    failing_since_time, delete_time
)
SELECT
    md5('w' || n)::uuid, md5('u' || n)::uuid, 'https://shop.example/', '{{}}', '', n % 1000 = 0, 0,
    CASE WHEN n % 100 = 0 THEN now() END, CASE WHEN n % 1000 = 1 THEN now() END,
    CASE WHEN n % 200 = 0 THEN 1 ELSE 0 END, CASE WHEN n % 200 = 0 THEN now() END, CASE WHEN n % 100 = 7 THEN now() END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO webhook_secrets (id, webhook_id, ciphertext, expire_time)
SELECT md5('k' || n)::uuid, md5('w' || n)::uuid, '\\x00', CASE WHEN n % 100 = 0 THEN now() END
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO webhook_deliveries (
    id, webhook_id, position, event_type, subject_id, state, next_attempt_time, end_time
)
SELECT
    md5('v' || n)::uuid, md5('w' || n % 1000)::uuid, n, 'transfer.posted', md5('t' || n)::uuid,
    CASE WHEN n % 100 = 0 THEN 'PENDING' ELSE 'DELIVERED' END, CASE WHEN n % 100 = 0 THEN now() END,
    CASE WHEN n % 100 <> 0 THEN now() + (n - {ROWS}) * interval '1 min' END
FROM generate_series(1, {ROWS}) AS n;
SET session_replication_role = origin;
ANALYZE;
"""


@pytest.fixture(scope="module")
async def filled(clone_database: CloneDatabase, postgres: PostgresServer) -> AsyncIterator[MigratedDatabase]:
    """A bank of some size."""
    async with clone_database() as database:
        superuser = await asyncpg.connect(superuser_url(postgres, database.owner_url))
        await superuser.execute(FILL)
        await superuser.close()
        yield database


@pytest.fixture(scope="module")
async def connection(filled: MigratedDatabase) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection of the application's role to it."""
    async with filled.pool.acquire() as lent:
        yield lent  # type: ignore[misc]  # lent by the pool, which is as good


async def plan_of(
    connection: "asyncpg.Connection[asyncpg.Record]", query: str, settings: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The nodes of the plan for any arguments."""
    async with connection.transaction():
        for name, value in {"plan_cache_mode": "force_generic_plan", "jit": "off", **settings}.items():
            await connection.execute("SELECT set_config($1, $2, true)", name, value)
        await connection.execute(f"PREPARE asked AS {query}")
        arguments = await connection.fetchval(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = 'asked'"
        )
        values = f"({', '.join(['NULL'] * arguments)})" if arguments else ""
        (explained,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE asked{values}"))
        await connection.execute("DEALLOCATE asked")
    return list(nodes(explained["Plan"]))


def whole_tables(plan: list[dict[str, Any]]) -> set[str]:
    """Tables that are read from end to end."""
    return {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"}


def sifted_by_the_clock(plan: list[dict[str, Any]]) -> set[str]:
    """Indexes of which more is read the more lies in the future.

    clock_timestamp() changes while a statement runs, so no index is asked by it: `(SELECT clock_timestamp())` is read
    once, and is.
    """
    return {
        node["Index Name"]
        for node in plan
        if "Index Name" in node and "clock_timestamp()" in node.get("Filter", "") and is_range(node)
    }


def is_range(node: dict[str, Any]) -> bool:
    """Whether an index is read without saying which rows by equality."""
    return " = " not in node.get("Index Cond", "")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and everything below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


class TestPlans:
    @pytest.mark.parametrize("name", QUERIES)
    async def test_query_finds_its_rows_by_an_index(
        self, connection: "asyncpg.Connection[asyncpg.Record]", name: str
    ) -> None:
        settings = LEDGER_SETTINGS if name in LEDGER_QUERIES else {}
        plan = await plan_of(connection, QUERIES[name], settings)
        assert whole_tables(plan) - TINY == set()
        assert sifted_by_the_clock(plan) - OPEN == set()

    async def test_query_without_an_index_is_noticed(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        query = "SELECT id FROM transfers WHERE description = $1"
        assert whole_tables(await plan_of(connection, query, {})) == {"transfers"}

    async def test_query_that_looks_through_what_is_not_due_is_noticed(
        self, connection: "asyncpg.Connection[asyncpg.Record]"
    ) -> None:
        query = (
            "SELECT id FROM scheduled_transfers WHERE state = 'SCHEDULED' AND execute_time <= {} ORDER BY execute_time"
        )
        plan = await plan_of(connection, query.format("clock_timestamp()"), {})
        assert sifted_by_the_clock(plan) == {"scheduled_transfers_due_idx"}
        assert not sifted_by_the_clock(await plan_of(connection, query.format("(SELECT clock_timestamp())"), {}))

    @pytest.mark.parametrize("after", [0, ROWS // 2, ROWS - 101])
    @pytest.mark.parametrize(("user", "most"), [(BUSY, 50), (BUSY, 500), (QUIET, 500), (ABSENT, 500)])
    async def test_events_of_a_user_are_found_in_their_order(
        self, connection: "asyncpg.Connection[asyncpg.Record]", user: str, most: int, after: int
    ) -> None:
        """However many they have: neither the table nor more of the index than is answered is read."""
        query = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {QUERIES['events.LIST_EVENTS_OF_USER']}"
        async with connection.transaction():
            for name, value in EVENT_SETTINGS.items():
                await connection.execute("SELECT set_config($1, $2, true)", name, value)
            (explained,) = json.loads(await connection.fetchval(query, UUID(user), after, most))
        scans = [node for node in nodes(explained["Plan"]) if "Scan" in node["Node Type"]]
        assert {node.get("Index Name") for node in scans if node["Node Type"] == "Index Scan"} == {
            "events_user_id_idx",
            "events_counterparty_user_id_idx",
        }
        assert all(node["Actual Rows"] <= most for node in scans)
        assert explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"] < 2 * most + 50

    def test_ledger_queries_exist(self) -> None:
        assert QUERIES.keys() >= LEDGER_QUERIES


@pytest.fixture(scope="module")
async def service(filled: MigratedDatabase) -> AsyncIterator[Database]:
    """One connection as the service opens it, so that its statistics are those of one caller."""
    opened = Database(await open_pool(filled.app_url, size=1))
    yield opened
    await opened.close()


async def fetched(service: Database) -> int:
    """How many audit events were read so far, by whatever plan."""
    async with service.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        count: int = await connection.fetchval(
            "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'audit_events'"
        )
    return count


class TestAuditEvents:
    """A page of the log costs a page of each type at most, however much there is of what is not asked for."""

    @pytest.mark.parametrize("actor_user_id", [None, HEAVY, LIGHT], ids=["any", "heavy", "light"])
    @pytest.mark.parametrize("user_id", [None, HEAVY, LIGHT], ids=["any", "heavy", "light"])
    @pytest.mark.parametrize("type_", [None, "SIGNED_IN", "ACCOUNT_CLOSED", "EMAIL_CLAIMED"])
    async def test_page_reads_little_more_than_it_shows(
        self, service: Database, type_: str | None, user_id: UUID | None, actor_user_id: UUID | None
    ) -> None:
        log = AuditLog(service, PageTokens(bytes(32)))
        wanted = AuditFilter(
            type=AuditEventType(type_) if type_ else None,
            user_id=user_id,
            actor_user_id=actor_user_id,
            start_time=EARLIEST,
            end_time=LATEST,
            page_size=AUDIT_PAGE,
            page_token="",
        )
        before = await fetched(service)
        events, _ = await log.page(wanted, ADMIN)
        read = await fetched(service) - before
        types_in_fill = 3
        assert len(events) <= read <= types_in_fill * (AUDIT_PAGE + 1)
