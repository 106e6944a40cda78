"""`python -m migrate [up|status]`: what a release runs before its servers; taking back is done by a later migration."""

import argparse
import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from migrate.runner import MIGRATIONS_DIR, MigrationError, migrate

_VARIABLE = "MIGRATION_DATABASE_URL"


def owner_url(environment: Mapping[str, str] = os.environ) -> str:
    """Database and the role that owns it, from the environment or, named after the variable, a file of SECRETS_DIR.

    Raises:
        MigrationError: Neither has it.
    """
    given = environment.get(_VARIABLE, "").strip()
    file = Path(environment.get("SECRETS_DIR", ""), _VARIABLE.lower())
    if not given and "SECRETS_DIR" in environment and file.exists():
        given = file.read_text().strip()
    if not given:
        raise MigrationError(f"{_VARIABLE} is missing: the database, with the role that owns it")
    return given


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m migrate", description="Bring a database to this release's schema.")
    parser.add_argument("action", nargs="?", default="up", choices=["up", "status"])
    action = parser.parse_args().action
    try:
        print(asyncio.run(migrate(action, owner_url(), MIGRATIONS_DIR, lambda text: print(text, flush=True))))
    except MigrationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
