"""The launcher: `python -m local run|reset|seed|verify|observe`, or a part of the stack: `python -m local postgres`."""

import argparse
import asyncio
import sys

from gateway.config import GatewayError
from local.errors import StackError
from local.launcher import reset, run, say, seed_running, verify_running
from local.observe import observe
from local.parts import PARTS, become, create_database
from local.settings import read_settings
from migrate.runner import MigrationError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description="The whole service on this machine.")
    parser.add_argument("action", choices=["run", "reset", "seed", "verify", "observe", "createdb", *PARTS])
    action = parser.parse_args().action
    try:
        settings = read_settings()
        if action == "run":
            run(settings)
        elif action == "reset":
            reset(settings)
        elif action == "seed":
            asyncio.run(seed_running(settings))
        elif action == "observe":
            asyncio.run(observe(settings, say))
        elif action == "verify":
            asyncio.run(verify_running(settings))
        elif action == "createdb":
            asyncio.run(create_database(settings))
        else:
            become(action, settings)
    except (StackError, GatewayError, MigrationError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except PermissionError as error:
        print(f"{error.filename} belongs to another user: remove it, or set BANK_STATE_DIR", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
