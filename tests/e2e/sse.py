"""A client of server-sent events that does what curl does: it shows what arrives when it arrives."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode


@dataclass
class EventStream:
    """A stream that was opened.

    Attributes:
        status: Of HTTP.
        last_id: The `id` of the last message; what a client sends as Last-Event-ID when it comes again.
    """

    status: int
    headers: dict[str, str]
    last_id: str = ""
    _reader: asyncio.StreamReader = field(default_factory=asyncio.StreamReader)

    async def text(self) -> str:
        """All there is, of an answer that is no stream."""
        if "content-length" in self.headers:
            return (await self._reader.readexactly(int(self.headers["content-length"]))).decode()
        return "".join([chunk.decode() async for chunk in self._chunks()])

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """The data of each message, until the stream ends or breaks."""
        pending = b""
        async for chunk in self._chunks():
            pending += chunk
            while b"\n\n" in pending:
                message, _, pending = pending.partition(b"\n\n")
                name, data = message.decode().split("\n")
                assert name.startswith("id: ")
                assert data.startswith("data: ")
                self.last_id = name.removeprefix("id: ")
                yield json.loads(data.removeprefix("data: "))

    async def _chunks(self) -> AsyncIterator[bytes]:
        assert self.headers["transfer-encoding"] == "chunked"
        while True:
            try:
                size = int(await self._reader.readline(), 16)
                chunk = await self._reader.readexactly(size + 2)
            except (ValueError, OSError, asyncio.IncompleteReadError):
                return  # it broke
            if not size:
                return
            yield chunk[:-2]


@asynccontextmanager
async def event_stream(port: int, token: str, *, last_id: str = "", **query: str) -> AsyncIterator[EventStream]:
    """Open the feed through the gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        headers = [f"GET /v1/events:watch?{urlencode(query)} HTTP/1.1", "Host: bank.example"]
        headers += [f"Authorization: Bearer {token}"] if token else []
        headers += [f"Last-Event-ID: {last_id}"] if last_id else []
        writer.write("\r\n".join([*headers, "", ""]).encode())
        first = (await reader.readline()).decode()
        found = {}
        while line := (await reader.readline()).decode().strip():
            name, _, value = line.partition(":")
            found[name.lower()] = value.strip()
        yield EventStream(int(first.split()[1]), found, last_id, reader)
    finally:
        writer.transport.abort()
