"""Migrations, one runner at a time: `python -m local.migrate up|down|status|new NAME`.

dbmate does the work. Its own lock deadlocks with CREATE INDEX CONCURRENTLY, since a blocked lock query holds a
snapshot that the index build waits for; here the waiting is done by polling, outside the server.
"""

import argparse
import asyncio
import os
import re
import sys
import sysconfig
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg

from local.errors import StackError
from local.postgres import OWNER_ROLE, database_url
from local.process import run_command
from local.secrets import load_secrets
from local.settings import ROOT, Settings, read_settings

MIGRATIONS_DIR = ROOT / "db" / "migrations"

_LOCK_KEY = 7_305_432_100
_LOCK_POLL_S = 0.2
_LOCK_TIMEOUT_MS = 2000
CONNECT_WAIT_S = 60.0
_LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")
_TEMPLATE = """\
-- migrate:up

SET LOCAL lock_timeout = '2s';

-- migrate:down

SET LOCAL lock_timeout = '2s';
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


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
        StackError: The database does not answer in time or refuses the role, or a migration failed.
    """
    url = _without_tls_on_loopback(owner_url)
    async with _only_runner(url, say, connect_wait_s) as connection:
        await _drop_unfinished_indexes(connection)
        command = [str(Path(sysconfig.get_path("scripts"), "dbmate")), "--no-dump-schema"]
        command += ["--migrations-dir", str(migrations_dir), action]
        return await run_command(command, {**os.environ, "DATABASE_URL": _with_lock_timeout(url)})


def new_migration(name: str, migrations_dir: Path) -> Path:
    """Write an empty migration under the next number.

    Raises:
        StackError: The name is not made of lower-case words joined by underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise StackError(f"name a migration like create_orders, not {name!r}")
    numbers = [int(path.name.partition("_")[0]) for path in migrations_dir.glob("[0-9]*_*.sql")]
    path = migrations_dir / f"{max(numbers, default=0) + 1:04d}_{name}.sql"
    path.write_text(_TEMPLATE)
    return path


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
            raise StackError(f"{server} refuses: {error}") from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(f"{server} does not answer: {error}") from error
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


def owner_url(settings: Settings) -> str:
    """The database to migrate: the one that is named, or that of the local stack.

    Raises:
        StackError: Neither is there.
    """
    if settings.migration_database_url is not None:
        return settings.migration_database_url
    secrets = load_secrets(settings.state_dir)
    if secrets is None:
        raise StackError("which database? Set MIGRATION_DATABASE_URL, or start the local stack first (make run)")
    return database_url(OWNER_ROLE, secrets.bank_owner, settings.postgres_port)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.migrate", description="Change the database's schema.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("up", help="apply what is missing")
    actions.add_parser("down", help="take back the last one")
    actions.add_parser("status", help="list what is applied and what is missing")
    actions.add_parser("new", help="write an empty one").add_argument("name", help="like create_orders")
    arguments = parser.parse_args()
    try:
        if arguments.action == "new":
            print(new_migration(arguments.name, MIGRATIONS_DIR))
            return 0
        action = "rollback" if arguments.action == "down" else arguments.action
        url = owner_url(read_settings())
        say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731 - used once
        print(asyncio.run(migrate(action, url, MIGRATIONS_DIR, say)))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
