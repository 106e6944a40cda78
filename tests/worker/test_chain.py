"""The hash chain: whoever changes a stored row behind the service's back is found out, and the row is named."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID, uuid4

import asyncpg
import pytest
from bank.v1.ledger_service_pb2 import VerifyLedgerRequest
from bankdb.events import update_event_positions
from bankdb.ledger_blocks import list_ledger_blocks
from bankdb.models import LedgerBlock

from server.database import Database, open_pool
from server.errors import InvalidRequest
from server.ledger.blocks import Head, get_head, seal
from server.ledger.messages import parse_verify_ledger, render_verdict
from server.ledger.movements import UNRESOLVED, Held, Kind, Posted
from server.ledger.verification import Rule, verify
from tests.conftest import Database as MigratedDatabase
from tests.server.bank import Bank, movement, running_ledger
from tests.worker.surroundings import eventually, working
from worker import chain
from worker.chain import Chain

CHANGED = {
    "uuid": "gen_random_uuid()",
    "bigint": "coalesce({0}, 0) + 1",
    "text": "coalesce({0}, '') || 'x'",
    "timestamp with time zone": "{0} + interval '1 microsecond'",
    "jsonb": """coalesce({0}, '{{}}') || '{{"x": "y"}}'""",
}
"""How to make another value of a type."""


class Scene:
    """A few transfers of every form, sealed in small blocks."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    async def begin(self) -> "Scene":
        bank = self.bank
        self.alice, self.bob = await bank.person(), await bank.person()
        self.source, self.destination = await bank.account(self.alice, 1_000), await bank.account(self.bob)
        self.first = await self.post(10)
        await self.seal()
        held = await bank.ledger.post(movement(self.alice, self.source, self.destination, 50, kind=Kind.HOLD))
        assert isinstance(held, Held)
        self.capture = await self.post(20, kind=Kind.CAPTURE, subject_id=held.hold_id)
        self.reversal = await self.post(5, kind=Kind.REVERSAL, subject_id=self.first)
        await self.seal()
        self.last = await self.post(7)
        await self.seal()
        return self

    async def post(self, amount_minor: int, kind: Kind = Kind.TRANSFER, subject_id: UUID | None = None) -> UUID:
        if kind is Kind.TRANSFER:
            wanted = movement(self.alice, self.source, self.destination, amount_minor, description="café €")
        else:
            wanted = movement(self.bob, UNRESOLVED, UNRESOLVED, amount_minor, kind=kind, subject_id=subject_id)
        posted = await self.bank.ledger.post(wanted)
        assert isinstance(posted, Posted)
        return posted.transfer_id

    async def seal(self) -> Head:
        """Give all events their positions, and seal them in one block."""
        async with self.bank.database.connection() as connection:
            await update_event_positions(connection, after_id=0)
            last_position = await connection.fetchval("SELECT max(position) FROM events")
            return await seal(connection, await get_head(connection), last_position)

    async def head(self) -> Head:
        async with self.bank.database.connection() as connection:
            head = await get_head(connection)
        assert head is not None
        return head

    async def blocks(self) -> list[LedgerBlock]:
        return await list_ledger_blocks(self.bank.pool, after_number=0, most=100)

    async def unlock(self) -> None:
        """Take away every constraint that would stand in the way of whoever owns the tables."""
        await self.bank.as_owner(
            "DO $$ DECLARE found record; BEGIN"
            " FOR found IN SELECT conrelid::regclass AS place, conname FROM pg_constraint"
            " WHERE conrelid IN ('transfers'::regclass, 'entries'::regclass, 'ledger_blocks'::regclass)"
            "  AND contype IN ('c', 'f')"
            " LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', found.place, found.conname); END LOOP;"
            " ALTER TABLE reversed_totals DROP CONSTRAINT reversed_totals_transfer_id_fkey;"
            " ALTER TABLE holds DROP CONSTRAINT holds_capture_transfer_id_fkey;"
            " ALTER TABLE scheduled_transfers DROP CONSTRAINT scheduled_transfers_transfer_id_fkey;"
            " END $$"
        )

    async def named(self, expected: Head | None = None) -> set[str]:
        """Subjects that the chain finds fault with."""
        verdict = await verify(self.bank.database, expected)
        return {difference.subject for difference in verdict.differences if difference.rule is Rule.CHAIN}


@pytest.fixture
async def scene(database: MigratedDatabase) -> AsyncIterator[Scene]:
    reads = Database(await open_pool(database.app_url, size=4))
    async with running_ledger(database.app_url) as ledger:
        bank = Bank(database.app_url, database, reads, ledger)
        await bank.reference.load(reads)
        yield await Scene(bank).begin()
    await reads.close()


def length_first(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "big") + text.encode()


def i64(value: int) -> bytes:
    return value.to_bytes(8, "big", signed=True)


def micros(time: datetime) -> bytes:
    return i64(round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000))


class TestFormat:
    async def test_anybody_can_compute_the_chain_from_what_is_documented(self, scene: Scene) -> None:
        # All optional fields at once, which no call of the service makes.
        await scene.unlock()
        await scene.bank.as_owner(
            "UPDATE transfers SET reference = 'r', metadata = $2, hold_id = id, order_id = id WHERE id = $1",
            scene.reversal,
            json.dumps({"bb": 'ü"\n', "a": "1"}),
        )
        await scene.bank.as_owner("DELETE FROM ledger_blocks")
        await scene.seal()
        (block,) = await scene.blocks()
        hashed = bytes(32) + i64(1) + i64(1) + i64(block.last_position) + (10).to_bytes(4, "big")
        for transfer_id in block.transfer_ids:
            row = await scene.bank.pool.fetchrow("SELECT * FROM transfers WHERE id = $1", transfer_id)
            digested = b"".join(
                row[name].bytes
                for name in ("id", "source_account_id", "destination_account_id", "initiator_user_id", "request_id")
            )
            digested += i64(row["amount_minor"]) + i64(row["source_sequence"]) + i64(row["destination_sequence"])
            digested += micros(row["create_time"])
            digested += b"".join(length_first(row[name]) for name in ("kind", "currency_code", "description"))
            if transfer_id == scene.reversal:
                digested += b"\x01" + length_first("r") + b"\x02" + length_first('{"a":"1","bb":"ü\\"\\n"}')
            if row["hold_id"]:
                digested += b"\x03" + row["hold_id"].bytes
            if row["reverses_transfer_id"]:
                digested += b"\x04" + row["reverses_transfer_id"].bytes
            if row["order_id"]:
                digested += b"\x05" + row["order_id"].bytes
            for side in ("source", "destination"):
                entry = await scene.bank.pool.fetchrow(
                    "SELECT * FROM entries WHERE account_id = $1 AND sequence = $2",
                    row[f"{side}_account_id"],
                    row[f"{side}_sequence"],
                )
                digested += b"\x80" + entry["transfer_id"].bytes + i64(entry["amount_minor"])
                digested += i64(entry["balance_after_minor"]) + micros(entry["create_time"])
            hashed += transfer_id.bytes + sha256(digested).digest()
        assert len(block.transfer_ids) == 5
        assert sha256(hashed).digest() == block.hash

    async def test_blocks_cover_all_positions_and_name_the_one_before(self, scene: Scene) -> None:
        blocks = await scene.blocks()
        assert [block.number for block in blocks] == [1, 2, 3]
        assert [block.previous_hash for block in blocks] == [bytes(32), blocks[0].hash, blocks[1].hash]
        assert blocks[0].first_position == 1
        assert [block.first_position for block in blocks[1:]] == [block.last_position + 1 for block in blocks[:-1]]
        assert sum(block.entry_count for block in blocks) == await scene.bank.pool.fetchval(
            "SELECT count(*) FROM entries"
        )
        verdict = await verify(scene.bank.database, await scene.head())
        assert (verdict.differences, verdict.head) == ([], await scene.head())
        assert render_verdict(verdict).head.hash == blocks[-1].hash.hex()

    async def test_service_may_not_change_a_block(self, scene: Scene) -> None:
        for statement in ("UPDATE ledger_blocks SET number = number", "DELETE FROM ledger_blocks"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await scene.bank.pool.execute(statement)


class TestChangedRows:
    async def test_any_stored_field_of_a_transfer_that_is_changed_is_found(self, scene: Scene) -> None:
        await scene.unlock()
        columns = await columns_of(scene, "transfers")
        assert len(columns) >= 16
        for name, changed in columns:
            old = await scene.bank.pool.fetchval(f"SELECT {name} FROM transfers WHERE id = $1", scene.first)
            await scene.bank.as_owner(f"UPDATE transfers SET {name} = {changed} WHERE id = $1", scene.first)
            assert str(scene.first) in await scene.named(), name
            where = "NOT (id = ANY($2))" if name == "id" else "id = ANY($2)"
            known = [scene.first] if name != "id" else await sealed_ids(scene)
            await scene.bank.as_owner(f"UPDATE transfers SET {name} = $1 WHERE {where}", old, known)
            assert await scene.named() == set(), name

    @pytest.mark.parametrize("sign", ["<", ">"], ids=["debit", "credit"])
    async def test_any_stored_field_of_an_entry_that_is_changed_is_found(self, scene: Scene, sign: str) -> None:
        await scene.unlock()
        for name, changed in await columns_of(scene, "entries"):
            row = await scene.bank.pool.fetchrow(
                f"SELECT ctid::text AS place, {name} AS old FROM entries"
                f" WHERE transfer_id = $1 AND amount_minor {sign} 0",
                scene.capture,
            )
            # The sequence after it may be taken.
            changed = "sequence + 1000" if name == "sequence" else changed
            place = await returning(
                scene, f"UPDATE entries SET {name} = {changed} WHERE ctid = '{row['place']}'::tid RETURNING ctid::text"
            )
            assert await scene.named() == {str(scene.capture)}, name
            await scene.bank.as_owner(f"UPDATE entries SET {name} = $1 WHERE ctid = '{place}'::tid", row["old"])
            assert await scene.named() == set(), name

    async def test_deleted_transfer_is_named(self, scene: Scene) -> None:
        await scene.unlock()
        await scene.bank.as_owner("DELETE FROM entries WHERE transfer_id = $1", scene.last)
        await scene.bank.as_owner("DELETE FROM transfers WHERE id = $1", scene.last)
        await scene.bank.as_owner("DELETE FROM events WHERE subject_id = $1", scene.last)
        assert await scene.named() == {str(scene.last)}

    async def test_deleted_entry_names_its_transfer(self, scene: Scene) -> None:
        await scene.bank.as_owner("DELETE FROM entries WHERE transfer_id = $1 AND amount_minor < 0", scene.last)
        assert await scene.named() == {str(scene.last)}

    async def test_inserted_transfer_that_adds_up_is_named(self, scene: Scene) -> None:
        """Everything an owner can forge is forged, except what a posting leaves in the events."""
        forged = uuid4()
        await scene.bank.as_owner(
            "INSERT INTO transfers SELECT $2, kind, source_account_id, destination_account_id, amount_minor,"
            " currency_code, initiator_user_id, gen_random_uuid(), description, reference, metadata,"
            " (SELECT entry_count + 1 FROM accounts WHERE id = source_account_id),"
            " (SELECT entry_count + 1 FROM accounts WHERE id = destination_account_id), create_time"
            " FROM transfers WHERE id = $1",
            scene.last,
            forged,
        )
        await scene.bank.as_owner(
            "INSERT INTO entries SELECT account_id, entry_count + 1, $1, amount, posted_minor + amount, now()"
            " FROM (SELECT source_account_id AS account_id, -amount_minor AS amount FROM transfers WHERE id = $1"
            " UNION ALL SELECT destination_account_id, amount_minor FROM transfers WHERE id = $1) AS sides"
            " INNER JOIN accounts ON account_id = accounts.id",
            forged,
        )
        await scene.bank.as_owner(
            "UPDATE accounts SET entry_count = sequence, posted_minor = balance_after_minor FROM entries"
            " WHERE account_id = accounts.id AND transfer_id = $1",
            forged,
        )
        verdict = await verify(scene.bank.database)
        assert [(each.rule, each.subject) for each in verdict.differences] == [(Rule.CHAIN, str(forged))]

    async def test_transfer_that_is_not_sealed_yet_is_no_difference(self, scene: Scene) -> None:
        await scene.post(3)
        assert await scene.bank.adds_up()
        async with scene.bank.database.connection() as connection:
            await update_event_positions(connection, after_id=0)
        assert await scene.bank.adds_up()

    async def test_detail_says_which_block(self, scene: Scene) -> None:
        await scene.bank.as_owner("UPDATE transfers SET description = 'gift' WHERE id = $1", scene.capture)
        (difference,) = (await verify(scene.bank.database)).differences
        assert "not what block 2 sealed" in difference.detail
        (rendered,) = render_verdict(await verify(scene.bank.database)).differences
        assert (rendered.subject, rendered.detail) == (str(scene.capture), difference.detail)


class TestChangedBlocks:
    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ("UPDATE ledger_blocks SET hash = digests WHERE number = 1", {"block 1", "block 2"}),
            ("UPDATE ledger_blocks SET previous_hash = hash WHERE number = 2", {"block 2"}),
            ("UPDATE ledger_blocks SET entry_count = entry_count + 1 WHERE number = 2", {"block 2"}),
            ("UPDATE ledger_blocks SET last_position = last_position - 1 WHERE number = 2", {"block 2", "block 3"}),
            ("UPDATE ledger_blocks SET number = 9 WHERE number = 3", {"block 9"}),
            ("DELETE FROM ledger_blocks WHERE number = 2", {"block 3"}),
            ("DELETE FROM ledger_blocks WHERE number = 1", {"block 2"}),
        ],
    )
    async def test_changed_or_removed_block_is_named(self, scene: Scene, change: str, named: set[str]) -> None:
        await scene.unlock()
        await scene.bank.as_owner(change)
        found = await scene.named()
        assert {subject for subject in found if subject.startswith("block")} == named

    async def test_digest_made_to_fit_a_changed_row_breaks_the_hash(self, scene: Scene) -> None:
        await scene.bank.as_owner("UPDATE transfers SET description = 'gift' WHERE id = $1", scene.last)
        (difference,) = (await verify(scene.bank.database)).differences
        now = difference.detail.rpartition(" ")[2]
        await scene.bank.as_owner("UPDATE ledger_blocks SET digests = decode($1, 'hex') WHERE number = 3", now)
        assert await scene.named() == {"block 3"}


class TestExpectedHead:
    async def test_head_that_was_kept_is_met_by_a_longer_chain(self, scene: Scene) -> None:
        kept = await scene.head()
        await scene.post(1)
        await scene.seal()
        assert await scene.named(kept) == set()
        assert await scene.named(Head(kept.position, sha256(b"other").digest())) == {"block 3"}

    async def test_chain_sealed_anew_over_changed_rows_is_told_by_the_head_alone(self, scene: Scene) -> None:
        kept, positions = await scene.head(), [block.last_position for block in await scene.blocks()]
        await scene.bank.as_owner("UPDATE transfers SET description = 'gift' WHERE id = $1", scene.first)
        await scene.bank.as_owner("DELETE FROM ledger_blocks")
        async with scene.bank.database.connection() as connection:
            for last_position in positions:
                await seal(connection, await get_head(connection), last_position)
        assert await scene.bank.adds_up()
        assert await scene.named(kept) == {"block 3"}

    async def test_truncated_chain_is_told_by_the_head_alone(self, scene: Scene) -> None:
        kept = await scene.head()
        await scene.bank.as_owner("DELETE FROM ledger_blocks WHERE number = 3")
        assert await scene.named() == set()
        assert await scene.named(kept) == {"head"}
        await scene.bank.as_owner("DELETE FROM ledger_blocks")
        assert await scene.named(kept) == {"head"}

    @pytest.mark.parametrize(
        ("position", "digits", "fields"),
        [
            (5, "", ["expected_head_hash"]),
            (0, "ab" * 32, ["expected_head_position"]),
            (-1, "xy" * 32, ["expected_head_position", "expected_head_hash"]),
            (5, "ab" * 31, ["expected_head_hash"]),
        ],
    )
    def test_half_a_head_is_refused(self, position: int, digits: str, fields: list[str]) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_verify_ledger(VerifyLedgerRequest(expected_head_position=position, expected_head_hash=digits))
        assert [violation.field for violation in refused.value.violations] == fields

    def test_head_is_read_in_either_case(self) -> None:
        request = VerifyLedgerRequest(expected_head_position=5, expected_head_hash="aB" * 32)
        assert parse_verify_ledger(request) == Head(5, b"\xab" * 32)
        assert parse_verify_ledger(VerifyLedgerRequest()) is None


def sealing(scene: Scene, interval_s: float = 0.0) -> AbstractAsyncContextManager[None]:
    """A worker that seals."""
    return working(scene.bank.url, lambda database: Chain(database, interval_s).run())


class TestWorker:
    async def test_transfer_is_sealed_when_it_has_waited(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chain, "CHAIN_POLL_S", 0.02)
        transfer_id = await self.sequenced(scene)
        async with sealing(scene, interval_s=60):
            await asyncio.sleep(0.2)
            assert (await scene.head()).block_count == 3
        async with sealing(scene):
            await eventually(lambda: self.has_blocks(scene, 4))
            assert (await scene.blocks())[-1].transfer_ids == [transfer_id]
            # Events of other types wait for a transfer, or for a block's full size.
            await scene.bank.pool.execute("INSERT INTO events (type, subject_id) VALUES ('x', gen_random_uuid())")
            async with scene.bank.database.connection() as connection:
                await update_event_positions(connection, after_id=0)
            await asyncio.sleep(0.2)
            assert (await scene.head()).block_count == 4
        assert await scene.bank.adds_up()

    async def test_full_block_does_not_wait(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(chain, "CHAIN_POLL_S", 0.02)
        monkeypatch.setattr(chain, "CHAIN_BLOCK_POSITIONS", 4)
        for _ in range(10):
            await self.sequenced(scene)
        async with sealing(scene, interval_s=60):
            await eventually(lambda: self.has_blocks(scene, 5))
            await asyncio.sleep(0.1)
        assert [block.last_position - block.first_position for block in await scene.blocks()][3:] == [3, 3]
        assert await scene.bank.adds_up()

    async def test_second_worker_seals_once_the_first_is_gone(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(chain, "CHAIN_POLL_S", 0.02)
        monkeypatch.setattr(chain, "CHAIN_STANDBY_POLL_S", 0.05)
        holders = "SELECT array_agg(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND granted"
        async with sealing(scene):
            await eventually(lambda: scene.bank.pool.fetchval(holders))
            (first,) = await scene.bank.pool.fetchval(holders)
            async with sealing(scene):
                await asyncio.sleep(0.2)
                assert await scene.bank.pool.fetchval(holders) == [first]
                await scene.bank.pool.execute("SELECT pg_terminate_backend($1)", first)
                await self.sequenced(scene)
                await eventually(lambda: self.has_blocks(scene, 4))
        assert await scene.bank.adds_up()

    async def test_two_that_seal_at_once_make_no_fork(self, scene: Scene) -> None:
        await self.sequenced(scene)
        head = await scene.head()
        async with scene.bank.database.connection() as one, scene.bank.database.connection() as other:
            results = await asyncio.gather(
                *(seal(connection, head, head.position + 1) for connection in (one, other)), return_exceptions=True
            )
        assert sorted(type(result).__name__ for result in results) == ["Head", "UniqueViolationError"]
        assert await scene.bank.adds_up()

    @staticmethod
    async def sequenced(scene: Scene) -> UUID:
        """A new transfer whose event has its position."""
        transfer_id = await scene.post(1)
        async with scene.bank.database.connection() as connection:
            await update_event_positions(connection, after_id=0)
        return transfer_id

    @staticmethod
    async def has_blocks(scene: Scene, count: int) -> bool:
        return (await scene.head()).block_count >= count


async def columns_of(scene: Scene, table: str) -> list[tuple[str, str]]:
    """Every column, and an expression for another value of it."""
    rows = await scene.bank.pool.fetch(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1", table
    )
    return [(row["column_name"], CHANGED[row["data_type"]].format(row["column_name"])) for row in rows]


async def sealed_ids(scene: Scene) -> list[UUID]:
    return [transfer_id for block in await scene.blocks() for transfer_id in block.transfer_ids]


async def returning(scene: Scene, statement: str) -> str:
    """Change something as the owner of the tables, and tell what the statement returns."""
    connection = await asyncpg.connect(scene.bank.owner_url)
    value: str = await connection.fetchval(statement)
    await connection.close()
    return value
