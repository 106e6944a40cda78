"""Every process is replaced while the bank is open, as in a deployment: no call fails, every mail is sent once."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from itertools import cycle
from pathlib import Path

import grpc
import pytest

from local.ports import free_ports
from local.probes import answers_http
from local.process import Child, Service, start_service
from tests.conftest import MailSink
from tests.e2e.parts import Customer, Parts, running_parts
from tests.e2e.payments import assert_log_is_true, assert_order_is_real, paying_through
from tests.e2e.stage import signing_up
from tests.e2e.wire import Answer, Fields, GrpcWire, Headers, JsonWire
from tests.envoy.gateway import Gateway
from tests.worker.surroundings import WorkerProcess, eventually, worker_process

DRAIN_S = 2
POLL_S = 0.25


class Gateways:
    """Two gateways as the image starts them, behind a load balancer that asks each whether it is ready."""

    def __init__(self, folder: Path, server_ports: list[int]) -> None:
        self._folder = folder
        self._endpoints = ",".join(f"127.0.0.1:{port}" for port in server_ports)
        first = free_ports(8)
        self.gateways = [Gateway(first + 4 * number, first + 4 * number + 1, Path()) for number in range(2)]
        self._children: list[Child] = []
        self._ready: set[int] = set()

    async def start(self, number: int) -> None:
        gateway, folder = self.gateways[number], self._folder / f"gateway-{number}"
        folder.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            "GATEWAY_ADDRESS": "127.0.0.1",
            "GATEWAY_PORT": str(gateway.port),
            "GATEWAY_GRPC_PORT": str(gateway.grpc_port),
            "GATEWAY_ADMIN_PORT": str(gateway.port + 2),
            "GATEWAY_METRICS_PORT": str(gateway.port + 3),
            "GATEWAY_CALLS_PER_SECOND": "100000",
            "GATEWAY_CONFIG_DIR": str(folder),
            "GATEWAY_DRAIN_S": str(DRAIN_S),
            "SERVER_ENDPOINTS": self._endpoints,
        }
        ready = partial(answers_http, gateway.port, "/readyz")
        service = Service(f"gateway-{number}", [sys.executable, "-m", "gateway"], ready, environment, grace_s=20)
        child = await start_service(service, self._folder)
        self._children[number:] = [child, *self._children[number + 1 :]]
        await asyncio.wait_for(child.wait_ready(), 15)

    async def replace(self, number: int) -> None:
        self._children[number].signal(signal.SIGTERM)
        assert await asyncio.wait_for(self._children[number].process.wait(), DRAIN_S + 10) == 0
        await self.start(number)

    async def balance(self) -> None:
        """Keep asking who is ready; whoever is not gets no new connections."""
        while True:
            for number, gateway in enumerate(self.gateways):
                ready = False
                with suppress(OSError):
                    ready = (await gateway.get("/readyz")).status == 200
                (self._ready.add if ready else self._ready.discard)(number)
            await asyncio.sleep(POLL_S)

    def ready(self) -> list[Gateway]:
        return [self.gateways[number] for number in sorted(self._ready)]

    async def stop(self) -> None:
        for child in self._children:
            child.signal(signal.SIGKILL)
            await child.process.wait()


class BalancedWire:
    """JSON calls, each on a connection of its own to a gateway that is ready."""

    name = "json"

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways
        self._turns = cycle(range(2))

    async def call(self, rpc: str, fields: Fields, token: str = "", headers: Headers = ()) -> Answer:
        ready = self._gateways.ready()
        wire = JsonWire(ready[next(self._turns) % len(ready)])
        try:
            return await wire.call(rpc, fields, token, headers)
        except OSError as error:
            return Answer(f"lost: {error!r}")


@pytest.fixture
async def parts(tmp_path: Path, redis_url: str) -> AsyncIterator[Parts]:
    async with running_parts(tmp_path, settings={"REDIS_URL": redis_url}) as parts:
        yield parts


@pytest.fixture
async def gateways(parts: Parts, tmp_path: Path) -> AsyncIterator[Gateways]:
    gateways = Gateways(tmp_path, parts.server_ports)
    balancing = asyncio.create_task(gateways.balance())
    try:
        await gateways.start(0)
        await gateways.start(1)
        await eventually(lambda: len(gateways.ready()) == 2)
        yield gateways
    finally:
        balancing.cancel()
        await gateways.stop()


@pytest.fixture
async def customers(parts: Parts) -> list[Customer]:
    async with parts.channel() as wire:
        return await parts.customers(wire, 8, 100_000)


@asynccontextmanager
async def signing_up_people(wire: BalancedWire) -> AsyncIterator[list[str]]:
    """While the context is open, people sign up one after the other; their addresses."""
    addresses: list[str] = []
    stop = asyncio.Event()

    async def sign_up() -> None:
        while not stop.is_set():
            fields = signing_up()
            answer = await wire.call("CreateUser", fields)
            assert answer.code == "OK", answer
            addresses.append(fields["email"])
            await asyncio.sleep(0.2)

    running = asyncio.create_task(sign_up())
    try:
        yield addresses
    finally:
        stop.set()
        await running


@asynccontextmanager
async def round_robin(gateways: Gateways) -> AsyncIterator[GrpcWire]:
    """A native client that knows both gateways."""
    target = "ipv4:" + ",".join(f"127.0.0.1:{gateway.grpc_port}" for gateway in gateways.gateways)
    options = [
        ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_reconnect_backoff_ms", 500),
    ]
    async with grpc.aio.insecure_channel(target, options) as channel:
        yield GrpcWire(channel)


class TestRollingRestart:
    @pytest.mark.timeout(120)
    async def test_no_call_fails_and_every_mail_is_sent_once(
        self, parts: Parts, gateways: Gateways, customers: list[Customer], smtp_sink: MailSink, tmp_path: Path
    ) -> None:
        start = partial(started_worker, parts, smtp_sink, tmp_path)
        async with AsyncExitStack() as stack:
            worker = await start(stack)
            native = await stack.enter_async_context(round_robin(gateways))
            balanced = BalancedWire(gateways)
            async with (
                paying_through([native, balanced], customers, 8) as log,
                signing_up_people(balanced) as addresses,
            ):
                for number in range(2):
                    await asyncio.sleep(0.5)
                    await gateways.replace(number)
                    await eventually(lambda: len(gateways.ready()) == 2)
                for process in range(2):
                    await asyncio.sleep(0.5)
                    parts.servers[process].signal(signal.SIGTERM)
                    assert await asyncio.wait_for(parts.servers[process].process.wait(), 15) == 0
                    await parts.start_server(process)
                for _ in range(2):
                    await asyncio.sleep(0.5)
                    worker.process.send_signal(signal.SIGTERM)
                    assert await asyncio.wait_for(worker.process.wait(), 20) == 0
                    worker = await start(stack)
                await asyncio.sleep(0.5)
            await eventually(lambda: len(smtp_sink.messages()) >= len(addresses))
        assert log.codes().keys() == {"OK"}, (log.codes(), log.reasons())
        assert len(log.done()) > 200
        await assert_log_is_true(parts, log)
        assert_order_is_real(log)
        await parts.assert_ledger_adds_up()
        assert len(addresses) > 10
        mails = [path.read_text() for path in smtp_sink.messages()]
        assert Counter(address for mail in mails for address in addresses if f"To: {address}" in mail) == Counter(
            addresses
        )


async def started_worker(parts: Parts, sink: MailSink, folder: Path, stack: AsyncExitStack) -> WorkerProcess:
    environment = {
        **{
            name: parts.environment[name]
            for name in ("BANK_ENVIRONMENT", "DATABASE_URL", "TOKEN_KEYS_FILE", "REDIS_URL")
        },
        "SMTP_PORT": str(sink.port),
        "METRICS_PORT": "0",
        "WORKER_READY_FILE": str(folder / "worker.ready"),
    }
    worker = await stack.enter_async_context(worker_process(environment, folder))
    await eventually(worker.is_ready)
    return worker
