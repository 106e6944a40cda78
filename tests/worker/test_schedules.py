"""Scheduled transfers are made exactly once, whatever happens to the workers that make them."""

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.database import CONNECTION_ERRORS, Database, open_pool
from server.errors import Unavailable
from server.ledger.verification import verify
from tests.worker.surroundings import Bank, eventually, worker_process
from worker.schedules import Schedules


class Scene:
    """Alice and Bob; Alice has 1,000 from the cash account."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.schedules = Schedules(bank.database)

    async def begin(self) -> "Scene":
        self.alice, self.source = await self.person("alice")
        self.bob, self.destination = await self.person("bob")
        await self.pay_in(1_000)
        return self

    async def person(self, username: str) -> tuple[UUID, UUID]:
        user, _, _ = await self.bank.sign_up(username)
        await self.bank.stored.pool.execute("UPDATE users SET email_verified = true WHERE id = $1", user.id)
        account_id = uuid4()
        await self.bank.stored.pool.execute(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", account_id, user.id
        )
        return user.id, account_id

    async def pay_in(self, amount_minor: int) -> None:
        """Book a deposit as the service does, without its calls."""
        cash = await self.bank.value(
            "SELECT id FROM accounts WHERE kind = 'SYSTEM_CASH' AND currency_code = 'USD' ORDER BY id LIMIT 1"
        )
        banker = await self.bank.value("SELECT id FROM users WHERE username = 'bob'")
        transfer_id = uuid4()
        async with self.bank.stored.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO transfers (id, kind, source_account_id, destination_account_id, amount_minor,"
                " currency_code, initiator_user_id, request_id, description, source_sequence, destination_sequence,"
                " create_time) VALUES ($1, 'DEPOSIT', $2, $3, $4, 'USD', $5, $1, '', 1, 1, now())",
                transfer_id,
                cash,
                self.source,
                amount_minor,
                banker,
            )
            for account_id, amount in ((cash, -amount_minor), (self.source, amount_minor)):
                await connection.execute(
                    "INSERT INTO entries VALUES ($1, 1, $2, $3, $3, now())", account_id, transfer_id, amount
                )
                await connection.execute(
                    "UPDATE accounts SET posted_minor = $2, entry_count = 1, last_entry_time = now() WHERE id = $1",
                    account_id,
                    amount,
                )
            await connection.execute(
                "INSERT INTO events (type, subject_id) VALUES ('transfer.posted', $1)", transfer_id
            )

    async def schedule(self, amount_minor: int = 1, reference: str | None = None, due_in_s: float = -1) -> UUID:
        schedule_id = uuid4()
        await self.bank.stored.pool.execute(
            "INSERT INTO scheduled_transfers (id, creator_user_id, source_account_id, destination_account_id,"
            " amount_minor, currency_code, description, reference, execute_time, create_time, update_time)"
            " VALUES ($1, $2, $3, $4, $5, 'USD', 'rent', $6, now() + make_interval(secs => $7), now(), now())",
            schedule_id,
            self.alice,
            self.source,
            self.destination,
            amount_minor,
            reference,
            due_in_s,
        )
        return schedule_id

    async def end(self, schedule_id: UUID) -> tuple[str, str | None]:
        row = await self.bank.stored.pool.fetchrow(
            "SELECT state, failure_reason FROM scheduled_transfers WHERE id = $1", schedule_id
        )
        return row["state"], row["failure_reason"]

    async def money(self) -> tuple[int, int]:
        return (
            await self.bank.value("SELECT posted_minor FROM accounts WHERE id = $1", self.source),
            await self.bank.value("SELECT posted_minor FROM accounts WHERE id = $1", self.destination),
        )

    async def open_count(self) -> int:
        count: int = await self.bank.value("SELECT count(*) FROM scheduled_transfers WHERE state = 'SCHEDULED'")
        return count

    async def is_consistent(self, posted: int) -> bool:
        """So many were posted, each with one transfer of its own and one event, and the ledger adds up."""
        ids = await self.bank.stored.pool.fetch(
            "SELECT DISTINCT transfer_id FROM scheduled_transfers WHERE state = 'POSTED'"
        )
        transfers = await self.bank.value("SELECT count(*) FROM transfers WHERE kind = 'TRANSFER'")
        events = await self.bank.value("SELECT count(*) FROM events WHERE type = 'scheduled_transfer.posted'")
        assert (len(ids), transfers, events) == (posted, posted, posted)
        verdict = await verify(self.bank.database)
        assert verdict.differences == []
        return True


@pytest.fixture
async def scene(bank: Bank) -> Scene:
    return await Scene(bank).begin()


class TestExecution:
    async def test_due_one_is_posted_once(self, scene: Scene) -> None:
        due, not_due = await scene.schedule(30, "r1"), await scene.schedule(due_in_s=60)
        assert [await scene.schedules.execute_due() for _ in range(2)] == [1, 0]
        assert (await scene.end(due), await scene.end(not_due)) == (("POSTED", None), ("SCHEDULED", None))
        assert await scene.money() == (970, 30)
        row = await scene.bank.stored.pool.fetchrow(
            "SELECT transfers.* FROM transfers INNER JOIN scheduled_transfers ON transfer_id = transfers.id"
        )
        assert (row["kind"], row["initiator_user_id"], row["description"], row["reference"]) == (
            *("TRANSFER", scene.alice, "rent", "r1"),
        )
        assert await scene.is_consistent(1)

    async def test_refusal_is_final(self, scene: Scene) -> None:
        schedule_id = await scene.schedule(1_001)
        await scene.schedules.execute_due()
        await scene.bank.alter("UPDATE accounts SET overdraft_limit_minor = 1 WHERE kind = 'CUSTOMER'")
        assert await scene.schedules.execute_due() == 0
        assert await scene.end(schedule_id) == ("FAILED", "INSUFFICIENT_FUNDS")
        event = await scene.bank.stored.pool.fetchrow(
            "SELECT type, data FROM events WHERE subject_id = $1", schedule_id
        )
        assert event["type"] == "scheduled_transfer.failed"
        assert "INSUFFICIENT_FUNDS" in event["data"]

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("UPDATE accounts SET state = 'FROZEN' WHERE kind = 'CUSTOMER'", "ACCOUNT_FROZEN"),
            ("UPDATE users SET disabled = true", "UNAUTHENTICATED"),
            ("UPDATE users SET email_verified = false", "EMAIL_NOT_VERIFIED"),
        ],
        ids=["frozen", "disabled", "unverified"],
    )
    async def test_rules_of_the_moment_decide(self, scene: Scene, change: str, reason: str) -> None:
        schedule_id = await scene.schedule()
        await scene.bank.alter(change)
        assert await scene.schedules.execute_due() == 1
        assert await scene.end(schedule_id) == ("FAILED", reason)
        assert await scene.money() == (1_000, 0)

    async def test_one_batch_spends_in_order_of_time(self, scene: Scene) -> None:
        late = await scene.schedule(600, due_in_s=-1)
        early = await scene.schedule(600, due_in_s=-2)
        assert await scene.schedules.execute_due() == 2
        assert await scene.end(early) == ("POSTED", None)
        assert await scene.end(late) == ("FAILED", "INSUFFICIENT_FUNDS")

    async def test_same_reference_is_used_by_the_first(self, scene: Scene) -> None:
        second, first = await scene.schedule(1, "r", due_in_s=-1), await scene.schedule(1, "r", due_in_s=-2)
        await scene.schedules.execute_due()
        assert await scene.end(first) == ("POSTED", None)
        assert await scene.end(second) == ("FAILED", "DUPLICATE_REFERENCE")

    async def test_locked_account_delays_its_own_only(self, scene: Scene) -> None:
        waiting = await scene.schedule(due_in_s=-2)
        _, other = await scene.person("carol")
        scene.source, blocked = other, scene.source
        free = await scene.schedule()
        async with scene.bank.stored.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", blocked)
            assert await scene.schedules.execute_due() == 1
            assert await scene.end(waiting) == ("SCHEDULED", None)
            # Not the owner of this account: refused, hence decided.
            assert await scene.end(free) == ("FAILED", "NOT_FOUND")
        assert await scene.schedules.execute_due() == 1
        assert await scene.end(waiting) == ("POSTED", None)

    async def test_more_than_one_batch_is_executed_in_one_round(self, scene: Scene) -> None:
        for _ in range(130):
            await scene.schedule()
        assert await scene.schedules.execute_due() == 130
        assert await scene.money() == (870, 130)
        assert await scene.is_consistent(130)


class TestExactlyOnce:
    async def test_workers_at_once_share_the_work(self, scene: Scene) -> None:
        for _ in range(60):
            await scene.schedule()
        others = [await open_pool(scene.bank.stored.app_url, size=2) for _ in range(3)]
        async with scene.bank.stored.pool.acquire() as connection, connection.transaction():
            # So that all of them are at it when the first goes on.
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", scene.source)
            working = [asyncio.create_task(Schedules(Database(pool)).execute_due()) for pool in others]
            await asyncio.sleep(0.1)
        counts = await asyncio.gather(*working)
        for pool in others:
            await pool.close()
        assert sum(counts) + await scene.schedules.execute_due() == 60
        assert await scene.money() == (940, 60)
        assert await scene.is_consistent(60)

    async def test_executed_again_by_hand_it_finds_the_first_transfer(self, scene: Scene) -> None:
        schedule_id = await scene.schedule()
        await scene.schedules.execute_due()
        transfer_id = await scene.bank.value("SELECT transfer_id FROM scheduled_transfers")
        await scene.bank.alter("UPDATE scheduled_transfers SET state = 'SCHEDULED', transfer_id = NULL")
        await scene.schedules.execute_due()
        assert await scene.end(schedule_id) == ("POSTED", None)
        assert await scene.bank.value("SELECT transfer_id FROM scheduled_transfers") == transfer_id
        assert await scene.money() == (999, 1)

    async def test_connections_killed_at_any_moment_lose_and_repeat_nothing(self, scene: Scene) -> None:
        choice = random.Random(11)
        for _ in range(80):
            await scene.schedule()

        async def kill() -> None:
            for _ in range(40):
                await asyncio.sleep(choice.random() * 0.03)
                await scene.bank.stored.pool.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = 'doomed' AND datname = current_database()"
                )

        async def work() -> None:
            pool = await open_pool(scene.bank.stored.app_url, size=1, settings={"application_name": "doomed"})
            while await scene.open_count():
                with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError, Unavailable):
                    await Schedules(Database(pool)).execute_due()
                if choice.random() < 0.3 and await scene.bank.value("SELECT count(*) FROM transfers") < 200:
                    await scene.schedule()
            pool.terminate()

        await asyncio.gather(kill(), work(), work())
        posted = await scene.bank.value("SELECT count(*) FROM scheduled_transfers")
        assert await scene.money() == (1_000 - posted, posted)
        assert await scene.is_consistent(posted)

    async def test_killed_worker_processes_leave_the_rest_to_the_next(self, scene: Scene, tmp_path: Path) -> None:
        for _ in range(300):
            await scene.schedule(due_in_s=random.random() * 2)
        for pause_s in (0.0, 0.3, 0.6):
            async with worker_process(scene.bank.environment, tmp_path) as worker:
                await eventually(worker.is_ready)
                await asyncio.sleep(pause_s)
                await worker.kill()
        async with worker_process(scene.bank.environment, tmp_path):
            await eventually(lambda: none_open(scene))
        assert await scene.money() == (700, 300)
        assert await scene.is_consistent(300)


async def none_open(scene: Scene) -> bool:
    return await scene.open_count() == 0
