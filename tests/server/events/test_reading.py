"""What is given its position while the feed is being read is told all the same."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import time
from urllib.parse import urlsplit

import pytest
from bankdb.events import update_event_positions

from server.caller import Caller, Role
from server.database import Database, open_pool
from server.events.hub import EventHub
from server.events.operations import EVENT_SETTINGS, EventFilter, EventReader, Fact
from server.events.watching import Silence, Watches, WatchFilter
from tests.server.bank import Bank, Person
from tests.server.events.conftest import SYNC
from tests.worker.surroundings import Link


class Interruption(Link):
    """A way to the database on which something can happen between two statements."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self._left = -1
        self._happen: Callable[[], Awaitable[None]] | None = None

    def after(self, statements: int, happen: Callable[[], Awaitable[None]]) -> None:
        """Let it happen once, after so many statements more and before the next one reaches the database."""
        self._left, self._happen = statements, happen

    @property
    def happened(self) -> bool:
        return self._happen is None

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        while chunk := await reader.read(65536):
            if seen is self.sent and self._happen is not None:
                if not self._left:
                    happen, self._happen = self._happen, None
                    await happen()
                self._left -= chunk.endswith(SYNC)
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def interrupted(bank: Bank) -> AsyncIterator[tuple[EventReader, Interruption]]:
    """A reader of the past, and the way it reads over."""
    parts = urlsplit(bank.url)
    assert parts.hostname is not None
    assert parts.port is not None
    link = Interruption(parts.hostname, parts.port)
    await link.open()
    url = bank.url.replace(f":{parts.port}/", f":{link.port}/")
    reader = EventReader(Database(await open_pool(url, size=1, settings=EVENT_SETTINGS)))
    try:
        yield reader, link
    finally:
        await reader.database.close()
        await link.cut()


async def happen(bank: Bank, user: Person, count: int) -> None:
    """Events of a user, with their positions."""
    await bank.pool.execute(
        "INSERT INTO events (type, subject_id, user_id) SELECT 'user.enabled', $1, $1 FROM generate_series(1, $2)",
        user.user_id,
        count,
    )
    async with bank.pool.acquire() as connection:
        await update_event_positions(connection, after_id=0)


@pytest.mark.parametrize("roles", [("DEPOSITOR",), ("ADMIN", "DEPOSITOR")], ids=["own events", "all events"])
class TestBetweenTwoReads:
    async def test_watcher_is_told_what_comes_in_between(self, bank: Bank, roles: tuple[str, ...]) -> None:
        alice = await bank.person(roles=roles)
        caller = Caller(alice.user_id, alice.session_id, frozenset(map(Role, roles)))
        hub_database = Database(await open_pool(bank.url, size=1))
        async with interrupted(bank) as (reader, link):
            await happen(bank, alice, 3)
            watches = Watches(reader, EventHub(hub_database), time)
            watch = watches.watch(WatchFilter(0, frozenset()), caller, datetime.now(UTC) + timedelta(hours=1))
            async with aclosing(watch), asyncio.timeout(10):
                assert await anext(watch) == Silence(0)
                link.after(1, lambda: happen(bank, alice, 2))
                told = [await anext(watch) for _ in range(3)]
                await happen(bank, alice, 1)
                told += [await anext(watch) for _ in range(3)]
            assert link.happened
            await watches.close()
        await hub_database.close()
        assert [fact.event.position for fact in told if isinstance(fact, Fact)] == list(range(1, 7))

    async def test_lister_is_told_what_comes_in_between(self, bank: Bank, roles: tuple[str, ...]) -> None:
        alice = await bank.person(roles=roles)
        caller = Caller(alice.user_id, alice.session_id, frozenset(map(Role, roles)))
        async with interrupted(bank) as (reader, link):
            await happen(bank, alice, 3)
            # One statement finds out whether the cursor is one of the feed.
            link.after(2, lambda: happen(bank, alice, 2))
            first = await reader.page(EventFilter(0, frozenset(), 50), caller)
            assert link.happened
            second = await reader.page(EventFilter(first.reached, frozenset(), 50), caller)
        assert [fact.event.position for fact in (*first.facts, *second.facts)] == list(range(1, 6))
