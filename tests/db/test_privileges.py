"""What the application's role may do, and above all what it may not."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import CloneDatabase, Database, PostgresServer
from tests.db.migrations import run, superuser_url

APPEND_ONLY = ("transfers", "entries", "requests", "ledger_blocks", "audit_events", "inventory_movements")
TABLES = (
    *APPEND_ONLY,
    "accounts",
    "currencies",
    "events",
    "holds",
    "mail_tokens",
    "order_items",
    "orders",
    "outbox",
    "products",
    "rate_limits",
    "refresh_tokens",
    "reversed_totals",
    "scheduled_transfers",
    "schema_migrations",
    "sessions",
    "sign_in_throttles",
    "users",
    "webhook_deliveries",
    "webhook_feed",
    "webhook_secrets",
    "webhooks",
)
# All that may be changed, column by column; what is not here is written once.
UPDATABLE = {
    "accounts": {
        "display_name",
        "state",
        "posted_minor",
        "held_minor",
        "overdraft_limit_minor",
        "entry_count",
        "last_entry_time",
        "metadata",
        "version",
        "update_time",
    },
    "events": {"position"},
    "holds": {"state", "captured_amount_minor", "capture_transfer_id", "update_time"},
    "mail_tokens": {"use_time", "expire_time"},
    "order_items": {"restocked_quantity"},
    "orders": {"state", "payment_state", "fulfillment_state", "transfer_id", "update_time"},
    "products": {
        "name",
        "description",
        "search_words",
        "price_minor",
        "settlement_account_id",
        "on_hand",
        "reserved",
        "movement_count",
        "state",
        "version",
        "update_time",
    },
    "outbox": {"enqueue_time", "done_time", "dead_time", "last_error"},
    "rate_limits": {"action", "subject", "full_time"},
    "refresh_tokens": {"use_time", "successor_ciphertext"},
    "reversed_totals": {"amount_minor"},
    "scheduled_transfers": {"state", "transfer_id", "failure_reason", "update_time"},
    "sessions": {"last_refresh_time", "idle_expire_time", "revoke_time"},
    "sign_in_throttles": {"name_digest", "failure_count", "last_failure_time", "retry_time"},
    "users": {
        "password_hash",
        "full_name",
        "email",
        "email_verified",
        "payable_by_name",
        "pending_email",
        "roles",
        "disabled",
        "update_time",
    },
    "webhook_deliveries": {
        "state",
        "attempt_count",
        "response_status",
        "failure",
        "first_attempt_time",
        "last_attempt_time",
        "next_attempt_time",
        "end_time",
    },
    "webhook_feed": {"position"},
    "webhook_secrets": {"expire_time"},
    "webhooks": {
        "url",
        "types",
        "description",
        "disable_reason",
        "position",
        "due_time",
        "lease_expire_time",
        "retry_time",
        "failure_count",
        "failing_since_time",
        "is_slow",
        "update_time",
        "delete_time",
    },
}
# Of these the retention deletes, and sign-in what it has counted; all else is kept for ever.
DELETABLE = {
    *("mail_tokens", "outbox", "rate_limits", "refresh_tokens", "sessions", "sign_in_throttles"),
    *("webhook_deliveries", "webhook_secrets", "webhooks"),
}
READ_ONLY = {"currencies", "schema_migrations", "webhook_feed"}


@pytest.fixture(scope="module")
async def migrated(clone_database: CloneDatabase) -> AsyncIterator[Database]:
    async with clone_database() as database:
        yield database


async def refused(database: Database, statement: str) -> bool:
    """Whether the application's role is refused with SQLSTATE 42501."""
    try:
        await database.pool.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return True
    return False


class TestApplicationRole:
    @pytest.mark.parametrize("table", APPEND_ONLY)
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE {} SET {column} = {column}",
            "DELETE FROM {}",
            "TRUNCATE {} CASCADE",
            "ALTER TABLE {} ADD COLUMN extra int",
            "ALTER TABLE {} DISABLE TRIGGER ALL",
            "CREATE INDEX ON {} ({column})",
            "DROP TABLE {} CASCADE",
        ],
        ids=lambda statement: " ".join(statement.split()[:1]),
    )
    async def test_books_are_append_only(self, migrated: Database, table: str, statement: str) -> None:
        columns = {
            "transfers": "amount_minor",
            "entries": "amount_minor",
            "requests": "result_id",
            "ledger_blocks": "hash",
            "inventory_movements": "on_hand_change",
            "audit_events": "type",
        }
        column = columns[table]
        assert await refused(migrated, statement.format(table, column=column))

    @pytest.mark.parametrize("table", TABLES)
    async def test_no_table_can_be_dropped_emptied_or_altered(self, migrated: Database, table: str) -> None:
        for statement in (
            f"DROP TABLE {table} CASCADE",
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} RENAME TO gone",
            f"CREATE TRIGGER t AFTER INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ):
            assert await refused(migrated, statement)

    async def test_tables_whose_rows_can_be_deleted_are_exactly_these(self, migrated: Database) -> None:
        deletable = {
            table for table in TABLES if await migrated.pool.fetchval("SELECT has_table_privilege($1, 'DELETE')", table)
        }
        assert deletable == DELETABLE

    @pytest.mark.parametrize(
        "statement",
        [
            "CREATE TABLE t (id int)",
            "CREATE TEMPORARY TABLE t (id int)",
            "CREATE SCHEMA s",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE ROLE r",
            "CREATE DATABASE d",
            "DROP FUNCTION entry_sequence_before(uuid, timestamptz)",
            "DROP SCHEMA public CASCADE",
            "COPY users TO PROGRAM 'cat'",
            "COPY users TO '/tmp/users'",
            "COPY users FROM PROGRAM 'cat'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT rolpassword FROM pg_authid",
            "SET session_replication_role = replica",
            "SET ROLE bank_owner",
            "ALTER SYSTEM SET fsync = off",
            "SELECT pg_reload_conf()",
        ],
    )
    async def test_nothing_beyond_its_tables_is_within_reach(self, migrated: Database, statement: str) -> None:
        assert await refused(migrated, statement)

    async def test_other_schemas_are_closed(self, migrated: Database, postgres: PostgresServer) -> None:
        await run(superuser_url(postgres, migrated.owner_url), "CREATE SCHEMA other")
        await run(superuser_url(postgres, migrated.owner_url), "CREATE TABLE other.t AS SELECT 1")
        assert await refused(migrated, "SELECT * FROM other.t")

    async def test_columns_that_may_change_are_exactly_these(self, migrated: Database) -> None:
        rows = await migrated.pool.fetch(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'"
            " AND has_column_privilege(format('%I', table_name), column_name, 'UPDATE')"
        )
        found: dict[str, set[str]] = {}
        for table, column in rows:
            found.setdefault(table, set()).add(column)
        assert found == UPDATABLE

    @pytest.mark.parametrize("table", TABLES)
    async def test_every_table_is_read_and_all_but_the_fixed_ones_are_added_to(
        self, migrated: Database, table: str
    ) -> None:
        row = await migrated.pool.fetchrow(
            "SELECT has_table_privilege($1, 'SELECT'), has_table_privilege($1, 'INSERT')", table
        )
        assert tuple(row) == (True, table not in READ_ONLY)

    async def test_tables_here_are_all_tables(self, migrated: Database) -> None:
        rows = await migrated.pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        assert {row[0] for row in rows} == set(TABLES)

    async def test_role_has_no_attribute_that_reaches_further(self, migrated: Database) -> None:
        row = await migrated.pool.fetchrow(
            "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls FROM pg_roles"
            " WHERE rolname = 'bank_app'"
        )
        assert not any(row)
        owned = "SELECT count(*) FROM pg_class WHERE relowner = 'bank_app'::regrole"
        assert await migrated.pool.fetchval(owned) == 0
        member = "SELECT count(*) FROM pg_auth_members WHERE member = 'bank_app'::regrole"
        assert await migrated.pool.fetchval(member) == 0
