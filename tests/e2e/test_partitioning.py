"""The tables that grow without end, split while the bank is open, and what works on them afterwards."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from bankdb import events as event_queries

from local.partitioning import partition_entries, partition_events
from tests.e2e.conftest import transfer_fields
from tests.e2e.parts import Parts, running_parts
from tests.e2e.payments import assert_log_is_true, assert_order_is_real, paying

PER_PARTITION = 200
_PARTITIONS = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    async with running_parts(tmp_path) as parts:
        yield parts


class TestPartitioning:
    @pytest.mark.timeout(120)
    async def test_both_tables_are_split_under_load_and_nothing_is_lost(self, parts: Parts) -> None:
        async with parts.channel() as wire:
            customers = await parts.customers(wire, 8, 100_000)
        owner = await asyncpg.connect(parts.owner_url)
        async with paying(parts, customers, 8) as log:
            while len(log.done()) < 100:
                await event_queries.update_event_positions(owner, after_id=0)
            assert (await partition_events(owner, PER_PARTITION)).startswith("events: made events_from_")
            assert await partition_entries(owner, 4) == "entries: split into 4"
            while len(log.done()) < 100 + 3 * PER_PARTITION:
                await partition_events(owner, PER_PARTITION)
                await event_queries.update_event_positions(owner, after_id=0)
        # A call that waits too long for the table that is being split is refused; each caller has one at a time.
        assert log.codes().keys() <= {"OK", "ABORTED"}, log.reasons()
        assert log.reasons().keys() <= {"", "CONTENTION"}
        assert log.codes()["ABORTED"] <= 8

        assert len(await owner.fetch(_PARTITIONS, "entries")) == 4
        assert len(await owner.fetch(_PARTITIONS, "events")) >= 4
        assert await owner.fetchval("SELECT count(*) FROM events_default") == 0
        assert not await owner.fetchval("SELECT to_regclass('entries_whole')")
        while (await event_queries.update_event_positions(owner, after_id=0)).event_count:
            pass
        rows = await owner.fetch("SELECT position FROM events ORDER BY position")
        assert [row["position"] for row in rows] == list(range(1, len(rows) + 1))
        assert await partition_events(owner, PER_PARTITION) == "events: there is room"
        assert await partition_entries(owner) == "entries: split already"
        await owner.close()
        await assert_log_is_true(parts, log)
        assert_order_is_real(log)
        await parts.assert_ledger_adds_up()

    async def test_readers_go_by_index_and_see_every_partition(self, parts: Parts) -> None:
        async with parts.channel() as wire:
            payer, payee = await parts.customers(wire, 2, 100_000)
            owner = await asyncpg.connect(parts.owner_url)
            await partition_events(owner, 10)
            await partition_entries(owner, 4)
            for _ in range(30):
                fields = transfer_fields(payer.account_id, payee.account_id)
                assert (await wire.call("CreateTransfer", fields, payer.token)).code == "OK"
                await partition_events(owner, 10)
            while (await event_queries.update_event_positions(owner, after_id=0)).event_count:
                pass
            feed = await wire.call("ListEvents", {"page_size": 200}, payer.token)
            entries = await wire.call("ListEntries", {"account_id": payer.account_id, "page_size": 200}, payer.token)
        assert sum(event["type"] == "transfer.posted" for event in feed.reply["events"]) == 31
        cursors = [int(event["cursor"]) for event in feed.reply["events"]]
        assert cursors == sorted(cursors)
        assert [int(entry["sequence"]) for entry in entries.reply["entries"]] == list(range(31, 0, -1))
        await owner.execute("SET enable_seqscan = off")
        plan = await owner.fetch("EXPLAIN SELECT id FROM events WHERE position > 5 ORDER BY position LIMIT 10")
        text = "\n".join(row[0] for row in plan)
        assert "Merge Append" in text
        assert "Seq Scan" not in text
        assert "->  Sort" not in text
        await owner.close()
