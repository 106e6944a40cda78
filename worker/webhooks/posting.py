"""Requests to receivers: one connection each, to an address that was checked, and nothing followed.

h11 turns bytes into HTTP and opens nothing by itself. So there is no proxy, redirect, cookie, second
look-up or connection left open that would have to be turned off.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import NamedTuple

import h11

from server.webhooks.targets import NoRoomError, Target, Targets, UnfitUrlError, parse_target
from worker.settings import WEBHOOK_TIMEOUT_S

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 64 * 1024
"""So much of an answer is read and thrown away, in order not to cut the receiver off."""
_BODY_TIMEOUT_S = 1.0
_CONNECT_TIMEOUT_S = 3.0
"""For each address of a host."""
_CHUNK_BYTES = 16 * 1024


class Failure(StrEnum):
    """Why a try failed; as stored and in the contract. No more is told: an answer may be none of the owner's."""

    STATUS = "STATUS"
    HOST = "HOST"
    CONNECTION = "CONNECTION"
    TLS = "TLS"
    TIMEOUT = "TIMEOUT"
    RESPONSE = "RESPONSE"
    NOT_VISIBLE = "NOT_VISIBLE"
    SECRET = "SECRET"  # noqa: S105 - a name


class Outcome(NamedTuple):
    """What came of a request.

    Attributes:
        status: Of the answer; None if there was none.
        failure: None if it succeeded.
    """

    status: int | None
    failure: Failure | None


class Poster:
    """Posts to the URLs of webhooks.

    Args:
        targets: Says where they may lead.
        tls: What a receiver must prove.
        timeout_s: From the look-up of the name to the status of the answer.
    """

    def __init__(self, targets: Targets, tls: ssl.SSLContext, timeout_s: float = WEBHOOK_TIMEOUT_S) -> None:
        self._targets = targets
        self._tls = tls
        self._timeout_s = timeout_s

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Outcome | None:
        """Post once. The status alone decides, whatever follows it.

        Returns:
            None if nothing was tried, as too many other names were being looked up.
        """
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            target = parse_target(url, private=self._targets.private)
            async with asyncio.timeout_at(deadline):
                addresses = await self._targets.addresses(target)
                if not addresses:
                    return Outcome(None, Failure.HOST)
                reader, writer = await self._connect(target, addresses)
            try:
                connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
                async with asyncio.timeout_at(deadline):
                    await _send(connection, writer, target, headers, body)
                    status = await _status(connection, reader)
                await _skip_body(connection, reader)
            finally:
                writer.transport.abort()
        except NoRoomError:
            return None
        except UnfitUrlError:  # it was fit when it was stored, by other rules
            return Outcome(None, Failure.HOST)
        except TimeoutError:
            return Outcome(None, Failure.TIMEOUT)
        except ssl.SSLError:
            return Outcome(None, Failure.TLS)
        except h11.RemoteProtocolError:
            return Outcome(None, Failure.RESPONSE)
        except OSError:
            return Outcome(None, Failure.CONNECTION)
        return Outcome(status, None if 200 <= status < 300 else Failure.STATUS)

    async def _connect(
        self, target: Target, addresses: Sequence[str]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the first address that answers; an address needs no look-up, so none can differ from the check."""
        for address in addresses[:-1]:
            with suppress(OSError):
                async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                    return await self._open(target, address)
        return await self._open(target, addresses[-1])

    async def _open(self, target: Target, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if not target.secure:
            return await asyncio.open_connection(address, target.port)
        return await asyncio.open_connection(address, target.port, ssl=self._tls, server_hostname=target.host)


async def _send(
    connection: h11.Connection, writer: asyncio.StreamWriter, target: Target, headers: Mapping[str, str], body: bytes
) -> None:
    framing = {"host": target.authority, "content-length": str(len(body)), "connection": "close"}
    request = h11.Request(method="POST", target=target.path, headers=[*framing.items(), *headers.items()])
    for event in (request, h11.Data(data=body), h11.EndOfMessage()):
        writer.write(connection.send(event) or b"")
    await writer.drain()


async def _status(connection: h11.Connection, reader: asyncio.StreamReader) -> int:
    received = False
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            chunk = await reader.read(_CHUNK_BYTES)
            if not (chunk or received):
                raise ConnectionResetError
            received = True
            connection.receive_data(chunk)


async def _skip_body(connection: h11.Connection, reader: asyncio.StreamReader) -> None:
    left = BODY_BYTES_MAX
    with suppress(OSError, h11.RemoteProtocolError):
        async with asyncio.timeout(_BODY_TIMEOUT_S):
            while left > 0:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(await reader.read(_CHUNK_BYTES))
                elif isinstance(event, h11.Data):
                    left -= len(event.data)
                else:
                    return
