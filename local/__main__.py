"""The launcher: `python -m local run|reset|seed|verify`."""

import argparse
import asyncio
import sys

from local.errors import StackError
from local.launcher import reset, run, seed_running, verify_running
from local.population import Population
from local.settings import read_settings

COUNT_MAX = 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local", description="The whole service on this machine.")
    parser.add_argument("action", choices=["run", "reset", "seed", "verify"])
    for what in ("users", "products", "orders"):
        parser.add_argument(f"--{what}", type=_count, default=0, metavar="COUNT", help=f"for seed: how many {what}")
    options = parser.parse_args()
    action = options.action
    try:
        settings = read_settings()
        if action == "run":
            run(settings)
        elif action == "reset":
            reset(settings)
        elif action == "seed":
            asyncio.run(seed_running(settings, _population(options)))
        else:
            asyncio.run(verify_running(settings))
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except PermissionError as error:
        print(f"{error.filename} belongs to another user: remove it, or set BANK_STATE_DIR", file=sys.stderr)
        return 1
    return 0


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= COUNT_MAX):
        raise argparse.ArgumentTypeError(f"must be a number from 0 to {COUNT_MAX}, not {text!r}")
    return int(text)


def _population(options: argparse.Namespace) -> Population:
    if options.orders and not (options.users and options.products):
        raise StackError("orders need users who place them and products: say how many of each")
    return Population(options.users, options.products, options.orders)


if __name__ == "__main__":
    sys.exit(main())
