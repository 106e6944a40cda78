"""The launcher: `python -m local run|reset|seed|verify|observe`, or one part of it: `python -m local postgres`."""

import argparse
import asyncio
import sys

from gateway.config import GatewayError
from local.errors import StackError
from local.launcher import reset, run, say, seed_running, verify_running
from local.observe import observe
from local.parts import PARTS, become, create_database
from local.population import Population
from local.settings import Settings, read_settings
from migrate.runner import MigrationError

COUNT_MAX = 1_000_000


def main() -> int:
    options = _parser().parse_args()
    try:
        _run(options, read_settings())
    except (StackError, GatewayError, MigrationError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except PermissionError as error:
        print(f"{error.filename} belongs to another user: remove it, or set BANK_STATE_DIR", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local", description="The whole service on this machine.")
    actions = parser.add_subparsers(dest="action", required=True)
    for action, text in (
        ("run", "start everything; Ctrl-C stops it"),
        ("reset", "delete all data"),
        ("verify", "check every balance of the running service"),
        ("observe", "watch the running service with Prometheus"),
        ("createdb", "create database and roles in the PostgreSQL that runs alone"),
        *((part, f"start the {part} alone") for part in PARTS),
    ):
        actions.add_parser(action, help=text)
    seed = actions.add_parser("seed", help="add the demo users to the running service, and others if asked for")
    for what in ("users", "products", "orders"):
        seed.add_argument(f"--{what}", type=_count, default=0, metavar="COUNT", help=f"how many {what} there shall be")
    return parser


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= COUNT_MAX):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {COUNT_MAX}, not {text!r}")
    return int(text)


def _run(options: argparse.Namespace, settings: Settings) -> None:
    if options.action == "run":
        run(settings)
    elif options.action == "reset":
        reset(settings)
    elif options.action == "seed":
        if options.orders and not (options.users and options.products):
            raise StackError("orders need users who place them and products: say how many of each")
        asyncio.run(seed_running(settings, Population(options.users, options.products, options.orders)))
    elif options.action == "verify":
        asyncio.run(verify_running(settings))
    elif options.action == "observe":
        asyncio.run(observe(settings, say))
    elif options.action == "createdb":
        asyncio.run(create_database(settings))
    else:
        become(options.action, settings)


if __name__ == "__main__":
    sys.exit(main())
