"""Following the event feed across broken connections, ended tokens and stopped servers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import grpc
from bank.v1.event_service_pb2 import END_REASON_DATABASE_UNAVAILABLE, Event, WatchEventsRequest, WatchEventsResponse
from bank.v1.event_service_pb2_grpc import EventServiceStub

from client.connection import RETRY_PAUSE_S, TRIES_MAX, Connection, may_succeed_soon, pause
from client.refusal import BankRefusal

SILENCE_MAX_S = 45.0
"""The service says something every 15 seconds: after so many the connection is lost."""


class _SilenceError(Exception):
    """Nothing was heard for too long."""


async def watch(
    connection: Connection, events: EventServiceStub, after_cursor: str, types: Sequence[str]
) -> AsyncIterator[Event]:
    """Every event after a cursor, once each and in order, until the session ends.

    A watch that breaks is begun again after the last cursor that was told.

    Args:
        connection: Of the user whose events these are.
        events: Of the same channel.
        after_cursor: Of an event; empty: from the first on; `now`: only what is yet to come.
        types: Such as `transfer.posted`; empty: all.

    Raises:
        BankRefusal: The service refuses, or cannot be reached in so many tries in a row.
    """
    request, failures = WatchEventsRequest(after_cursor=after_cursor, types=types), 0
    while True:
        try:
            call = events.WatchEvents(request, metadata=await connection.metadata())
            async with aclosing(_messages(call)) as messages:
                async for message in messages:
                    failures = 0
                    kind = message.WhichOneof("message")
                    if kind is None:
                        continue  # of a later contract
                    request.after_cursor = getattr(message, kind).cursor
                    if kind == "event":
                        yield message.event
                    elif kind == "end" and message.end.reason == END_REASON_DATABASE_UNAVAILABLE:
                        await asyncio.sleep(RETRY_PAUSE_S)
        except grpc.aio.AioRpcError as error:
            refusal, failures = BankRefusal(error), failures + 1
            if failures == TRIES_MAX or not may_succeed_soon(refusal):
                raise refusal from error
            await pause(refusal, failures)
        except _SilenceError:
            continue


async def _messages(call: Any) -> AsyncGenerator[WatchEventsResponse, None]:  # noqa: ANN401 - grpc.aio's call has no public type
    try:
        while True:
            try:
                async with asyncio.timeout(SILENCE_MAX_S):
                    message = await call.read()
            except TimeoutError:
                raise _SilenceError from None
            if message is grpc.aio.EOF:
                return
            yield message
    finally:
        call.cancel()
