"""The life of one local stack: locked, swept, started, watched, stopped."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
import time
from typing import Any

from local.demo import DEMO_PASSWORD, DEMO_USERS
from local.errors import StackError
from local.filling import fill
from local.lock import LOCK_NAME, hold_lock
from local.population import Population
from local.ports import check_ports
from local.process import rotate_logs, sweep
from local.progress import Progress
from local.secrets import load_secrets
from local.seed import seed
from local.settings import Settings
from local.stack import application_url, gateway_target, server_target, start_stack
from local.supervisor import Supervisor
from local.verify import verify

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def run(settings: Settings) -> None:
    """Run the stack until it is told to stop.

    Raises:
        StackError: It cannot start, or a service died; everything is stopped by then.
    """
    if settings.environment_name != "local":
        raise StackError(f"BANK_ENVIRONMENT is {settings.environment_name}: this starts a local demo only, unset it")
    state_dir = settings.state_dir
    with hold_lock(state_dir, f"pid {os.getpid()}, {settings.public_url}"):
        _adopt_orphans()
        if left := sweep(state_dir):
            say(f"ended {left} processes that an earlier run left behind")
        check_ports(settings)
        rotate_logs(settings.logs_dir)
        try:
            asyncio.run(_serve(settings))
        finally:
            sweep(state_dir)


def reset(settings: Settings) -> None:
    """Delete all data of a stack that is not running.

    Raises:
        StackError: It is running.
    """
    if not settings.state_dir.exists():
        return
    with hold_lock(settings.state_dir, f"pid {os.getpid()}, deleting its data"):
        sweep(settings.state_dir)
        for path in settings.state_dir.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK_NAME:
                path.unlink()


def say(text: str) -> None:
    """Print; a terminal that is gone is no reason to stop in the middle."""
    try:
        print(text, flush=True)
    except OSError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - stays open until the process ends


async def seed_running(settings: Settings, population: Population) -> None:
    """Add the demo users to a stack that is running, and then as many others and their orders as asked for.

    Raises:
        StackError: The environment is not local, or no stack answers.
    """
    secrets = load_secrets(settings.state_dir)
    if secrets is None:
        raise StackError("there is no local stack yet: make run")
    await seed(settings.environment_name, application_url(settings, secrets), server_target(settings), say)
    if population.user_count or population.product_count:
        say(await fill(gateway_target(settings), settings.mail_dir, population, Progress()))


async def verify_running(settings: Settings) -> None:
    """Print whether the ledger of a stack that is running adds up.

    Raises:
        StackError: It does not, or no stack answers.
    """
    say(await verify(server_target(settings)))


async def _serve(settings: Settings) -> None:
    stop = asyncio.Event()
    supervisor = Supervisor(settings.logs_dir, say)

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
            return
        stop.set()
        say("\nStopping; once more to kill.")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    starting = asyncio.create_task(_open(settings, supervisor))
    stopping = asyncio.create_task(stop.wait())
    try:
        ends: set[asyncio.Future[Any]] = {stopping, supervisor.failure}
        await asyncio.wait({starting, *ends}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if supervisor.failure.done() and not stop.is_set():
            raise supervisor.failure.result()
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await supervisor.stop()
        stopping.cancel()


async def _open(settings: Settings, supervisor: Supervisor) -> None:
    begin = time.monotonic()
    await start_stack(settings, supervisor, say)
    say(_greeting(settings, time.monotonic() - begin))


def _adopt_orphans() -> None:
    """Become the parent of grandchildren that lose theirs, so that the last sweep's kills are final."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    if "MAKELEVEL" in os.environ:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)  # make killed: stop as if it had been told


def _greeting(settings: Settings, seconds: float) -> str:
    http, grpc_port = settings.public_url, settings.gateway_grpc_port
    sign_in = f'{{"username": "alice", "password": "{DEMO_PASSWORD}"}}'
    read_token = "python3 -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])'"  # noqa: S105 - a command
    return f"""
The bank is open, {seconds:.1f} s after the start. Ctrl-C closes it; data stays in {settings.state_dir}

  Console         {http}/
  API reference   {http}/docs/
  JSON            {http}/v1/
  gRPC            localhost:{grpc_port}, plaintext, with reflection
  Mail            {settings.mail_dir}
  Logs            {settings.logs_dir}

  Demo logins     {", ".join(DEMO_USERS)}
  Password        {DEMO_PASSWORD}

Try in another terminal:

  TOKEN=$(curl -s {http}/v1/sessions -d '{sign_in}' | {read_token})
  curl -s {http}/v1/accounts -H "Authorization: Bearer $TOKEN"
  grpcurl -plaintext localhost:{grpc_port} list
"""
