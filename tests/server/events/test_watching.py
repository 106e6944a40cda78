"""Watches when things are not as they should be: slow readers, many readers, a database that goes away."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median
from time import monotonic, time

import asyncpg
import pytest
from bank.v1.event_service_pb2_grpc import EventServiceStub

from server.caller import Caller, Role
from server.database import Database, open_pool
from server.errors import Overloaded
from server.events.hub import PENDING_MAX, EndReason, EventHub
from server.events.operations import EVENT_SETTINGS, ROWS_AT_ONCE, EventReader, Fact
from server.events.watching import Ended, Silence, Watches, WatchFilter
from server.metrics import EVENT_OVERFLOWS, EVENT_WATCHES
from tests.conftest import Database as MigratedDatabase
from tests.server.bank import Bank, Person
from tests.server.bank_server import refusal_of, serving_bank
from tests.server.events.conftest import Feed, Watcher, until
from tests.worker.surroundings import link_to, sequencing

IN_AN_HOUR = timedelta(hours=1)


async def happen(bank: Bank, user: Person, count: int) -> None:
    """Events of a user, in one transaction."""
    await bank.pool.execute(
        "INSERT INTO events (type, subject_id, user_id) SELECT 'user.enabled', $1, $1 FROM generate_series(1, $2)",
        user.user_id,
        count,
    )


@asynccontextmanager
async def opened(url: str, heartbeat_s: float = 15, watches_max: int = 10) -> AsyncIterator[Watches]:
    """Watches of a process of its own, without the wire."""
    database = Database(await open_pool(url, size=2))
    past = Database(await open_pool(url, size=2, settings=EVENT_SETTINGS))
    watches = Watches(EventReader(past), EventHub(database, watches_max), time, heartbeat_s)
    yield watches
    await watches.close()
    await watches.events.database.close()
    await database.close()


def caller(person: Person) -> Caller:
    return Caller(person.user_id, person.session_id, frozenset({Role.DEPOSITOR}))


def admin(person: Person) -> Caller:
    return Caller(person.user_id, person.session_id, frozenset({Role.ADMIN}))


async def statements(bank: Bank, within_s: float) -> float:
    """Transactions of the database a second; each statement outside of one counts as one."""
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    # Connections tell what they did once a second.
    await asyncio.sleep(1.5)
    before, began = await bank.pool.fetchval(query), monotonic()
    await asyncio.sleep(within_s)
    return float((await bank.pool.fetchval(query) - before) / (monotonic() - began))


class TestSlowWatcher:
    @pytest.mark.timeout(60)
    async def test_it_holds_up_nobody_and_misses_nothing(self, feed: Feed) -> None:
        bank = feed.served.bank
        alice, count = await bank.person(), 20_000
        overflows = EVENT_OVERFLOWS._value.get()
        call = feed.open(feed.served.signed_in(alice))
        slow = aiter(call)
        await anext(slow)
        async with feed.watching(alice, after="now") as fast:
            for _ in range(20):
                await happen(bank, alice, count // 20)
                await asyncio.sleep(0.05)
            await until(lambda: len(fast.events) == count, 30)
            began = monotonic()
            await happen(bank, alice, 1)
            await until(lambda: len(fast.events) == count + 1)
            assert monotonic() - began < 3
        assert EVENT_OVERFLOWS._value.get() > overflows
        late = Watcher(call)
        while len(late.events) < count + 1:
            late.take(await anext(slow))
        call.cancel()
        assert late.cursors == list(range(1, count + 2))

    async def test_little_is_kept_for_it(self, feed: Feed) -> None:
        bank = feed.served.bank
        alice = await bank.person()
        async with opened(bank.url) as watches:
            watch = watches.watch(WatchFilter(0, frozenset()), caller(alice), datetime.now(UTC) + IN_AN_HOUR)
            async with aclosing(watch):
                assert await anext(watch) == Silence(0)
                await happen(bank, alice, 10 * PENDING_MAX)
                await feed.sequenced()
                (subscription,) = watches._hub._subscriptions
                await until(lambda: subscription.behind)
                assert len(subscription._pending) == 0
                told = [await anext(watch) for _ in range(10 * PENDING_MAX)]
        assert [fact.event.position for fact in told if isinstance(fact, Fact)] == list(range(1, 10 * PENDING_MAX + 1))


class TestManyWatchers:
    @pytest.mark.timeout(90)
    async def test_idle_watchers_cost_no_query_each(self, feed: Feed) -> None:
        bank = feed.served.bank
        people = [await bank.person() for _ in range(50)]
        async with feed.watching(people[0], after="now") as one:
            alone = await statements(bank, 4)
            calls = [feed.open(feed.served.signed_in(people[n % 50]), after="now") for n in range(1_000)]
            begun = [aiter(call) for call in calls]
            await asyncio.gather(*(anext(each) for each in begun))
            assert EVENT_WATCHES._value.get() >= 1_001
            together = await statements(bank, 4)
            # All of them are there: an event reaches those whom it concerns, and at once.
            began = monotonic()
            await happen(bank, people[7], 1)
            await asyncio.gather(*(anext(each) for each in begun[7::50]))
            assert monotonic() - began < 3
            assert one.events == []
        for call in calls:
            call.cancel()
        assert alone > 10
        # One query each in half a minute would be 33 a second more.
        assert together < alone + 20

    async def test_one_too_many_is_refused_at_once(self, feed: Feed) -> None:
        people = [await feed.served.bank.person() for _ in range(3)]
        async with opened(feed.served.bank.url, watches_max=2) as watches, AsyncExitStack() as stack:
            opening = [
                watches.watch(WatchFilter(0, frozenset()), caller(person), datetime.now(UTC) + IN_AN_HOUR)
                for person in people
            ]
            for watch in opening:
                await stack.enter_async_context(aclosing(watch))
            await anext(opening[0])
            await anext(opening[1])
            with pytest.raises(Overloaded):
                await anext(opening[2])
            await opening[0].aclose()
            again = watches.watch(WatchFilter(0, frozenset()), caller(people[2]), datetime.now(UTC) + IN_AN_HOUR)
            await stack.enter_async_context(aclosing(again))
            assert await anext(again) == Silence(0)

    async def test_nobody_watching_costs_nothing(self, feed: Feed) -> None:
        hub = feed.served.watches._hub
        for _ in range(2):
            assert hub._reader is None
            async with feed.watching(await feed.served.bank.person()):
                assert hub._reader is not None
            await until(lambda: hub._reader is None, 3)

    async def test_who_comes_and_goes_while_much_happens_misses_nothing(self, feed: Feed) -> None:
        bank, choice = feed.served.bank, random.Random(5)
        alice = await bank.person()
        writing = True

        async def write() -> None:
            while writing:
                await happen(bank, alice, choice.randrange(1, 40))
                await asyncio.sleep(choice.random() * 0.03)

        async def follow(seed: int) -> list[int]:
            pauses, cursors, after = random.Random(seed), [], "0"
            while writing or int(after) < await feed.sequenced():
                async with feed.watching(alice, after=after) as watcher:
                    await asyncio.sleep(pauses.random() * 0.2)
                    cursors += watcher.cursors
                    after = watcher.last_cursor
            return cursors

        followers = [asyncio.create_task(follow(seed)) for seed in range(4)]
        writer = asyncio.create_task(write())
        await asyncio.sleep(4)
        writing = False
        await writer
        count = await feed.sequenced()
        for follower in followers:
            assert await follower == list(range(1, count + 1))

    async def test_who_comes_while_an_event_is_being_looked_up_is_told_of_it(self, feed: Feed) -> None:
        bank = feed.served.bank
        alice = await bank.person()
        await happen(bank, alice, 1)
        await feed.sequenced()
        in_an_hour = datetime.now(UTC) + IN_AN_HOUR
        owner = await asyncpg.connect(bank.owner_url)
        async with opened(bank.url) as watches:
            first = watches.watch(WatchFilter(None, frozenset()), caller(alice), in_an_hour)
            second = watches.watch(WatchFilter(1, frozenset()), caller(alice), in_an_hour)
            async with aclosing(first), aclosing(second):
                assert await anext(first) == Silence(1)
                async with owner.transaction():
                    await owner.execute("LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE")
                    await bank.pool.execute(
                        "INSERT INTO events (type, subject_id, user_id) VALUES ('account.created', $1, $1)",
                        alice.user_id,
                    )
                    await feed.sequenced()
                    await asyncio.sleep(0.3)
                    assert await anext(second) == Silence(1)
                told = [await asyncio.wait_for(anext(watch), 5) for watch in (first, second)]
        await owner.close()
        assert [fact.event.position for fact in told if isinstance(fact, Fact)] == [2, 2]


class TestSilence:
    async def test_heartbeat_tells_how_far_everything_was_told(self, feed: Feed) -> None:
        bank = feed.served.bank
        alice, bob = await bank.person(), await bank.person()
        async with opened(bank.url, heartbeat_s=0.2) as watches:
            watch = watches.watch(WatchFilter(0, frozenset()), caller(alice), datetime.now(UTC) + IN_AN_HOUR)
            async with aclosing(watch):
                assert [await anext(watch) for _ in range(2)] == [Silence(0), Silence(0)]
                await happen(bank, bob, 3)
                await feed.sequenced()
                async with asyncio.timeout(3):
                    while await anext(watch) != Silence(3):
                        pass

    async def test_past_in_which_nothing_is_wanted_is_told_of_as_it_is_passed(self, feed: Feed) -> None:
        bank = feed.served.bank
        alice = await bank.person()
        await happen(bank, alice, 3 * ROWS_AT_ONCE)
        await feed.sequenced()
        async with opened(bank.url, heartbeat_s=0) as watches:
            wanted = WatchFilter(0, frozenset({"user.created"}))
            watch = watches.watch(wanted, admin(alice), datetime.now(UTC) + IN_AN_HOUR)
            async with aclosing(watch):
                told = [await anext(watch) for _ in range(3)]
        assert told == [Silence(position * ROWS_AT_ONCE) for position in range(3)]

    @pytest.mark.timeout(40)
    async def test_event_is_told_within_a_quarter_of_a_second(self, feed: Feed) -> None:
        bank, choice = feed.served.bank, random.Random(3)
        alice = await bank.person()
        medians = []
        for _ in range(3):
            async with feed.watching(alice, after="now") as watcher:
                delays = []
                for number in range(15):
                    await asyncio.sleep(0.3 + choice.random() * 0.2)
                    began = monotonic()
                    await happen(bank, alice, 1)
                    await until(lambda number=number: len(watcher.events) > number)  # type: ignore[misc]
                    delays.append(monotonic() - began)
            medians.append(median(delays))
            if medians[-1] < 0.25:
                break
        print(f"watch delay in ms: {sorted(round(delay * 1000) for delay in delays)}")
        assert min(medians) < 0.25


class TestDatabaseAway:
    async def test_watch_goes_on_when_the_database_is_back(self, database: MigratedDatabase) -> None:
        async with (
            link_to(database.app_url) as (link, url),
            serving_bank(replace(database, app_url=url)) as served,
            sequencing(database.app_url),
        ):
            feed, bank = Feed(served, EventServiceStub(served.channel)), served.bank
            alice = await bank.person()
            async with feed.watching(alice) as watcher:
                await happen(bank, alice, 2)
                await watcher.has(2)
                await link.cut()
                await happen(bank, alice, 2)
                refusal = await refusal_of(anext(aiter(feed.open(served.signed_in(alice)))))
                assert refusal.why == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
                assert len(watcher.events) == 2
                await link.open()
                await watcher.has(4)
                assert watcher.end == ""
            assert watcher.cursors == [1, 2, 3, 4]

    async def test_watch_that_cannot_read_the_past_ends_where_it_is(self, feed: Feed) -> None:
        bank = feed.served.bank
        alice = await bank.person()
        await happen(bank, alice, 2_000)
        await feed.sequenced()
        async with link_to(bank.url) as (link, url), opened(url) as watches:
            watch = watches.watch(WatchFilter(0, frozenset()), caller(alice), datetime.now(UTC) + IN_AN_HOUR)
            async with aclosing(watch):
                await anext(watch)
                await anext(watch)
                await link.cut()
                rest = [told async for told in watch]
        *facts, last = rest
        assert [fact.event.position for fact in facts if isinstance(fact, Fact)] == list(range(2, len(facts) + 2))
        assert last == Ended(len(facts) + 1, EndReason.DATABASE_UNAVAILABLE)
