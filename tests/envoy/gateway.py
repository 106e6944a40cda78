"""A real gateway for tests, and requests to it exactly as written."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection, HTTPMessage
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.config import gateway_command, render
from local.ports import free_ports
from local.probes import answers_http
from local.process import Service, start_service

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Reply:
    """What came back over HTTP."""

    status: int
    headers: HTTPMessage
    body: bytes

    def json(self) -> Any:
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of an error in the one shape that all errors have."""
        error = self.json()
        assert error.keys() == {"code", "message", "details"}
        info = error["details"][0]
        assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
        assert info["domain"] == "bank.v1"
        return str(info["reason"])


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    port: int
    grpc_port: int
    log: Path

    async def send(self, method: str, path: str, headers: Headers = (), body: str | Iterable[bytes] = "") -> Reply:
        """Send one HTTP/1.1 request; a body in pieces goes out chunked."""
        return await asyncio.to_thread(self._send, method, path, headers, body)

    async def get(self, path: str, *headers: tuple[str, str]) -> Reply:
        return await self.send("GET", path, headers)

    async def post(self, path: str, body: str | Iterable[bytes], *headers: tuple[str, str]) -> Reply:
        return await self.send("POST", path, headers, body)

    async def send_raw(self, request: bytes) -> bytes:
        """Everything the gateway answers to these bytes until it closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            return await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()

    def _send(self, method: str, path: str, headers: Headers, body: str | Iterable[bytes]) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if isinstance(body, str):
                connection.putheader("content-length", str(len(body.encode())))
                connection.endheaders(body.encode())
            else:
                connection.putheader("transfer-encoding", "chunked")
                connection.endheaders(body, encode_chunked=True)
            response = connection.getresponse()
            return Reply(response.status, response.headers, response.read())
        finally:
            connection.close()


@asynccontextmanager
async def running_gateway(
    folder: Path,
    server_ports: Sequence[int],
    *,
    reflection: bool = False,
    xff_trusted_hops: int = 0,
    calls_per_second: int = 100_000,
    limits: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Gateway]:
    """A gateway in front of servers on these ports, stopped when its context ends.

    Args:
        folder: Where its configuration and log go.
        server_ports: One for each server process.
        reflection: Whether server reflection is let through.
        xff_trusted_hops: How many trusted proxies stand in front.
        calls_per_second: How many one client address may make.
        limits: Lines of the configuration that are too large to be reached by a test, and what to put instead.
    """
    port = free_ports(2)
    config = folder / "envoy.yaml"
    render(
        config,
        gateway_port=port,
        grpc_port=port + 1,
        server_endpoints=[("127.0.0.1", server_port) for server_port in server_ports],
        reflection=reflection,
        xff_trusted_hops=xff_trusted_hops,
        calls_per_second=calls_per_second,
    )
    for shipped, smaller in limits.items():
        assert shipped in config.read_text(), shipped
        config.write_text(config.read_text().replace(shipped, smaller))
    ready = partial(answers_http, port, "/healthz")
    child = await start_service(Service("gateway", gateway_command(config), ready, os.environ), folder)
    try:
        await asyncio.wait_for(child.wait_ready(), 10)
        yield Gateway(port, port + 1, child.log)
    finally:
        await child.stop()


async def wait_for_status(gateway: Gateway, path: str, status: int, within_s: float) -> None:
    """Return as soon as GET answers with this status; fail after `within_s`."""
    async with asyncio.timeout(within_s):
        while (await gateway.get(path)).status != status:
            await asyncio.sleep(0.05)
