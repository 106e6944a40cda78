"""The gateway as its image runs it: with TLS, drained before it ends, never by root's leave."""

import asyncio
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gateway.config import ROOT
from local.ports import free_ports
from local.process import Child, Service, start_service
from tests.envoy.upstream import Upstream, start_upstream
from tests.gateway.certificates import Authority

DRAIN_S = 4
LONG_DRAIN_S = 20
"""Whatever ends a gateway sooner did not wait for it."""


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = await start_upstream(free_ports(1))
    yield upstream
    await upstream.server.stop(None)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


class Running:
    """A gateway started by its image's command."""

    def __init__(self, child: Child, port: int, tls: ssl.SSLContext | None) -> None:
        self.child = child
        self.port = port
        self.tls = tls

    async def get(self, path: str) -> int:
        """Status of a GET on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return int((await reader.readline()).split()[1])
        finally:
            writer.close()

    async def wait_for(self, path: str, status: int, within_s: float) -> None:
        async with asyncio.timeout(within_s):
            while await self.get(path) != status:
                await asyncio.sleep(0.05)

    async def is_up(self) -> bool:
        try:
            return await self.get("/healthz") == 200
        except (OSError, IndexError):
            return False


@asynccontextmanager
async def running(
    folder: Path, upstream: Upstream, authority: Authority | None = None, drain_s: int = 0
) -> AsyncIterator[Running]:
    port = free_ports(4)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "GATEWAY_PORT": str(port),
        "GATEWAY_GRPC_PORT": str(port + 1),
        "GATEWAY_ADMIN_PORT": str(port + 2),
        "GATEWAY_METRICS_PORT": str(port + 3),
        "GATEWAY_CONFIG_DIR": str(folder),
        "GATEWAY_DRAIN_S": str(drain_s),
        "SERVER_ENDPOINTS": f"127.0.0.1:{upstream.port}",
    }
    tls = None
    if authority is not None:
        authority.issue(folder / "tls", "first")
        environment["GATEWAY_TLS_DIR"] = str(folder / "tls")
        tls = authority.trusted()
    service = Service("gateway", [sys.executable, "-m", "gateway"], asyncio.Event().wait, environment)
    child = await start_service(service, folder)
    gateway = Running(child, port, tls)
    try:
        async with asyncio.timeout(20):
            while not await gateway.is_up():
                assert child.process.returncode is None, child.log.read_text()
                await asyncio.sleep(0.05)
        await gateway.wait_for("/readyz", 200, within_s=15)
        yield gateway
    finally:
        await child.stop()


async def ended(gateway: Running, within_s: float) -> int:
    return await asyncio.wait_for(gateway.child.process.wait(), within_s)


class TestTermination:
    async def test_new_calls_and_those_in_flight_are_answered_while_it_drains(
        self, tmp_path: Path, upstream: Upstream
    ) -> None:
        async with running(tmp_path, upstream, drain_s=DRAIN_S) as gateway:
            slow = asyncio.create_task(gateway.get("/v1/users/sleep.6"))
            await asyncio.sleep(0.2)
            begin = time.monotonic()
            gateway.child.process.send_signal(signal.SIGTERM)
            await gateway.wait_for("/readyz", 503, within_s=DRAIN_S - 1)
            assert await gateway.get("/v1/users/new") == 200
            assert await slow == 200
            assert await ended(gateway, 15) == 0
            assert time.monotonic() - begin > DRAIN_S
        with pytest.raises(ConnectionRefusedError):
            await gateway.get("/healthz")

    async def test_second_signal_ends_it_at_once(self, tmp_path: Path, upstream: Upstream) -> None:
        async with running(tmp_path, upstream, drain_s=LONG_DRAIN_S) as gateway:
            begin = time.monotonic()
            gateway.child.process.send_signal(signal.SIGTERM)
            await gateway.wait_for("/readyz", 503, within_s=LONG_DRAIN_S / 2)
            gateway.child.process.send_signal(signal.SIGTERM)
            assert await ended(gateway, LONG_DRAIN_S) == 0
            assert time.monotonic() - begin < LONG_DRAIN_S

    async def test_death_of_envoy_is_its_own(self, tmp_path: Path, upstream: Upstream) -> None:
        async with running(tmp_path, upstream, drain_s=LONG_DRAIN_S) as gateway:
            children = Path(f"/proc/{gateway.child.process.pid}/task/{gateway.child.process.pid}/children")
            os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
            assert await ended(gateway, LONG_DRAIN_S / 2) != 0


class TestCertificate:
    async def test_replaced_certificate_is_shown_to_new_connections(
        self, tmp_path: Path, upstream: Upstream, authority: Authority
    ) -> None:
        async with running(tmp_path, upstream, authority) as gateway:
            assert await self.name(gateway) == "first"
            authority.issue(tmp_path / "tls", "second")
            async with asyncio.timeout(5):
                while await self.name(gateway) != "second":
                    await asyncio.sleep(0.05)
            assert await gateway.get("/readyz") == 200

    async def test_call_without_tls_is_refused(self, tmp_path: Path, upstream: Upstream, authority: Authority) -> None:
        async with running(tmp_path, upstream, authority) as gateway:
            gateway.tls = None
            with pytest.raises((OSError, IndexError)):
                await gateway.get("/healthz")

    @staticmethod
    async def name(gateway: Running) -> str:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, ssl=gateway.tls)
        try:
            certificate = writer.get_extra_info("peercert")
            return str(dict(pair for part in certificate["subject"] for pair in part)["commonName"])
        finally:
            writer.close()


class TestCommand:
    async def command(self, *arguments: str, **variables: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", *arguments),
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate()
        return process.returncode or 0, printed.decode()

    async def test_shipped_configuration_passes(self) -> None:
        assert (await self.command("validate", SERVER_ENDPOINTS="server:50051"))[0] == 0

    async def test_missing_setting_is_one_line(self) -> None:
        status, printed = await self.command()
        assert (status, printed.count("\n")) == (1, 1)
        assert "SERVER_ENDPOINTS is missing" in printed

    async def test_ready_tells_a_running_one_from_none(self, tmp_path: Path, upstream: Upstream) -> None:
        async with running(tmp_path, upstream) as gateway:
            asking = partial(
                self.command, "ready", SERVER_ENDPOINTS="server:1", GATEWAY_ADMIN_PORT=str(gateway.port + 2)
            )
            assert (await asking())[0] == 0
        assert (await asking())[0] == 1
