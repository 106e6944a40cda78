"""Whether backups are worth anything: taken from the running stack, restored aside, and the ledger verified."""

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from local.backups import base_backup, dump, load
from local.errors import StackError
from local.ports import free_ports
from local.postgres import (
    APPLICATION_ROLE,
    DATABASE,
    OWNER_ROLE,
    SUPERUSER,
    database_url,
    postgres_service,
    prepare_database,
)
from local.secrets import Secrets, load_secrets
from local.settings import Settings, read_settings
from local.supervisor import Supervisor
from local.verify import told
from server.database import Database, close_all, open_pool
from server.ledger.blocks import Head, get_head
from server.ledger.messages import render_verdict
from server.ledger.verification import VERIFY_TIMEOUT_S, verify

_LOADED = "bank_loaded"


async def drill(settings: Settings, say: Callable[[str], None]) -> None:
    """Restore a base backup and a dump of the running stack, and say what is in them.

    What the live ledger's hash chain ended with before the backups has to be in both.

    Raises:
        StackError: There is no embedded stack, a backup fails, or what was restored does not add up.
    """
    secrets = load_secrets(settings.state_dir)
    if secrets is None or settings.database_url is not None:
        raise StackError("the drill restores the embedded PostgreSQL of a local stack: make run")
    folder = settings.state_dir / "restore-drill"
    try:
        await _drill(settings, secrets, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _drill(settings: Settings, secrets: Secrets, folder: Path, say: Callable[[str], None]) -> None:
    environment = dict(settings.inherited)
    port = free_ports(1)
    head = await _head(database_url(APPLICATION_ROLE, secrets.bank_app, settings.postgres_port))

    begin = time.monotonic()
    superuser_url = database_url(SUPERUSER, secrets.postgres, settings.postgres_port, "postgres")
    await base_backup(superuser_url, folder / "data", environment)
    dump_file = folder / "bank.dump"
    await dump(database_url(OWNER_ROLE, secrets.bank_owner, settings.postgres_port), dump_file, environment)
    say(f"Both backups were taken in {time.monotonic() - begin:.1f} s")

    supervisor = Supervisor(folder, say)
    try:
        begin = time.monotonic()
        await supervisor.start(postgres_service(folder / "data", port, secrets, environment))
        text = await _verified(database_url(APPLICATION_ROLE, secrets.bank_app, port), head)
        say(f"Base backup, {time.monotonic() - begin:.1f} s to restore and verify: {text}")

        begin = time.monotonic()
        await prepare_database(database_url(SUPERUSER, secrets.postgres, port, "postgres"), _LOADED)
        await load(database_url(OWNER_ROLE, secrets.bank_owner, port, _LOADED), dump_file, environment)
        text = await _verified(database_url(APPLICATION_ROLE, secrets.bank_app, port, _LOADED), head)
        say(f"Dump of {DATABASE}, {time.monotonic() - begin:.1f} s to restore and verify: {text}")
    finally:
        await supervisor.stop()


async def _head(url: str) -> Head | None:
    database = Database(await open_pool(url, size=1))
    try:
        async with database.connection() as connection:
            return await get_head(connection)
    finally:
        await close_all(database)


async def _verified(url: str, head: Head | None) -> str:
    database = Database(await open_pool(url, size=1, statement_timeout_s=VERIFY_TIMEOUT_S))
    try:
        return told(render_verdict(await verify(database, head)))
    finally:
        await close_all(database)


def main() -> int:
    """Run the drill on the stack of the environment; the exit status."""
    try:
        asyncio.run(drill(read_settings(), lambda text: print(text, flush=True)))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
