"""The migrations from nothing to the last and back, by several at once, killed, and in the way of others."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from uuid import uuid4

import asyncpg
import pytest

from local.postgres import OWNER_ROLE, prepare_database
from local.settings import ROOT
from migrate.runner import MIGRATIONS_DIR, MigrationError, migrate
from tests.conftest import PostgresServer
from tests.db.migrations import VERSIONS, applied, reference_data, run, schema

LOCK_TIMEOUT_S = 2
CURRENCIES = "0005"
FILES = sorted(MIGRATIONS_DIR.glob("*.sql"))
CONCURRENT = 1 + next(number for number, path in enumerate(FILES) if "transaction:false" in path.read_text())
"""How many migrations there are up to the first that builds an index beside traffic."""
SIGNED_IN = r"""
INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)
SELECT md5('s')::uuid, id, '', '', now(), now() FROM users;
INSERT INTO refresh_tokens (token_hash, session_id) SELECT '\x01', id FROM sessions;
INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time)
SELECT md5('v')::uuid, id, 'VERIFY_EMAIL', email, '\x02', now() FROM users;
INSERT INTO outbox (id, job, payload, done_time) VALUES (md5('v')::uuid, 'send', '{}', now());
"""
DEEPENED = r"""
UPDATE users SET pending_email = 'other@example.org';
INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time)
SELECT md5('r')::uuid, id, 'RESET_PASSWORD', email, '\x03', now() FROM users;
INSERT INTO sign_in_throttles VALUES (sha256('alice'), 1, now(), now());
INSERT INTO rate_limits VALUES ('SIGN_IN', '192.0.2.1', now());
INSERT INTO audit_events (id, type, client_address, user_agent, trace_id)
VALUES (md5('a')::uuid, 'SIGNED_IN', '', '', '');
"""


@pytest.fixture
async def url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database, as its owner."""
    name = f"bank_test_{os.getpid()}_migrations"
    await prepare_database(postgres.superuser_url, name)
    yield postgres.url(OWNER_ROLE, name)
    await run(postgres.superuser_url, f"DROP DATABASE {name} WITH (FORCE)")


async def up(url: str, folder: Path = MIGRATIONS_DIR) -> None:
    await migrate("up", url, folder, print)


async def down(url: str, folder: Path = MIGRATIONS_DIR) -> None:
    await migrate("rollback", url, folder, print)


def first(count: int, folder: Path) -> Path:
    """A folder with the first migrations only."""
    for path in FILES[:count]:
        shutil.copy(path, folder)
    return folder


async def execute(url: str, script: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def sign_up(url: str) -> str:
    user_id = uuid4()
    await run(
        url,
        "INSERT INTO users (id, username, password_hash, full_name, email)"
        " VALUES ($1, 'alice', 'x', 'Alice Example', 'alice@example.org')",
        user_id,
    )
    return str(user_id)


class TestFiles:
    @pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
    def test_both_directions_bound_the_wait_for_locks_before_all_else(self, path: Path) -> None:
        text = path.read_text()
        sections = re.split(r"^-- migrate:(up|down)(.*)$", text, flags=re.MULTILINE)
        assert [sections[1], sections[4]] == ["up", "down"]
        for options, body in ((sections[2], sections[3]), (sections[5], sections[6])):
            lines = [line for line in body.splitlines() if line.strip() and not line.startswith("--")]
            if "transaction:false" in options:
                # The runner bounds the wait. One statement, which a run that was killed leaves to be said again.
                [statement] = "\n".join(lines).removesuffix(";").split(";")
                assert re.match(r"(CREATE|DROP)( UNIQUE)? INDEX CONCURRENTLY IF( NOT)? EXISTS ", statement)
            else:
                assert lines[0] == f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s';"

    def test_numbers_have_no_gap(self) -> None:
        assert [path.name[:5] for path in FILES] == [f"{number:04}_" for number in range(1, len(FILES) + 1)]


class TestUpAndDown:
    async def test_every_step_down_and_up_again_gives_the_same_schema(self, url: str, tmp_path: Path) -> None:
        steps = []
        for count in range(1, len(FILES) + 1):
            await up(url, first(count, tmp_path))
            steps.append(await schema(url))
        data = await reference_data(url)

        for count in range(len(FILES) - 1, 0, -1):
            await down(url)
            assert await schema(url) == steps[count - 1]
        await down(url)
        left = await schema(url)
        assert {line.split()[1] for line in left if line.startswith("table")} == {
            "schema_migrations",
            "schema_migrations_pkey",
        }
        assert "bank_app" not in " ".join(left)

        await up(url)
        assert await schema(url) == steps[-1]
        assert await reference_data(url) == data
        assert await applied(url) == VERSIONS

    async def test_repeated_up_changes_nothing(self, url: str) -> None:
        await up(url)
        before = await schema(url)
        await up(url)
        assert (await schema(url), await applied(url)) == (before, VERSIONS)


class TestDownOnData:
    async def down_to_the_currencies(self, url: str) -> None:
        """Take away what came after the step that refuses; the data does not hinder it."""
        while (await applied(url))[-1] != CURRENCIES:
            await down(url)

    async def test_currencies_with_an_account_stay(self, url: str) -> None:
        await up(url)
        user_id = await sign_up(url)
        await run(
            url, "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", uuid4(), user_id
        )
        await self.down_to_the_currencies(url)
        before = await reference_data(url)

        with pytest.raises(MigrationError, match="accounts_currency_code_fkey"):
            await down(url)

        assert (await reference_data(url), (await applied(url))[-1]) == (before, CURRENCIES)

    async def test_cash_account_with_an_entry_stays(self, url: str) -> None:
        await up(url)
        await run(
            url,
            "INSERT INTO transfers (id, kind, source_account_id, destination_account_id, amount_minor, currency_code,"
            " initiator_user_id, request_id, description, source_sequence, destination_sequence, create_time)"
            " SELECT $1, 'DEPOSIT', min(id::text)::uuid, max(id::text)::uuid, 1, 'USD', $1, $1, '', 1, 1, now()"
            " FROM accounts",
            uuid4(),
        )
        await self.down_to_the_currencies(url)
        before = await reference_data(url)

        with pytest.raises(MigrationError, match=r"transfers_(source|destination)_account_id_fkey"):
            await down(url)

        assert (await reference_data(url), (await applied(url))[-1]) == (before, CURRENCIES)

    async def test_users_without_accounts_do_not_hinder_it(self, url: str) -> None:
        """Below the ledger nothing guards the data: who takes the tables away means it."""
        await up(url)
        await sign_up(url)
        for _ in FILES:
            await down(url)
        assert await applied(url) == []


class TestDeepenedIdentity:
    """Version 0010 on a bank that has users, and back."""

    BEFORE = 9
    KEPT = ("users", "sessions", "refresh_tokens", "mail_tokens", "outbox")
    CAME = ("pending_email", "payable_by_name")

    async def rows(self, url: str) -> dict[str, list[dict[str, object]]]:
        """What was there before, without the columns that came."""
        return {
            table: [
                {name: value for name, value in row.items() if name not in self.CAME}
                for row in await run(url, f"SELECT * FROM {table} ORDER BY 1")
            ]
            for table in self.KEPT
        }

    async def test_what_was_there_stays_and_what_came_goes(self, url: str, tmp_path: Path) -> None:
        await up(url, first(self.BEFORE, tmp_path))
        await sign_up(url)
        await execute(url, SIGNED_IN)
        before = await self.rows(url)

        await up(url)
        assert await self.rows(url) == before
        came = await run(url, "SELECT pending_email, payable_by_name FROM users")
        assert [tuple(row) for row in came] == [(None, False)]
        await execute(url, DEEPENED)

        for _ in VERSIONS[self.BEFORE :]:
            await down(url)
        assert await self.rows(url) == before
        await up(url)
        assert await self.rows(url) == before
        assert await run(url, "SELECT FROM audit_events") == []


class TestSeveralAtOnce:
    async def test_four_succeed_each_time(self, url: str) -> None:
        for _ in range(5):
            await run(url, "DROP SCHEMA public CASCADE")
            await run(url, "CREATE SCHEMA public")
            await asyncio.gather(*(up(url) for _ in range(4)))
            assert await applied(url) == VERSIONS


class TestKilled:
    async def test_next_one_finishes_what_a_killed_one_began(self, url: str, tmp_path: Path) -> None:
        """Killed with its last migration executed and its version not yet written."""
        await up(url)
        expected = await schema(url)
        await down(url)
        await down(url)
        blocker = await asyncpg.connect(url)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("LOCK TABLE schema_migrations IN SHARE MODE")
        runner = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "local.migrate", "up"),
            cwd=ROOT,
            env={**os.environ, "MIGRATION_DATABASE_URL": url},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with asyncio.timeout(20):
            while not (await run(url, waiting))[0][0]:
                await asyncio.sleep(0.02)
        runner.send_signal(signal.SIGKILL)
        await runner.wait()
        await transaction.rollback()
        await blocker.close()

        await up(url)

        assert (await schema(url), await applied(url)) == (expected, VERSIONS)


class TestUnfinishedIndex:
    async def test_index_that_a_killed_build_left_is_built_again(self, url: str, tmp_path: Path) -> None:
        await up(url, first(CONCURRENT, tmp_path))
        expected = await schema(url)
        await down(url, tmp_path)
        blocker = await asyncpg.connect(url)
        transaction = blocker.transaction()
        await transaction.start()
        await blocker.execute("INSERT INTO holds SELECT WHERE false")
        with pytest.raises(MigrationError, match="lock timeout"):
            await up(url, tmp_path)
        assert await run(url, "SELECT FROM pg_index WHERE NOT indisvalid")
        await transaction.rollback()
        await blocker.close()

        await up(url, tmp_path)

        assert await schema(url) == expected
        assert not await run(url, "SELECT FROM pg_index WHERE NOT indisvalid")


class TestBehindALongTransaction:
    async def test_change_gives_up_and_traffic_goes_on(self, url: str, tmp_path: Path) -> None:
        await up(url)
        before = await schema(url)
        first(len(FILES), tmp_path)
        (tmp_path / "9999_add_column.sql").write_text(
            f"-- migrate:up\nSET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s';\nCREATE TABLE half (id int);\n"
            "ALTER TABLE users ADD COLUMN nickname text;\n"
            "-- migrate:down\nALTER TABLE users DROP COLUMN nickname;\nDROP TABLE half;\n"
        )
        reader = await asyncpg.connect(url)
        transaction = reader.transaction()
        await transaction.start()
        await reader.fetch("SELECT FROM users")

        started = monotonic()
        migration = asyncio.create_task(up(url, tmp_path))
        slowest_s = 0.0
        while not migration.done():
            asked = monotonic()
            await run(url, "SELECT FROM users")
            slowest_s = max(slowest_s, monotonic() - asked)
            await asyncio.sleep(0.05)

        with pytest.raises(MigrationError, match="lock timeout"):
            await migration
        assert monotonic() - started < LOCK_TIMEOUT_S + 4
        # One that connects meanwhile.
        assert slowest_s < LOCK_TIMEOUT_S + 2
        assert (await schema(url), await applied(url)) == (before, VERSIONS)
        await transaction.rollback()
        await reader.close()
        await up(url, tmp_path)
        assert await applied(url) == [*VERSIONS, "9999"]
