"""Accounts are locked in one order everywhere, and what a call is judged by is read under their locks."""

import asyncio
import random
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import asyncpg
import pytest

from server.ledger.commit_queue import CommitQueue
from server.ledger.movements import Posted, Replay
from tests.conftest import PostgresServer
from tests.server.bank import Bank, movement, running_ledger

ACCOUNTS = 24
CALLERS = 48
STEPS = 25


@pytest.fixture
async def watched(postgres: PostgresServer, bank: Bank) -> AsyncIterator[Bank]:
    """A bank whose database looks for deadlocks at once.

    By default it looks after a second, and the ledger stops waiting for a lock long before: a deadlock would pass
    for an account that is busy.
    """
    name = urlsplit(bank.url).path[1:]
    superuser = await asyncpg.connect(postgres.superuser_url)
    await superuser.execute(f"ALTER DATABASE {name} SET deadlock_timeout = '5ms'")
    yield bank
    await superuser.close()


class TestLockOrder:
    async def test_gathered_transfers_over_two_processes_never_wait_in_a_circle(self, watched: Bank) -> None:
        bank = watched
        people = [await bank.person() for _ in range(ACCOUNTS)]
        accounts = [await bank.account(person, 1_000) for person in people]
        choice = random.Random(3)

        async def wander(ledger: CommitQueue) -> None:
            for _ in range(STEPS):
                source, destination = choice.sample(range(ACCOUNTS), 2)
                moved = await ledger.post(movement(people[source], accounts[source], accounts[destination], 1))
                assert isinstance(moved, Posted)

        # Opened now, so that their connections have the setting; their end makes them report what they met.
        async with running_ledger(bank.url) as first, running_ledger(bank.url) as second:
            await asyncio.gather(*(wander((first, second)[number % 2]) for number in range(CALLERS)))

        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await bank.pool.fetchval(deadlocks) == 0
        assert sum([await bank.posted_minor(account) for account in accounts]) == 1_000 * ACCOUNTS
        assert await bank.adds_up()

    async def test_who_waits_for_the_lowest_account_holds_no_other(self, bank: Bank) -> None:
        """Whatever order the movements name the accounts in."""
        alice = await bank.person()
        lowest, *others = sorted([await bank.account(alice, 100) for _ in range(12)])
        free = "SELECT id FROM accounts WHERE id = ANY($1) FOR UPDATE SKIP LOCKED"
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", lowest)
            calls = [asyncio.create_task(bank.ledger.post(movement(alice, each, lowest, 1))) for each in others[::-1]]
            await bank.waits_for_locks(1)
            assert len(await bank.pool.fetch(free, others)) == len(others)
        await asyncio.gather(*calls)
        assert await bank.posted_minor(lowest) == 100 + len(others)


class TestReadUnderLock:
    async def test_copy_that_waited_for_the_first_call_is_its_replay(self, bank: Bank) -> None:
        """With its request id looked up before it waited, the copy would find the money gone."""
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        call = movement(alice, source, destination, 100)
        async with running_ledger(bank.url) as other:
            async with bank.pool.acquire() as connection, connection.transaction():
                await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
                calls = [asyncio.create_task(ledger.post(call)) for ledger in (bank.ledger, other)]
                await bank.waits_for_locks(2)
            outcomes = await asyncio.gather(*calls)

        assert {type(outcome) for outcome in outcomes} == {Posted, Replay}
        assert len({outcome.result_id for outcome in outcomes}) == 1
        assert await bank.adds_up()
