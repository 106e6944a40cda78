"""A receiver of webhooks: it can be killed, be slow, be rude, and checks signatures as its owner would."""

import asyncio
import base64
import hashlib
import hmac
import json
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from local.ports import free_ports

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Reply = Callable[["Message", asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Message:
    """One request as it arrived."""

    head: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def cursor(self) -> int:
        return int(self.event["cursor"])

    @property
    def signatures(self) -> list[str]:
        return self.headers["webhook-signature"].split(" ")

    def is_signed_with(self, secret: str) -> bool:
        key = base64.b64decode(secret.removeprefix("whsec_"))
        text = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        expected = "v1," + base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
        return any(hmac.compare_digest(expected, signature) for signature in self.signatures)


def answering(status: int, *lines: str) -> Reply:
    async def reply(_: Message, writer: asyncio.StreamWriter) -> None:
        head = "".join(f"{line}\r\n" for line in lines)
        writer.write(f"HTTP/1.1 {status} X\r\n{head}content-length: 0\r\n\r\n".encode())

    return reply


class Receiver:
    """Listens on a port of its own.

    Attributes:
        reply: How it answers; a message counts as received when the reply was written.
        received: In the order of arrival.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_ports(1)
        self.reply: Reply = answering(200)
        self.received: list[Message] = []
        self.at_once = 0
        self.at_once_most = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/hooks?shop=1"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)

    async def kill(self) -> None:
        """Refuse connections and reset those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()

    def by_subject(self) -> dict[str, list[int]]:
        """Cursors in the order of arrival, a repeated one once."""
        found: dict[str, list[int]] = defaultdict(list)
        for message in self.received:
            cursors = found[message.event["subject_id"]]
            if message.cursor not in cursors:
                cursors.append(message.cursor)
        return found

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.at_once += 1
        self.at_once_most = max(self.at_once_most, self.at_once)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                message = Message(first, headers, await reader.readexactly(int(headers["content-length"])))
                await self.reply(message, writer)
                if not writer.transport.is_closing():
                    self.received.append(message)
                await writer.drain()
        finally:
            self.at_once -= 1
            self._writers.discard(writer)
            writer.close()
