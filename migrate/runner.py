"""Runs dbmate on the migrations, one runner at a time.

dbmate does the work. Its own lock deadlocks with CREATE INDEX CONCURRENTLY, since a blocked lock query holds a
snapshot that the index build waits for; here the waiting is done by polling, outside the server.
"""

import asyncio
import os
import shutil
import sysconfig
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from migrate.command import run_to_end

MIGRATIONS_DIR = Path(__file__).resolve().parent.parent / "db" / "migrations"

_LOCK_KEY = 7_305_432_100
_LOCK_POLL_S = 0.2
_LOCK_TIMEOUT_MS = 2000
CONNECT_WAIT_S = 60.0
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class MigrationError(Exception):
    """A migration cannot be run; the message says why, without the password."""


async def migrate(
    action: str,
    owner_url: str,
    migrations_dir: Path,
    say: Callable[[str], None],
    connect_wait_s: float = CONNECT_WAIT_S,
) -> str:
    """Run `dbmate ACTION` as soon as no other runner is at work on this database.

    Args:
        action: up (all that are missing), rollback (the last one) or status.
        owner_url: Database and the role that owns it; passed on through the environment only.
        migrations_dir: The numbered SQL files.
        say: Told what is being waited for.
        connect_wait_s: How long the database may take to answer.

    Returns:
        What dbmate printed.

    Raises:
        MigrationError: The database does not answer in time or refuses the role, or a migration failed.
    """
    url = _without_tls_on_loopback(owner_url)
    async with _only_runner(url, say, connect_wait_s) as connection:
        await _drop_unfinished_indexes(connection)
        command = [_dbmate(), "--no-dump-schema"]
        command += ["--migrations-dir", str(migrations_dir), action]
        return await _run(command, {**os.environ, "DATABASE_URL": _with_lock_timeout(url)})


@asynccontextmanager
async def _only_runner(url: str, say: Callable[[str], None], connect_wait_s: float) -> AsyncIterator[Connection]:
    connection = await _connect(url, say, connect_wait_s)
    try:
        told = False
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK_KEY):
            if not told:
                say("another migration is running on this database: waiting for it")
                told = True
            await asyncio.sleep(_LOCK_POLL_S)
        yield connection
    finally:
        await connection.close(timeout=5)


async def _drop_unfinished_indexes(connection: Connection) -> None:
    """What is left of an index whose concurrent build failed would pass for the index."""
    for name in await connection.fetch(
        "SELECT quote_ident(relname) FROM pg_index INNER JOIN pg_class ON indexrelid = pg_class.oid"
        " WHERE NOT indisvalid AND relkind = 'i' AND relnamespace = 'public'::regnamespace"
    ):
        await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name[0]}")


async def _connect(url: str, say: Callable[[str], None], wait_s: float) -> Connection:
    parts = urlsplit(url)
    server = f"PostgreSQL at {parts.hostname or 'the local socket'}:{parts.port or 5432}"
    deadline = asyncio.get_running_loop().time() + wait_s
    told = False
    while True:
        try:
            return await asyncpg.connect(url, timeout=5)
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise MigrationError(f"{server} refuses: {error}") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise MigrationError(f"{server} does not answer: {error}") from error
        if not told:
            say(f"{server} does not answer yet: waiting for it")
            told = True
        await asyncio.sleep(_LOCK_POLL_S)


def _without_tls_on_loopback(url: str) -> str:
    """Say what dbmate must be told where there is no TLS, on the machine itself."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK_HOSTS or "sslmode" in parse_qs(parts.query):
        return url
    return parts._replace(query=f"{parts.query}&sslmode=disable".lstrip("&")).geturl()


def _with_lock_timeout(url: str) -> str:
    """For the migrations that cannot set it themselves, because they are one statement without a transaction."""
    parts = urlsplit(url)
    return parts._replace(query=f"{parts.query}&lock_timeout={_LOCK_TIMEOUT_MS}".lstrip("&")).geturl()


def _dbmate() -> str:
    # Beside this Python first: what it was installed with.
    found = shutil.which("dbmate", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")]))
    if found is None:
        raise MigrationError("dbmate is missing: run make setup")
    return found


async def _run(command: list[str], environment: Mapping[str, str]) -> str:
    status, printed = await run_to_end(command, environment)
    if status != 0:
        raise MigrationError(f"dbmate ended with status {status}:\n{printed}")
    return printed
