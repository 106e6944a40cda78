"""Jobs that were given up: `python -m worker.dead_letters list`, `… replay ID` and `… replay all`."""

import argparse
import asyncio
import sys
from typing import Literal
from uuid import UUID

from bankdb import outbox

from server.config import Settings, SettingsRefusedError, read_settings
from server.database import CONNECTION_ERRORS, Database, open_pool

_LISTED_MAX = 1000
_TIME = "%Y-%m-%dT%H:%M:%SZ"


async def list_dead(database: Database) -> list[str]:
    """One line for each dead job, latest first: id, name, when it was asked for and given up, why."""
    async with database.connection() as connection:
        rows = await outbox.list_dead_outbox_jobs(connection, count_max=_LISTED_MAX)
    return [
        f"{row.id}  {row.job}  {row.create_time:{_TIME}}  {row.dead_time:{_TIME}}  {row.last_error}" for row in rows
    ]


async def replay(database: Database, outbox_id: UUID) -> bool:
    """Open a dead job again, so that the relay queues it; False if there is no such dead job."""
    async with database.connection() as connection:
        return await outbox.mark_outbox_job_replayed(connection, id=outbox_id) == 1


async def replay_all(database: Database) -> int:
    """Open every dead job again; how many it was."""
    async with database.connection() as connection:
        return await outbox.mark_all_outbox_jobs_replayed(connection)


async def _run(settings: Settings, which: UUID | Literal["all"] | None) -> int:
    database = Database(await open_pool(settings.database_url.get_secret_value(), size=1))
    try:
        if which is None:
            print("\n".join(await list_dead(database)) or "no job was given up")
        elif which == "all":
            print(f"{await replay_all(database)} jobs will be tried again")
        elif await replay(database, which):
            print(f"{which} will be tried again")
        else:
            print(f"{which} is no dead job: see `list`", file=sys.stderr)
            return 1
    finally:
        await database.close()
    return 0


def _which(text: str) -> UUID | Literal["all"]:
    return "all" if text == "all" else UUID(text)


def main() -> int:
    """Run the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m worker.dead_letters", description="Jobs that were given up.")
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="show them, latest first")
    replayed = actions.add_parser("replay", help="try one, or all, again")
    replayed.add_argument("which", type=_which, metavar="ID|all")
    which: UUID | Literal["all"] | None = getattr(parser.parse_args(), "which", None)
    try:
        return asyncio.run(_run(read_settings(), which))
    except SettingsRefusedError as error:
        print(f"refusing to start: {error}", file=sys.stderr)
        return 2
    except CONNECTION_ERRORS as error:
        print(f"the database cannot be reached: {type(error).__name__}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
