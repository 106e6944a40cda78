"""`python -m server`: reads settings, starts the processes, stops them on SIGTERM and SIGINT."""

import argparse
import asyncio
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

import structlog
import uvloop

from server.app import serve
from server.config import Settings, SettingsRefusedError, read_settings
from server.keys import Keys, KeysRefusedError, load
from server.logs import configure

_PR_SET_PDEATHSIG = 1
_CYCLES_LOOKED_FOR_AFTER = 10_000
"""Objects made and not freed; Python's own 700 are one batch."""
_log = structlog.get_logger()


def main(arguments: Sequence[str]) -> int:
    """Run one serving process, or a parent with one child for each.

    Returns:
        The exit status: 0 after a stop by signal, 2 if settings or keys are refused, 1 if a
        process failed.
    """
    parser = argparse.ArgumentParser(prog="python -m server", description="The gRPC server of the Transactions API.")
    parser.add_argument(
        "--processes",
        type=int,
        choices=range(1, 65),
        metavar="N",
        help="how many processes serve, each on its own port",
    )
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        settings = read_settings()
        keys = load(settings)
    except (SettingsRefusedError, KeysRefusedError) as error:
        print(f"refusing to start: {error}", file=sys.stderr)
        return 2
    processes = options.processes or settings.server_processes
    if options.process is None and processes > 1:
        configure(settings.log_level, "server")
        return asyncio.run(_run_children(processes))
    process = options.process or 0
    configure(settings.log_level, f"server-{process}")
    return uvloop.run(_run(settings, keys, process))


async def _run(settings: Settings, keys: Keys, process: int) -> int:
    # What is here now stays: it need not be looked through again and again while calls come and go,
    # which leave few cycles behind.
    gc.freeze()
    gc.set_threshold(_CYCLES_LOOKED_FOR_AFTER)
    try:
        await serve(settings, keys, process, _stop_on_signals())
    except (OSError, RuntimeError) as error:
        _log.error("cannot serve", cause=str(error))
        return 1
    return 0


def _stop_on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def _run_children(processes: int) -> int:
    stop = _stop_on_signals()
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "server", "--process", str(process), preexec_fn=partial(_end_with, os.getpid())
        )
        for process in range(processes)
    ]
    stopped = asyncio.create_task(stop.wait())
    exits = [asyncio.create_task(child.wait()) for child in children]
    await asyncio.wait([stopped, *exits], return_when=asyncio.FIRST_COMPLETED)
    failed = not stop.is_set()
    if failed:
        _log.error("a process ended by itself, stopping the others")
    for child in children:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
    codes = await asyncio.gather(*exits)
    stopped.cancel()
    return 1 if failed or any(codes) else 0


def _end_with(parent: int) -> None:
    """In the child: be stopped when the parent is gone, however it went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
