"""The parts of the stack one by one, each in the foreground of a terminal of its own: `python -m local postgres`.

The command becomes the part: signals reach it as if it had been typed, and nothing watches or restarts it.
"""

import asyncio
import os

import asyncpg

from local.errors import StackError
from local.lock import share_lock
from local.postgres import SUPERUSER, create_cluster, database_url, postgres_service, prepare_database, prepare_roles
from local.process import Service
from local.redis_server import redis_service
from local.secrets import Secrets, load_secrets
from local.settings import ROOT, Settings
from local.stack import (
    DEMO,
    LIMITS,
    cluster,
    gateway_service,
    mail_sink_service,
    prepare_state,
    server_service,
    service_variables,
    worker_service,
)

PARTS = ("postgres", "redis", "mail", "server", "worker", "gateway")


def become(part: str, settings: Settings) -> None:
    """Turn this process into one part of the stack; returns only by an exception.

    Raises:
        StackError: The whole stack is running on the same state folder, or the part cannot be prepared.
    """
    share_lock(settings.state_dir, "one by one (make postgres, make server and so on)")
    service = _service(part, settings, prepare_state(settings))
    if service.stdin is not None:
        _feed(service.stdin)
    os.chdir(ROOT)
    os.execvpe(service.command[0], list(service.command), dict(service.environment))  # noqa: S606 - no shell wanted


async def create_database(settings: Settings) -> None:
    """Create the database and its two roles in the running embedded PostgreSQL; safe to run again.

    Raises:
        StackError: It does not answer.
    """
    secrets = load_secrets(settings.state_dir)
    try:
        if secrets is None:
            raise ConnectionRefusedError
        superuser_url = database_url(SUPERUSER, secrets.postgres, settings.postgres_port, "postgres")
        await prepare_roles(superuser_url, secrets)
        await prepare_database(superuser_url)
    except (OSError, asyncpg.CannotConnectNowError) as error:
        raise StackError(
            f"no PostgreSQL answers on port {settings.postgres_port}: start it with make postgres in another terminal"
        ) from error


def _service(part: str, settings: Settings, secrets: Secrets) -> Service:
    # Who starts a part alone may want it otherwise: what the environment says wins.
    environment = {**LIMITS, **DEMO, **service_variables(settings, secrets), **settings.inherited}
    if part == "postgres":
        asyncio.run(create_cluster(cluster(settings), secrets, environment))
        return postgres_service(cluster(settings), settings.postgres_port, secrets, environment)
    if part == "redis":
        return redis_service(settings.state_dir, settings.redis_port, secrets.redis, environment)
    services = {
        "mail": mail_sink_service,
        "server": server_service,
        "worker": worker_service,
        "gateway": gateway_service,
    }
    return services[part](settings, environment)


def _feed(text: bytes) -> None:
    """Put this on standard input, for a program that takes its settings there; it fits into the pipe."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)
