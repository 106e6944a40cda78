import asyncio
import random

import asyncpg
import pytest
from bankdb import events
from uuid_utils.compat import uuid7

from server.database import open_pool
from tests.worker.surroundings import Bank, eventually, sequencing
from worker import sequencer
from worker.sequencer import CONNECTION_SETTINGS
from worker.settings import SEQUENCER_BATCH


async def record(connection: asyncpg.Connection, text: str) -> None:
    await events.insert_event(connection, type=text, subject_id=uuid7(), user_id=None, data=None)


class Reader:
    """Follows positions and never looks back."""

    def __init__(self, bank: Bank) -> None:
        self._bank = bank
        self.read: list[str] = []

    async def look(self) -> int:
        rows = await self._bank.stored.pool.fetch(
            "SELECT position, type FROM events WHERE position > $1 ORDER BY position", len(self.read)
        )
        for row in rows:
            self.read.append(row["type"])
            assert row["position"] == len(self.read)  # dense: 1, 2, 3, …
        return len(self.read)

    async def has(self, count: int) -> bool:
        return await self.look() >= count


class TestSequencer:
    async def test_slow_transaction_is_read_once_after_faster_ones(self, bank: Bank) -> None:
        reader = Reader(bank)
        async with (
            sequencing(bank.stored.app_url),
            bank.stored.pool.acquire() as slow,
            bank.stored.pool.acquire() as fast,
        ):
            transaction = slow.transaction()
            await transaction.start()
            await record(slow, "slow")
            for number in range(3):
                await record(fast, f"fast {number}")
                await eventually(lambda number=number: reader.has(number + 1))  # type: ignore[misc]
            await transaction.commit()
            await eventually(lambda: reader.has(4))
            await asyncio.sleep(0.2)
            await reader.look()
        assert reader.read == ["fast 0", "fast 1", "fast 2", "slow"]

    async def test_transaction_slower_than_any_should_be_is_read_after_the_next_sweep(
        self, bank: Bank, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sequencer, "SEQUENCER_SETTLE_S", 0.1)
        monkeypatch.setattr(sequencer, "SEQUENCER_SWEEP_S", 1.5)
        reader = Reader(bank)
        async with (
            sequencing(bank.stored.app_url),
            bank.stored.pool.acquire() as slow,
            bank.stored.pool.acquire() as fast,
        ):
            transaction = slow.transaction()
            await transaction.start()
            await record(slow, "slow")
            await record(fast, "fast")
            await eventually(lambda: reader.has(1))
            await asyncio.sleep(0.5)
            await transaction.commit()
            await eventually(lambda: reader.has(2))
        assert reader.read == ["fast", "slow"]

    async def test_rolled_back_event_leaves_no_gap(self, bank: Bank) -> None:
        reader = Reader(bank)
        async with sequencing(bank.stored.app_url), bank.stored.pool.acquire() as connection:
            await record(connection, "first")
            transaction = connection.transaction()
            await transaction.start()
            await record(connection, "undone")
            await transaction.rollback()
            await record(connection, "second")
            await eventually(lambda: reader.has(2))
        assert reader.read == ["first", "second"]

    async def test_events_drawn_under_a_lock_keep_their_order(
        self, bank: Bank, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # As over minutes: scans begin at a later and later id, and now and then there is a sweep.
        monkeypatch.setattr(sequencer, "SEQUENCER_SETTLE_S", 0.2)
        monkeypatch.setattr(sequencer, "SEQUENCER_SWEEP_S", 0.7)
        locks = [asyncio.Lock() for _ in range(3)]
        written: dict[int, int] = dict.fromkeys(range(3), 0)
        choice = random.Random(7)

        async def write() -> None:
            for _ in range(25):
                account, pause_s = choice.randrange(3), choice.random() * 0.02
                async with locks[account], bank.stored.pool.acquire() as connection, connection.transaction():
                    written[account] += 1
                    await record(connection, f"{account} {written[account]}")
                    await asyncio.sleep(pause_s)

        reader = Reader(bank)
        async with sequencing(bank.stored.app_url):
            await asyncio.gather(*(write() for _ in range(6)))
            await eventually(lambda: reader.has(150))
        assert len(reader.read) == 150
        for account in range(3):
            mine = [text for text in reader.read if text.startswith(f"{account} ")]
            assert mine == [f"{account} {number}" for number in range(1, written[account] + 1)]

    async def test_more_than_one_batch_is_numbered_in_id_order(self, bank: Bank) -> None:
        count = SEQUENCER_BATCH * 2 + 500
        await bank.stored.pool.execute(
            "INSERT INTO events (type, subject_id) SELECT n::text, gen_random_uuid() FROM generate_series(1, $1) AS n",
            count,
        )
        reader = Reader(bank)
        async with sequencing(bank.stored.app_url):
            await eventually(lambda: reader.has(count))
        assert reader.read == [str(number) for number in range(1, count + 1)]

    async def test_second_sequencer_waits_until_the_first_is_gone(self, bank: Bank) -> None:
        holders = "SELECT array_agg(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        async with sequencing(bank.stored.app_url):
            await eventually(lambda: bank.value(holders))
            (first,) = await bank.value(holders)
            async with sequencing(bank.stored.app_url):
                await asyncio.sleep(0.1)
                assert await bank.value(holders) == [first]
                await bank.stored.pool.execute("SELECT pg_terminate_backend($1)", first)
                reader = Reader(bank)
                async with bank.stored.pool.acquire() as connection:
                    await record(connection, "later")
                await eventually(lambda: reader.has(1))
                assert await bank.value(holders) != [first]

    async def test_batch_is_found_by_index_whatever_the_size_of_the_table(self, bank: Bank) -> None:
        await bank.stored.pool.execute(
            "INSERT INTO events (type, subject_id) SELECT 'x', gen_random_uuid() FROM generate_series(1, 5000)"
        )
        pool = await open_pool(bank.stored.app_url, size=1, settings=CONNECTION_SETTINGS)
        plan = await pool.fetch("EXPLAIN " + events.UPDATE_EVENT_POSITIONS, 0)
        await pool.close()
        text = "\n".join(row[0] for row in plan)
        assert "events_unsequenced_idx" in text
        assert "events_position_key" in text
        assert "Seq Scan" not in text
