"""What the metrics say is what happened: money once, and only if it was committed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
from prometheus_client import REGISTRY

from server.clock import DatabaseClock
from server.database import ACQUIRE_TIMEOUT_S, Connection, Database, after_commit, open_pool
from server.errors import BankError, DatabaseUnavailable, InsufficientFunds
from server.event_loop import measure_lag
from server.ledger.batches import Batches
from server.ledger.commit_queue import LEDGER_SETTINGS
from server.ledger.verification import verify
from tests.conftest import Database as MigratedDatabase
from tests.server.bank import Bank, movement

CURRENCY = "ISK"
"""No other test moves it: a counter is a float, and what others have moved would swallow small amounts."""


def sample(name: str, **labels: str) -> float:
    """What a metric of this process says now."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def moved(kind: str = "TRANSFER") -> float:
    return sample("ledger_money_moved_minor_total", currency=CURRENCY, kind=kind)


@pytest.fixture
async def named(database: MigratedDatabase) -> AsyncIterator[Database]:
    """One connection, which the metrics show."""
    opened = Database(await open_pool(database.app_url, size=1), "of-a-test")
    yield opened
    await opened.close()


class TestMoneyMoved:
    async def test_posted_money_counts_and_refused_or_repeated_does_not(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100, CURRENCY), await bank.account(bob, 0, CURRENCY)
        before = moved()
        once = movement(alice, source, destination, 60, currency_code=CURRENCY)
        await bank.ledger.post(once)
        await bank.ledger.post(once)
        with pytest.raises(InsufficientFunds):
            await bank.ledger.post(movement(alice, source, destination, 41, currency_code=CURRENCY))
        assert moved() - before == 60

    async def test_batch_that_is_refused_as_a_whole_moves_nothing(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100, CURRENCY), await bank.account(bob, 0, CURRENCY)
        pool = await open_pool(bank.url, size=1, settings=LEDGER_SETTINGS)
        batches, before = Batches(pool), moved()
        with pytest.raises(BankError):
            await batches.post(
                [movement(alice, source, destination, each, currency_code=CURRENCY) for each in (60, 50)], atomic=True
            )
        assert moved() == before
        await batches.post(
            [movement(alice, source, destination, each, currency_code=CURRENCY) for each in (60, 50)], atomic=False
        )
        assert moved() - before == 60
        await pool.close()


class TestAfterCommit:
    async def test_it_is_done_once_and_only_if_the_transaction_is_committed(self, named: Database) -> None:
        told: list[str] = []

        async def work(connection: Connection) -> None:
            before = len(told)
            after_commit(lambda: told.append("committed"))
            await connection.execute("SELECT 1")
            assert len(told) == before

        async def fail(connection: Connection) -> None:
            await work(connection)
            raise LookupError

        await named.transaction(work)
        assert told == ["committed"]
        with pytest.raises(LookupError):
            await named.transaction(fail)
        assert told == ["committed"]

    async def test_outside_a_transaction_nothing_is_done(self) -> None:
        told: list[str] = []
        await asyncio.create_task(asyncio.to_thread(after_commit, lambda: told.append("committed")))
        assert told == []


class TestPool:
    async def test_used_waiting_and_vain_connections_are_shown(self, named: Database) -> None:
        pool = {"db_client_connection_pool_name": "of-a-test"}

        async def wait_in_vain() -> None:
            async with named.connection():
                pass

        timeouts = sample("db_client_connection_timeouts_total", **pool)
        assert sample("db_client_connection_max", **pool) == 1
        async with named.connection():
            assert sample("db_client_connection_count", **pool, db_client_connection_state="used") == 1
            waiting = asyncio.create_task(wait_in_vain())
            await asyncio.sleep(ACQUIRE_TIMEOUT_S / 5)
            assert sample("db_client_connection_pending_requests", **pool) == 1
            with pytest.raises(DatabaseUnavailable):
                await waiting
        assert sample("db_client_connection_pending_requests", **pool) == 0
        assert sample("db_client_connection_timeouts_total", **pool) - timeouts == 1
        assert sample("db_client_connection_count", **pool, db_client_connection_state="idle") == 1


class TestClockSkew:
    def test_machine_that_is_ahead_is_told(self) -> None:
        now = datetime.now(UTC)
        DatabaseClock(machine=lambda: (now + timedelta(seconds=3)).timestamp()).tell(now)
        assert sample("clock_skew_seconds") == pytest.approx(3)


class TestEventLoopLag:
    async def test_what_keeps_the_loop_busy_is_seen(self) -> None:
        before = sample("event_loop_lag_seconds_count") - sample("event_loop_lag_seconds_bucket", le="0.1")
        measuring = asyncio.create_task(measure_lag())
        await asyncio.sleep(0.01)
        deadline = asyncio.get_running_loop().time() + 0.5
        while asyncio.get_running_loop().time() < deadline:
            pass
        await asyncio.sleep(0.3)
        measuring.cancel()
        after = sample("event_loop_lag_seconds_count") - sample("event_loop_lag_seconds_bucket", le="0.1")
        assert after - before >= 1


class TestVerifications:
    async def test_what_was_found_is_counted(self, bank: Bank) -> None:
        results = ("consistent", "different")

        def counts() -> list[float]:
            return [sample("ledger_verifications_total", result=each) for each in results]

        alice, before = await bank.person(), counts()
        account_id = await bank.account(alice)
        await verify(bank.database)
        owner = await asyncpg.connect(bank.owner_url)
        await owner.execute("UPDATE accounts SET posted_minor = 5 WHERE id = $1", account_id)
        await owner.close()
        await verify(bank.database)
        assert [after - was for after, was in zip(counts(), before, strict=True)] == [1, 1]
