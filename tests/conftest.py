"""Real servers for the tests: started once, ended with the run, even when the run ends by SIGKILL.

TEST_DATABASE_URL names a superuser of another PostgreSQL (15 or newer) to test against instead of the embedded one.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

import asyncpg
import pytest
import redis.asyncio

from local.mail_sink import mail_sink
from local.ports import free_ports
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
from local.probes import answers_http
from local.process import Service
from local.redis_server import redis_service
from local.redis_server import redis_url as local_redis_url
from local.secrets import Secrets, load_secrets, new_secrets
from local.supervisor import Supervisor
from migrate.runner import MIGRATIONS_DIR, migrate
from tests.observability.collector import Collector, serve_collector

# A run in the background of a shell has Ctrl-C ignored, and all it starts with it.
signal.signal(signal.SIGINT, signal.default_int_handler)

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

# Without them commits cost no disk time; what a crash of the machine would lose is of no use to a test.
_FAST_SETTINGS = {"fsync": "off", "synchronous_commit": "on", "full_page_writes": "off"}


@dataclass(frozen=True)
class Database:
    """A migrated database of one test's own."""

    owner_url: str
    """The role that owns the tables."""
    app_url: str
    """The role of the service."""
    pool: Pool
    """Connections of the service's role."""


@dataclass(frozen=True)
class PostgresServer:
    """A running PostgreSQL whose two roles have these passwords."""

    superuser_url: str
    secrets: Secrets

    def url(self, role: str, database: str) -> str:
        password = {OWNER_ROLE: self.secrets.bank_owner, APPLICATION_ROLE: self.secrets.bank_app}[role]
        at = urlsplit(self.superuser_url).netloc.rpartition("@")[2]
        return f"postgresql://{role}:{password}@{at}/{database}"


@dataclass(frozen=True)
class MailSink:
    """A mail server on loopback that keeps what it receives as .eml files."""

    port: int
    folder: Path

    def messages(self) -> list[Path]:
        """Received so far, oldest first."""
        return sorted(self.folder.glob("[0-9]*.eml"))


@dataclass(frozen=True)
class Stack:
    """The whole service as `make run` starts it, on ports and in a state folder of its own."""

    http_url: str
    grpc_target: str
    state_dir: Path
    owner_url: str
    app_url: str
    mail_dir: Path
    environment: dict[str, str]
    """What the launcher was started with."""


CloneDatabase: TypeAlias = Callable[[], AbstractAsyncContextManager[Database]]


def stack_environment(state_dir: Path) -> dict[str, str]:
    """Environment for a launcher that disturbs no other stack."""
    first = free_ports(8)
    names = ["POSTGRES_PORT", "REDIS_PORT", "SMTP_PORT", "GATEWAY_PORT", "GATEWAY_GRPC_PORT", "SERVER_PORT"]
    foreign = {"DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BANK_ENVIRONMENT", "PUBLIC_URL"}
    return {
        **{name: value for name, value in os.environ.items() if name not in foreign},
        **{name: str(first + offset) for offset, name in enumerate(names)},
        "SERVER_PROCESSES": "2",
        "METRICS_PORT": "0",
        # Whoever orders in a test ships and delivers, too.
        "ORDER_DELIVERY_DELAY_S": "0",
        "BANK_STATE_DIR": str(state_dir),
    }


@asynccontextmanager
async def _supervisor(logs_dir: Path) -> AsyncIterator[Supervisor]:
    logs_dir.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(logs_dir, print)
    try:
        yield supervisor
    finally:
        await supervisor.stop()


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PostgresServer]:
    """The server all databases of this run live on."""
    secrets = new_secrets()
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        await prepare_roles(given, secrets)
        yield PostgresServer(given, secrets)
        return
    folder = tmp_path_factory.mktemp("postgres")
    port = free_ports(1)
    environment = dict(os.environ)
    async with _supervisor(folder) as supervisor:
        await create_cluster(folder / "data", secrets, environment)
        await supervisor.start(postgres_service(folder / "data", port, secrets, environment, _FAST_SETTINGS))
        superuser_url = database_url(SUPERUSER, secrets.postgres, port, "postgres")
        await prepare_roles(superuser_url, secrets)
        yield PostgresServer(superuser_url, secrets)


@pytest.fixture(scope="session")
async def clone_database(postgres: PostgresServer) -> AsyncIterator[CloneDatabase]:
    """Makes migrated databases, each a copy of one template; dropped when their context ends."""
    run = f"bank_test_{os.getpid()}"
    template = f"{run}_template"
    numbers = count()
    await prepare_database(postgres.superuser_url, template)
    await migrate("up", postgres.url(OWNER_ROLE, template), MIGRATIONS_DIR, print)

    @asynccontextmanager
    async def clone() -> AsyncIterator[Database]:
        name = f"{run}_{next(numbers)}"
        owner_url, app_url = (postgres.url(role, name) for role in (OWNER_ROLE, APPLICATION_ROLE))
        await _administer(postgres, f"CREATE DATABASE {name} TEMPLATE {template} OWNER {OWNER_ROLE}")
        try:
            await prepare_database(postgres.superuser_url, name)
            async with asyncpg.create_pool(app_url, min_size=1, max_size=20) as pool:
                yield Database(owner_url, app_url, pool)
        finally:
            await _administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")

    yield clone
    await _administer(postgres, f"DROP DATABASE {template} WITH (FORCE)")


@pytest.fixture
async def database(clone_database: CloneDatabase) -> AsyncIterator[Database]:
    """An empty, migrated database."""
    async with clone_database() as cloned:
        yield cloned


@pytest.fixture(scope="session")
async def redis_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """URL of the Redis all tests of this run share."""
    folder = tmp_path_factory.mktemp("redis")
    port = free_ports(1)
    password = new_secrets().redis
    async with _supervisor(folder) as supervisor:
        await supervisor.start(redis_service(folder, port, password, dict(os.environ)))
        yield local_redis_url(password, port)


@pytest.fixture
async def redis_url(redis_server: str) -> str:
    """URL of an empty Redis."""
    async with redis.asyncio.Redis.from_url(redis_server) as client:
        await client.flushall()
    return redis_server


@pytest.fixture
async def smtp_sink(tmp_path: Path) -> AsyncIterator[MailSink]:
    sink = MailSink(free_ports(1), tmp_path / "mail")
    async with mail_sink(sink.port, sink.folder):
        yield sink


@asynccontextmanager
async def running_stack(folder: Path, **settings: str) -> AsyncIterator[Stack]:
    """The whole stack with its demo users.

    Args:
        folder: Empty; takes its state and logs.
        settings: Variables of the environment beside those every stack of a test has.
    """
    environment = stack_environment(folder / "state") | settings
    http_url = f"http://127.0.0.1:{environment['GATEWAY_PORT']}"
    launcher = Service(
        name="launcher",
        command=[sys.executable, "-m", "local", "run"],
        ready=partial(answers_http, int(environment["GATEWAY_PORT"]), "/readyz"),
        environment=environment,
        stop_signal=signal.SIGINT,
        grace_s=40,
    )
    async with _supervisor(folder) as supervisor:
        await supervisor.start(launcher, timeout_s=55)
        secrets = load_secrets(folder / "state")
        assert secrets is not None
        yield Stack(
            http_url=http_url,
            grpc_target=f"127.0.0.1:{environment['GATEWAY_GRPC_PORT']}",
            state_dir=folder / "state",
            owner_url=database_url(OWNER_ROLE, secrets.bank_owner, int(environment["POSTGRES_PORT"])),
            app_url=database_url(APPLICATION_ROLE, secrets.bank_app, int(environment["POSTGRES_PORT"])),
            mail_dir=folder / "state" / "mail",
            environment=environment,
        )


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """The whole stack, shared by all tests of the run."""
    async with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Takes traces."""
    with serve_collector() as serving:
        yield serving


async def _administer(postgres: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
