import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from local.errors import StackError
from local.migrate import new_migration
from local.ports import free_ports
from local.postgres import OWNER_ROLE, prepare_database
from local.settings import ROOT
from migrate.runner import MIGRATIONS_DIR, MigrationError, migrate
from tests.conftest import PostgresServer

SLOW = """\
-- migrate:up
CREATE TABLE slow (id int);
SELECT pg_sleep(1);

-- migrate:down
DROP TABLE slow;
"""
CONCURRENT = """\
-- migrate:up transaction:false
CREATE INDEX CONCURRENTLY IF NOT EXISTS slow_id_idx ON slow (id);

-- migrate:down transaction:false
DROP INDEX slow_id_idx;
"""
BROKEN = """\
-- migrate:up
CREATE TABLE half (id int);
SELECT no_such_column FROM half;

-- migrate:down
DROP TABLE half;
"""


@pytest.fixture
async def owner_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database."""
    name = f"bank_test_migrate_{os.getpid()}"
    await prepare_database(postgres.superuser_url, name)
    yield postgres.url(OWNER_ROLE, name)
    connection = await asyncpg.connect(postgres.superuser_url)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def applied(owner_url: str) -> list[str]:
    connection = await asyncpg.connect(owner_url)
    try:
        return [row[0] for row in await connection.fetch("SELECT version FROM schema_migrations ORDER BY version")]
    finally:
        await connection.close()


async def tables(owner_url: str) -> set[str]:
    connection = await asyncpg.connect(owner_url)
    try:
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {row[0] for row in found}
    finally:
        await connection.close()


class TestMigrate:
    async def test_everything_goes_up_and_down_again(self, owner_url: str) -> None:
        versions = sorted(path.name[:4] for path in MIGRATIONS_DIR.glob("*.sql"))
        await migrate("up", owner_url, MIGRATIONS_DIR, print)
        assert await applied(owner_url) == versions
        assert f"Applied: {len(versions)}" in await migrate("status", owner_url, MIGRATIONS_DIR, print)
        for _ in versions:
            await migrate("rollback", owner_url, MIGRATIONS_DIR, print)
        assert await tables(owner_url) == {"schema_migrations"}
        await migrate("up", owner_url, MIGRATIONS_DIR, print)
        assert await applied(owner_url) == versions

    async def test_several_at_once_all_succeed(self, owner_url: str, tmp_path: Path) -> None:
        (tmp_path / "0001_slow.sql").write_text(SLOW)
        (tmp_path / "0002_concurrent.sql").write_text(CONCURRENT)
        said: list[str] = []
        await asyncio.gather(*(migrate("up", owner_url, tmp_path, said.append) for _ in range(4)))
        assert await applied(owner_url) == ["0001", "0002"]
        assert said == ["another migration is running on this database: waiting for it"] * 3

    async def test_failed_one_changes_nothing_and_next_run_finishes(self, owner_url: str, tmp_path: Path) -> None:
        (tmp_path / "0001_broken.sql").write_text(BROKEN)
        with pytest.raises(MigrationError, match="no_such_column"):
            await migrate("up", owner_url, tmp_path, print)
        assert await tables(owner_url) == {"schema_migrations"}
        (tmp_path / "0001_broken.sql").write_text(BROKEN.replace("no_such_column", "id"))
        await migrate("up", owner_url, tmp_path, print)
        assert await applied(owner_url) == ["0001"]

    async def test_killed_run_lets_next_one_finish(self, owner_url: str, tmp_path: Path) -> None:
        (tmp_path / "0001_slow.sql").write_text(SLOW)
        script = (
            "import asyncio, os; from pathlib import Path; from migrate.runner import migrate;"
            f"asyncio.run(migrate('up', os.environ['DATABASE_URL'], Path({str(tmp_path)!r}), print))"
        )
        runner = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, cwd=ROOT, env={**os.environ, "DATABASE_URL": owner_url}
        )
        await self._wait_until_sleeping(owner_url)
        runner.send_signal(signal.SIGKILL)
        await runner.wait()
        await migrate("up", owner_url, tmp_path, print)
        assert await applied(owner_url) == ["0001"]

    async def test_silent_server_is_waited_for_and_named(self) -> None:
        said: list[str] = []
        url = f"postgresql://bank_owner:hidden@127.0.0.1:{free_ports(1)}/bank"
        with pytest.raises(MigrationError, match=r"^PostgreSQL at 127\.0\.0\.1:\d+ does not answer: ") as caught:
            await migrate("up", url, MIGRATIONS_DIR, said.append, connect_wait_s=0.5)
        assert len(said) == 1
        assert said[0].endswith("does not answer yet: waiting for it")
        assert "hidden" not in f"{said}{caught.value}"

    async def test_wrong_password_is_refused_at_once(self, owner_url: str, postgres: PostgresServer) -> None:
        wrong = owner_url.replace(postgres.secrets.bank_owner, "wrong")
        with pytest.raises(MigrationError, match="refuses: password authentication failed"):
            await migrate("up", wrong, MIGRATIONS_DIR, print)

    async def _wait_until_sleeping(self, owner_url: str) -> None:
        connection = await asyncpg.connect(owner_url)
        try:
            while not await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
                await asyncio.sleep(0.05)
        finally:
            await connection.close()


class TestNewMigration:
    def test_next_number_is_taken(self, tmp_path: Path) -> None:
        assert new_migration("create_users", tmp_path).name == "0001_create_users.sql"
        written = new_migration("create_orders", tmp_path)
        assert written.name == "0002_create_orders.sql"
        assert [line for line in written.read_text().splitlines() if line.startswith("-- migrate:")] == [
            "-- migrate:up",
            "-- migrate:down",
        ]

    @pytest.mark.parametrize("name", ["", "Create", "create orders", "../orders", "create__orders", "1st"])
    def test_odd_name_is_refused(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(StackError, match="name a migration like create_orders"):
            new_migration(name, tmp_path)
        assert list(tmp_path.iterdir()) == []
