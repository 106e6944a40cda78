"""Migrations of the local stack, unless MIGRATION_DATABASE_URL names another: `python -m local.migrate up`."""

import argparse
import asyncio
import re
import sys
from pathlib import Path

from local.errors import StackError
from local.postgres import OWNER_ROLE, database_url
from local.secrets import load_secrets
from local.settings import Settings, read_settings
from migrate.runner import MIGRATIONS_DIR, MigrationError, migrate

_TEMPLATE = """\
-- migrate:up

SET LOCAL lock_timeout = '2s';

-- migrate:down

SET LOCAL lock_timeout = '2s';
"""


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


def _owner_url(settings: Settings) -> str:
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
        owner_url = _owner_url(read_settings())
        say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731 - used once
        print(asyncio.run(migrate(action, owner_url, MIGRATIONS_DIR, say)))
    except (StackError, MigrationError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
