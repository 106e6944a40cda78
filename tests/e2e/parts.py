"""PostgreSQL, two server processes and the gateway, each of which can be killed by itself."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from urllib.request import urlopen
from uuid import UUID, uuid4

import asyncpg
import grpc
from uuid_utils.compat import uuid7

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
from local.probes import serves_grpc
from local.process import Child, Service, start_service
from local.secrets import new_secrets, write_private
from migrate.runner import MIGRATIONS_DIR, migrate
from server.config import Settings
from server.keys import load, write_new
from server.tokens import AccessTokens
from tests.e2e.wire import CALL_TIMEOUT_S, Answer, GrpcWire, JsonWire
from tests.envoy.gateway import Gateway, running_gateway

PROCESSES = 2
_START_TIMEOUT_S = 20
_SAMPLE = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Customer:
    """A user with a live session and one account."""

    user_id: UUID
    token: str
    account_id: str


class Parts:
    """A running service, taken apart.

    Attributes:
        gateway: In front of all server processes.
        environment: Of the server processes.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str], postgres_options: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.data = folder / "data"
        # The ledger stops waiting for a lock sooner than PostgreSQL by default looks for a deadlock.
        self.postgres_options = {"deadlock_timeout": "5ms", **postgres_options}
        self.secrets = new_secrets()
        ports = free_ports(2 + 2 * PROCESSES)
        self.postgres_port, self.database_port = ports, ports + 1
        self.server_ports = [ports + 2 + number for number in range(PROCESSES)]
        self.metrics_ports = [ports + 2 + PROCESSES + number for number in range(PROCESSES)]
        self.keys_file = folder / "token_keys.json"
        self.postgres: Child
        self.servers: list[Child] = []
        self.gateway: Gateway

    @property
    def owner_url(self) -> str:
        return database_url(OWNER_ROLE, self.secrets.bank_owner, self.postgres_port)

    @property
    def superuser_url(self) -> str:
        return database_url(SUPERUSER, self.secrets.postgres, self.postgres_port)

    @property
    def environment(self) -> dict[str, str]:
        # The servers reach the database on a port of its own, so that a proxy can stand there.
        return {
            **os.environ,
            "BANK_ENVIRONMENT": "test",
            "DATABASE_URL": database_url(APPLICATION_ROLE, self.secrets.bank_app, self.database_port),
            "REDIS_URL": "redis://:nobody@127.0.0.1:1/0",
            "SERVER_HOST": "127.0.0.1",
            "SERVER_PORT": str(self.server_ports[0]),
            "SERVER_PROCESSES": str(PROCESSES),
            "CALLS_PER_SECOND": "0",
            "SIGN_INS_PER_SECOND": "0",
            "SIGN_UPS_PER_HOUR": "0",
            "MAILS_PER_HOUR": "0",
            "PAYEES_PER_HOUR": "0",
            "SIGN_IN_FAILURES_PER_HOUR": "0",
            "METRICS_PORT": str(self.metrics_ports[0]),
            "TOKEN_KEYS_FILE": str(self.keys_file),
            "PYTHONUNBUFFERED": "1",
            **self.settings,
        }

    async def create(self, migrations: Path = MIGRATIONS_DIR) -> None:
        """Make keys and a migrated database; PostgreSQL is left running."""
        write_new(self.keys_file)
        await create_cluster(self.data, self.secrets, dict(os.environ))
        await self.start_postgres()
        await prepare_roles(
            database_url(SUPERUSER, self.secrets.postgres, self.postgres_port, "postgres"), self.secrets
        )
        await prepare_database(database_url(SUPERUSER, self.secrets.postgres, self.postgres_port, "postgres"))
        await migrate("up", self.owner_url, migrations, print)

    async def start_postgres(self) -> None:
        service = postgres_service(self.data, self.postgres_port, self.secrets, dict(os.environ), self.postgres_options)
        self.postgres = await start_service(service, self.folder)
        await asyncio.wait_for(self.postgres.wait_ready(), _START_TIMEOUT_S)

    async def kill_postgres(self) -> None:
        """SIGKILL to every process of it; none is left when it returns."""
        pid = self.postgres.process.pid
        self.signal_postgres(signal.SIGSTOP)  # a postmaster that stands still has no further children
        family = [pid, *below(pid)]
        for each in family:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
        await self.postgres.process.wait()
        async with asyncio.timeout(_START_TIMEOUT_S):
            while any(map(_runs, family)):
                await asyncio.sleep(0.01)

    def signal_postgres(self, number: signal.Signals) -> None:
        """Signal the postmaster and all its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.postgres.process.pid, number)
        for pid in below(self.postgres.process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def start_server(
        self, process: int, *, ready: bool = True, release: Path | None = None, **environment: str
    ) -> Child:
        """Start one process, of another release if its folder is given."""
        safe_path = []
        if release is not None:
            environment["TOKEN_KEYS_FILE"] = str(self._previous_keys())
            environment["PYTHONPATH"] = f"{release}:{release / 'gen'}"
            safe_path = ["-P"]  # not the code of the folder it is started in
        service = Service(
            f"server-{process}",
            [sys.executable, *safe_path, "-m", "server", "--process", str(process)],
            partial(serves_grpc, self.server_ports[process]),
            {**self.environment, **environment},
            grace_s=15,
        )
        child = await start_service(service, self.folder)
        if process < len(self.servers):
            self.servers[process] = child
        else:
            self.servers.append(child)
        if ready:
            await asyncio.wait_for(child.wait_ready(), _START_TIMEOUT_S)
        return child

    def _previous_keys(self) -> Path:
        """The same keys for the previous release, which refuses a file with more than it knows."""
        content = json.loads(self.keys_file.read_text())
        content.pop("webhook_key")
        path = self.folder / "previous_keys.json"
        write_private(path, json.dumps(content))
        return path

    async def stop(self) -> None:
        for child in self.servers:
            child.signal(signal.SIGCONT)
            child.signal(signal.SIGKILL)
            await child.process.wait()
        self.signal_postgres(signal.SIGCONT)
        await self.postgres.stop()

    @asynccontextmanager
    async def owner(self) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
        """A connection that passes by proxies and the service's limits."""
        connection = await asyncpg.connect(self.superuser_url)
        try:
            yield connection
        finally:
            await connection.close()

    async def sign_in(self, *roles: str) -> Customer:
        """A new verified user, without an account."""
        user_id, session_id = uuid7(), uuid7()
        async with self.owner() as owner:
            await owner.execute(
                "INSERT INTO users (id, username, password_hash, full_name, email, email_verified, roles)"
                " VALUES ($1, $2, '-', 'Somebody', $3, true, $4)",
                user_id,
                f"u{user_id.hex[-12:]}",
                f"{user_id.hex}@example.com",
                sorted({"DEPOSITOR", *roles}),
            )
            await owner.execute(
                "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
                " VALUES ($1, $2, 'test', '127.0.0.1', now() + '1 h', now() + '1 h')",
                session_id,
                user_id,
            )
        settings = Settings(BANK_ENVIRONMENT="test", database_url="-", redis_url="-", token_keys_file=self.keys_file)
        token, _ = AccessTokens(load(settings), "paseto", 900).issue(user_id, session_id, datetime.now(UTC))
        return Customer(user_id, token, "")

    async def customers(self, wire: GrpcWire, count: int, amount_minor: int, users: int = 0) -> list[Customer]:
        """Accounts with money, shared out among so many users; one each unless told otherwise."""
        banker = await self.sign_in("BANKER")
        people = [await self.sign_in() for _ in range(users or count)]
        customers = []
        for number in range(count):
            person = people[number % len(people)]
            opening = {"currency_code": "USD", "request_id": str(uuid4())}
            opened = await wire.call("CreateAccount", opening, person.token)
            account_id = opened.reply["account"]["id"]
            deposit = {**opening, "account_id": account_id, "amount_minor": amount_minor, "request_id": str(uuid4())}
            assert (await wire.call("DepositFunds", deposit, banker.token)).code == "OK"
            customers.append(Customer(person.user_id, person.token, account_id))
        return customers

    async def assert_ledger_adds_up(self) -> None:
        admin = await self.sign_in("ADMIN")
        verdict = await once_served(lambda: JsonWire(self.gateway).call("VerifyLedger", {}, admin.token))
        assert verdict.code == "OK", verdict
        assert (verdict.reply["consistent"], verdict.reply["differences"]) == (True, [])

    async def metric(self, name: str) -> float:
        """Sum of a metric over the processes."""
        pages = [await asyncio.to_thread(_read, f"http://127.0.0.1:{port}/metrics") for port in self.metrics_ports]
        return sum(float(value) for page in pages for found, value in _SAMPLE.findall(page) if found == name)

    @asynccontextmanager
    async def channel(self, timeout_s: float = CALL_TIMEOUT_S) -> AsyncIterator[GrpcWire]:
        """A gRPC client of the gateway."""
        # Its own connection: clients of one address share one otherwise.
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.gateway.grpc_port}", options) as channel:
            yield GrpcWire(channel, timeout_s)


@asynccontextmanager
async def running_parts(
    folder: Path,
    proxy: "DatabaseProxy | None" = None,
    settings: Mapping[str, str] = MappingProxyType({}),
    *,
    release: Path | None = None,
    postgres_options: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Parts]:
    """All parts, started; the servers reach the database through a proxy that the tests may turn.

    Args:
        folder: For data, logs and keys.
        proxy: One of the test's own.
        settings: Of the servers, beside the usual ones.
        release: Folder of another release to run; its schema too.
        postgres_options: Settings of PostgreSQL.
    """
    parts = Parts(folder, settings, postgres_options)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.stop)
        await parts.create(release / "db" / "migrations" if release else MIGRATIONS_DIR)
        proxy = proxy or DatabaseProxy()
        await proxy.open(parts.database_port, parts.postgres_port)
        stack.push_async_callback(proxy.close)
        await asyncio.gather(*(parts.start_server(number, ready=False, release=release) for number in range(PROCESSES)))
        parts.gateway = await stack.enter_async_context(running_gateway(folder, parts.server_ports))
        await asyncio.gather(*(asyncio.wait_for(child.wait_ready(), _START_TIMEOUT_S) for child in parts.servers))
        await until_ready(parts)
        yield parts


async def until_ready(parts: Parts, within_s: float = 15) -> None:
    """Wait until every living server takes calls, and the gateway too.

    That is no promise for the next call. The gateway looks at the servers twice a second, and gives one up after two
    bad looks: it may have had the first a while ago, and the second on its way when the server was ready. A call that
    must succeed goes through `once_served`.
    """
    async with asyncio.timeout(within_s):
        # Asked first: for a second after all of them were lost the gateway says that it is ready.
        for child in parts.servers:
            if child.process.returncode is None:
                await child.wait_ready()
        while (await parts.gateway.get("/readyz")).status != 200:
            await asyncio.sleep(0.02)


async def once_served(call: Callable[[], Awaitable[Answer]], within_s: float = 15) -> Answer:
    """The answer to a call that may be repeated, as soon as there is somebody to take it."""
    async with asyncio.timeout(within_s):
        while (answer := await call()).code == "UNAVAILABLE":
            await asyncio.sleep(0.1)
    return answer


class DatabaseProxy:
    """Stands between servers and PostgreSQL; can cut the next COMMIT of the ledger.

    Attributes:
        on_commit: What becomes of the next one: `cut before` it reaches the database, `cut after` it was done and
            before its answer, `late`: cut, and done `late_s` later. Empty: it passes.
        then_refuse: Whether the database is gone for everybody from then on.
        refusing: Whether new connections are closed at once.
        cuts: How many were cut.
    """

    def __init__(self) -> None:
        self.on_commit = ""
        self.late_s = 1.0
        self.then_refuse = False
        self.refusing = False
        self.cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, port: int, target_port: int) -> None:
        self._target_port = target_port
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", port)

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def refuse(self) -> None:
        """Be gone for everybody: open connections end, but for the one at hand, and new ones are closed."""
        self.refusing = True
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if not self.refusing:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
                try:
                    back = asyncio.create_task(_pump(far_reader, writer))
                    await self._forward(reader, writer, far_reader, far_writer, back)
                    back.cancel()
                    await asyncio.gather(back, return_exceptions=True)
                finally:
                    far_writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
        back: "asyncio.Task[None]",
    ) -> None:
        while True:
            read = asyncio.create_task(reader.read(65536))
            await asyncio.wait({read, back}, return_when=asyncio.FIRST_COMPLETED)
            if back.done():
                read.cancel()
                return
            chunk = read.result()
            if not chunk:
                return
            if self.on_commit and chunk.endswith(b"COMMIT\0"):
                how, self.on_commit = self.on_commit, ""
                self.cuts += 1
                if self.then_refuse:
                    self.refuse()
                back.cancel()
                await asyncio.gather(back, return_exceptions=True)
                if how == "cut after":
                    far_writer.write(chunk)
                    await far_reader.read(65536)
                    return
                writer.transport.abort()
                if how == "late":
                    await asyncio.sleep(self.late_s)
                    far_writer.write(chunk)
                    await far_reader.read(65536)
                return
            far_writer.write(chunk)
            await far_writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
        await writer.drain()


def below(pid: int) -> list[int]:
    """All descendants of a process."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, wave = [], [pid]
    while wave:
        wave = [child for child, parent in parents.items() if parent in wave]
        found += wave
    return found


def _runs(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _read(url: str) -> str:
    with urlopen(url, timeout=5) as page:  # noqa: S310 - loopback
        return str(page.read().decode())
