"""`python -m migrate`, the command of a release."""

import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from local.postgres import OWNER_ROLE, prepare_database
from migrate.runner import MIGRATIONS_DIR
from tests.conftest import PostgresServer


@pytest.fixture
async def empty_url(postgres: PostgresServer) -> AsyncIterator[str]:
    """An empty database, as its owner reaches it."""
    name = f"bank_migrate_{os.getpid()}"
    await prepare_database(postgres.superuser_url, name)
    yield postgres.url(OWNER_ROLE, name)
    connection = await asyncpg.connect(postgres.superuser_url)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def migrate(*arguments: str, **variables: str) -> tuple[int | None, str]:
    process = await create_subprocess_exec(
        *(sys.executable, "-m", "migrate", *arguments),
        env={"PATH": os.environ["PATH"], **variables},
        stdout=PIPE,
        stderr=STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


class TestMain:
    async def test_empty_database_gets_every_migration_once(self, empty_url: str) -> None:
        status, printed = await migrate(MIGRATION_DATABASE_URL=empty_url)
        assert status == 0
        names = sorted(path.name for path in MIGRATIONS_DIR.glob("*.sql"))
        assert [name for name in names if f"Applied: {name}" not in printed] == []
        assert await migrate("up", MIGRATION_DATABASE_URL=empty_url) == (0, "\n")
        status, printed = await migrate("status", MIGRATION_DATABASE_URL=empty_url)
        assert (status, printed.count("[X]"), "Pending: 0" in printed) == (0, len(names), True)

    async def test_database_may_be_named_by_a_file(self, empty_url: str, tmp_path: Path) -> None:
        (tmp_path / "migration_database_url").write_text(f"{empty_url}\n")
        status, printed = await migrate("status", SECRETS_DIR=str(tmp_path))
        assert (status, "Applied: 0" in printed) == (0, True)

    @pytest.mark.parametrize("variables", [{}, {"MIGRATION_DATABASE_URL": " "}, {"SECRETS_DIR": "/nowhere"}])
    async def test_missing_database_is_one_line(self, variables: dict[str, str]) -> None:
        printed = "MIGRATION_DATABASE_URL is missing: the database, with the role that owns it\n"
        assert await migrate(**variables) == (1, printed)

    async def test_refused_password_is_not_repeated(self, empty_url: str) -> None:
        wrong = empty_url.replace(f"{OWNER_ROLE}:", f"{OWNER_ROLE}:wrong")
        status, printed = await migrate(MIGRATION_DATABASE_URL=wrong)
        assert (status, "refuses" in printed, "wrong" in printed) == (1, True, False)
