"""Webhooks and the workers that share them: what a dead receiver costs, and what becomes of a worker's webhooks."""

import asyncio
import random
from time import monotonic
from uuid import uuid4

from bankdb import webhooks as queries
from bankdb.models import Webhook

from tests.worker.surroundings import eventually
from tests.worker.webhooks.conftest import QUICK, Scene
from tests.worker.webhooks.receiver import Message, Receiver, answering
from tests.worker.webhooks.test_delivering import cursors, in_order
from worker.settings import WEBHOOK_PENDING_MAX
from worker.webhooks.dispatcher import Dispatcher
from worker.webhooks.rounds import Patience


class TestBacklog:
    async def test_dead_receiver_costs_no_more_room_than_the_bound(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await receiver.kill()
        webhook, _ = await scene.add(receiver)
        for _ in range(8):
            await scene.happen(count=WEBHOOK_PENDING_MAX // 4)
        async with scene.delivering():
            await eventually(lambda: self.pending(scene, webhook, WEBHOOK_PENDING_MAX))
            await asyncio.sleep(0.5)
        states = await scene.states(webhook)
        assert WEBHOOK_PENDING_MAX <= states["PENDING"] < 2 * WEBHOOK_PENDING_MAX

    async def pending(self, scene: Scene, webhook: Webhook, count: int) -> bool:
        return (await scene.states(webhook)).get("PENDING", 0) >= count

    async def backlog(self, scene: Scene, count: int) -> tuple[Receiver, Webhook]:
        """A webhook with so many pending deliveries, each of a subject of its own, that have failed once."""
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        receiver.reply = answering(500)
        for _ in range(count):
            await scene.happen()
        await scene.round()
        assert await scene.states(webhook) == {"PENDING": count}
        receiver.received.clear()
        receiver.reply = answering(200)
        await scene.bank.alter("UPDATE webhooks SET due_time = now(), retry_time = NULL")
        return receiver, webhook

    async def test_what_is_due_behind_a_full_window_of_waiting_ones_begins_no_round(self, scene: Scene) -> None:
        receiver, _ = await self.backlog(scene, 4)
        await scene.bank.alter("UPDATE webhook_deliveries SET next_attempt_time = now() + interval '1 h'")
        await scene.bank.alter(
            "UPDATE webhook_deliveries SET next_attempt_time = now() WHERE position ="
            " (SELECT max(position) FROM webhook_deliveries)"
        )
        await scene.due_rounds(Patience(pending_max=3))
        assert receiver.received == []
        wait_s = await scene.bank.value("SELECT extract(EPOCH FROM due_time - now()) FROM webhooks")
        assert 3000 < wait_s < 4000

    async def test_round_that_ends_a_full_window_is_followed_by_another(self, scene: Scene) -> None:
        receiver, webhook = await self.backlog(scene, 3)
        await scene.happen()
        patience = Patience(pending_max=3)
        await scene.round(patience)
        assert (len(receiver.received), await scene.states(webhook)) == (3, {"DELIVERED": 3})
        await scene.due_rounds(patience)
        assert len(receiver.received) == 4

    async def test_webhook_with_more_to_do_goes_to_the_end_of_the_line(self, scene: Scene) -> None:
        receiver, webhook = await self.backlog(scene, 4)
        await scene.bank.alter("UPDATE webhook_deliveries SET next_attempt_time = now() - interval '1 h'")
        began = await scene.bank.value("SELECT clock_timestamp()")
        await scene.due_rounds(Patience(pending_max=2))
        assert len(receiver.received) == 2
        assert (await scene.row(webhook))["due_time"] > began


class TestWorkers:
    async def test_two_workers_share_webhooks_and_keep_the_order(self, scene: Scene) -> None:
        receivers = [await scene.receiver() for _ in range(3)]
        for receiver in receivers:
            await scene.add(receiver)
        subjects = [uuid4() for _ in range(10)]
        async with scene.delivering(), scene.delivering():
            for _ in range(100):
                await scene.happen(subject_id=random.choice(subjects))
            for receiver in receivers:
                await eventually(lambda: len(cursors(receiver)) == 100, within_s=30)  # noqa: B023 - awaited here
        for receiver in receivers:
            assert in_order(receiver)
            assert len(receiver.received) == 100

    async def test_worker_that_stops_gives_its_webhooks_back(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(30)

        receiver.reply = reply
        await scene.happen()
        async with scene.delivering(grace_s=0.1):
            await eventually(lambda: receiver.at_once)
            assert (await scene.row(webhook))["lease_expire_time"] is not None
        row = await scene.row(webhook)
        assert (row["lease_expire_time"], row["due_time"] is not None) == (None, True)
        receiver.reply = answering(200)
        async with scene.delivering(QUICK):
            await eventually(lambda: receiver.received)

    async def test_worker_that_stops_late_leaves_the_lease_of_another_alone(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(30)

        receiver.reply = reply
        await scene.happen()
        async with scene.delivering(grace_s=0.1):
            await eventually(lambda: receiver.at_once)
            await scene.bank.alter("UPDATE webhooks SET lease_expire_time = now() + interval '1 h', due_time = NULL")
            other = (await scene.row(webhook))["lease_expire_time"]
        row = await scene.row(webhook)
        assert (row["lease_expire_time"], row["due_time"]) == (other, None)

    async def test_webhook_of_a_worker_that_is_gone_is_taken_when_its_lease_runs_out(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await scene.add(receiver)
        await scene.happen()
        began = monotonic()
        async with scene.bank.database.connection() as connection:
            await queries.mark_webhooks_leased(connection, lease_s=0.5, is_troubled=False, count_max=1)
        async with scene.delivering():
            await eventually(lambda: receiver.received)
        assert monotonic() - began > 0.4

    async def test_round_that_outlived_its_lease_changes_nothing_of_the_webhook(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await scene.bank.alter("UPDATE webhooks SET lease_expire_time = now() + interval '1 h'")
            await answering(500)(message, writer)

        receiver.reply = reply
        await scene.happen()
        async with scene.dispatcher() as dispatcher:
            await dispatcher.tell()
            await dispatcher.begin_rounds()
            await eventually(lambda: self.no_rounds(scene, dispatcher))
        row = await scene.row(webhook)
        assert row["failure_count"] == 0
        assert row["lease_expire_time"] is not None

    async def no_rounds(self, scene: Scene, dispatcher: Dispatcher) -> bool:
        return not await scene.lease(dispatcher)
