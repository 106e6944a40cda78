"""Composition of the local stack: what is started, in which order, with which settings."""

import asyncio
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from gateway.config import gateway_command, render
from gateway.observed import Observed
from local.errors import StackError
from local.postgres import (
    APPLICATION_ROLE,
    OWNER_ROLE,
    SUPERUSER,
    create_cluster,
    database_url,
    postgres_service,
    prepare_database,
    prepare_roles,
)
from local.probes import accepts_connections, answers_http, serves_grpc
from local.process import TAG, Service
from local.redis_server import redis_service, redis_url
from local.secrets import Secrets, load_or_make_secrets, load_secrets
from local.seed import seed
from local.settings import LOOPBACK, Settings
from local.supervisor import Supervisor
from migrate.runner import MIGRATIONS_DIR, migrate
from server.keys import write_new as write_new_keys

# All callers of a local stack have one address, and demos and measurements call without pause.
LIMITS = {
    "CALLS_PER_SECOND": "0",
    "SIGN_INS_PER_SECOND": "0",
    "SIGN_IN_FAILURES_PER_HOUR": "10000",
    "SIGN_UPS_PER_HOUR": "10000",
    "MAILS_PER_HOUR": "10000",
}


async def start_stack(settings: Settings, supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Start everything in order, each part when what it needs is ready.

    Raises:
        StackError: A part cannot be prepared or started; whoever called stops the supervisor.
    """
    secrets = prepare_state(settings)
    settings.worker_ready_file.unlink(missing_ok=True)
    environment = {**LIMITS, **settings.inherited, TAG: str(settings.state_dir)}
    await _start_databases(settings, secrets, environment, supervisor, say)
    await _migrate(settings, secrets, say)
    environment |= service_variables(settings, secrets)
    await supervisor.start(server_service(settings, environment), worker_service(settings, environment))
    await seed(settings.environment_name, application_url(settings, secrets), server_target(settings), say)
    await supervisor.start(gateway_service(settings, environment))


def prepare_state(settings: Settings) -> Secrets:
    """Make passwords and keys, unless they are there.

    Raises:
        StackError: There is a database whose passwords are gone.
    """
    if cluster(settings).exists() and load_secrets(settings.state_dir) is None:
        raise StackError(f"the passwords in {settings.state_dir} are gone: make reset clears the data too")
    secrets = load_or_make_secrets(settings.state_dir)
    keys = settings.token_keys_file
    if not keys.exists():
        unfinished = keys.with_name(f"{keys.name}.new")
        unfinished.unlink(missing_ok=True)
        write_new_keys(unfinished)
        unfinished.replace(keys)
    return secrets


async def _start_databases(
    settings: Settings,
    secrets: Secrets,
    environment: Mapping[str, str],
    supervisor: Supervisor,
    say: Callable[[str], None],
) -> None:
    services = [mail_sink_service(settings, environment)]
    if settings.redis_url is None:
        services.append(redis_service(settings.state_dir, settings.redis_port, secrets.redis, environment))
    if settings.database_url is None:
        data = cluster(settings)
        if not data.exists():
            say("Creating the database ...")
            await create_cluster(data, secrets, environment)
        services.append(postgres_service(data, settings.postgres_port, secrets, environment))
    await supervisor.start(*services)
    if settings.database_url is None:
        superuser_url = database_url(SUPERUSER, secrets.postgres, settings.postgres_port, "postgres")
        await prepare_roles(superuser_url, secrets)
        await prepare_database(superuser_url)


async def _migrate(settings: Settings, secrets: Secrets, say: Callable[[str], None]) -> None:
    url = database_url(OWNER_ROLE, secrets.bank_owner, settings.postgres_port)
    if settings.database_url is not None:
        url = settings.migration_database_url or settings.database_url
    await migrate("up", url, MIGRATIONS_DIR, say)


def service_variables(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """What server and worker must be told to be part of this stack."""
    return {
        "BANK_ENVIRONMENT": settings.environment_name,
        "DATABASE_URL": application_url(settings, secrets),
        "REDIS_URL": settings.redis_url or redis_url(secrets.redis, settings.redis_port),
        "SERVER_HOST": LOOPBACK,
        "SERVER_PORT": str(settings.server_port),
        "SERVER_PROCESSES": str(settings.server_processes),
        "METRICS_PORT": str(settings.metrics_port),
        "SMTP_HOST": LOOPBACK,
        "SMTP_PORT": str(settings.smtp_port),
        "SMTP_USERNAME": "",
        "SMTP_PASSWORD": "",
        "SMTP_TLS": "none",
        "PUBLIC_URL": settings.public_url,
        "TOKEN_KEYS_FILE": str(settings.token_keys_file),
        "WORKER_READY_FILE": str(settings.worker_ready_file),
        "PYTHONUNBUFFERED": "1",
    }


def mail_sink_service(settings: Settings, environment: Mapping[str, str]) -> Service:
    command = [sys.executable, "-m", "local.mail_sink", str(settings.smtp_port), str(settings.mail_dir)]
    return Service("mail", command, lambda: accepts_connections(settings.smtp_port), environment)


def server_service(settings: Settings, environment: Mapping[str, str]) -> Service:
    async def ready() -> bool:
        return all(await asyncio.gather(*(serves_grpc(port) for port in settings.server_ports)))

    return Service("server", [sys.executable, "-m", "server"], ready, environment, grace_s=15)


def worker_service(settings: Settings, environment: Mapping[str, str]) -> Service:
    async def ready() -> bool:
        return settings.worker_ready_file.exists()

    return Service("worker", [sys.executable, "-m", "worker"], ready, environment, grace_s=18, restarts=True)


def gateway_service(settings: Settings, environment: Mapping[str, str]) -> Service:
    config = settings.state_dir / "envoy.yaml"
    render(
        config,
        gateway_port=settings.gateway_port,
        grpc_port=settings.gateway_grpc_port,
        server_endpoints=[(LOOPBACK, port) for port in settings.server_ports],
        reflection=True,
        calls_per_second=settings.gateway_calls_per_second,
        observed=Observed(
            admin_port=settings.gateway_admin_port,
            stats_port=settings.gateway_metrics_port,
            collector_url=settings.collector_url,
        ),
    )
    ready = partial(answers_http, settings.gateway_port, "/readyz")
    return Service("gateway", gateway_command(config), ready, environment)


def cluster(settings: Settings) -> Path:
    return settings.state_dir / "postgres"


def application_url(settings: Settings, secrets: Secrets) -> str:
    return settings.database_url or database_url(APPLICATION_ROLE, secrets.bank_app, settings.postgres_port)


def server_target(settings: Settings) -> str:
    return f"{LOOPBACK}:{settings.server_port}"
