"""A served bank whose events are given their positions, and people who watch them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from bank.v1.event_service_pb2 import Event, ListEventsRequest, WatchEventsRequest, WatchEventsResponse
from bank.v1.event_service_pb2_grpc import EventServiceStub

from tests.conftest import Database as MigratedDatabase
from tests.server.bank import Person
from tests.server.bank_server import Metadata, ServedBank, serving_bank
from tests.worker.surroundings import sequencing

SYNC = b"S\0\0\0\4"
"""What ends each statement that a client sends to PostgreSQL."""


@dataclass
class Watcher:
    """Somebody who watches and writes down what they are told.

    Attributes:
        messages: Everything so far, in order.
        events: The events among it.
        call: The stream, to be cancelled.
    """

    call: Any
    messages: list[WatchEventsResponse] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    async def follow(self) -> None:
        async for message in self.call:
            self.take(message)

    def take(self, message: WatchEventsResponse) -> None:
        self.messages.append(message)
        if message.HasField("event"):
            self.events.append(message.event)

    @property
    def cursors(self) -> list[int]:
        return [int(event.cursor) for event in self.events]

    @property
    def last_cursor(self) -> str:
        """Of the last message, whatever it was."""
        message = self.messages[-1]
        return str(getattr(message, message.WhichOneof("message") or "").cursor)

    @property
    def end(self) -> str:
        """Why it ended; empty while it goes on."""
        message = self.messages[-1] if self.messages else WatchEventsResponse()
        if not message.HasField("end"):
            return ""
        return type(message.end).DESCRIPTOR.fields_by_name["reason"].enum_type.values_by_number[message.end.reason].name

    async def has(self, count: int, within_s: float = 15) -> None:
        """Wait for so many events, and then a little for one too many."""
        await until(lambda: len(self.events) >= count, within_s)
        await asyncio.sleep(0.1)
        assert len(self.events) == count


@dataclass(frozen=True)
class Feed:
    """The event service of a served bank."""

    served: ServedBank
    stub: EventServiceStub

    async def list(self, who: Person, *types: str, after: str = "", size: int = 0) -> tuple[list[Event], str, bool]:
        request = ListEventsRequest(after_cursor=after, types=types, page_size=size)
        page = await self.stub.ListEvents(request, metadata=self.served.signed_in(who))
        return list(page.events), page.next_cursor, page.complete

    def open(self, metadata: Metadata, *types: str, after: str = "") -> Any:
        return self.stub.WatchEvents(WatchEventsRequest(after_cursor=after, types=types), metadata=metadata)

    @asynccontextmanager
    async def watching(
        self, who: Person, *types: str, after: str = "", metadata: Metadata | None = None
    ) -> AsyncIterator[Watcher]:
        """A watch that has begun."""
        watcher = Watcher(self.open(metadata or self.served.signed_in(who), *types, after=after))
        task = asyncio.create_task(watcher.follow())
        try:
            await until(lambda: watcher.messages or task.done())
            if task.done():
                task.result()
            yield watcher
        finally:
            watcher.call.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def sequenced(self) -> int:
        """Wait until every event has its position; how many there are."""
        count = "SELECT count(*) FROM events WHERE position IS NULL"
        async with asyncio.timeout(15):
            while await self.served.bank.pool.fetchval(count):
                await asyncio.sleep(0.02)
        return int(await self.served.bank.pool.fetchval("SELECT count(*) FROM events"))


async def until(condition: Callable[[], object], within_s: float = 15) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
async def feed(database: MigratedDatabase) -> AsyncIterator[Feed]:
    async with serving_bank(database) as served, sequencing(database.app_url):
        yield Feed(served, EventServiceStub(served.channel))
