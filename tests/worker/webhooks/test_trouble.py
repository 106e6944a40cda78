"""Receivers that fail, are slow or away: tried again, asked ever less, disabled; others do not wait for them."""

import asyncio
import socket
import ssl
from datetime import timedelta
from threading import Event
from time import monotonic
from typing import Any

import pytest
from bankdb import webhooks
from bankdb.models import Webhook

from server.webhooks.operations import WebhookChange
from server.webhooks.targets import Resolver, Targets
from tests.worker.surroundings import eventually
from tests.worker.webhooks.conftest import QUICK, Scene
from tests.worker.webhooks.receiver import Message, Receiver, answering
from tests.worker.webhooks.test_delivering import cursors, in_order
from worker.settings import WEBHOOK_REQUESTS_AT_ONCE, WEBHOOK_TROUBLE_PAUSE_MAX_S
from worker.webhooks.dispatcher import Dispatcher
from worker.webhooks.posting import Poster
from worker.webhooks.rounds import _JITTER, Patience, Rounds


class TestTrouble:
    async def test_receiver_that_was_killed_gets_everything_when_it_is_back(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        async with scene.delivering():
            for _ in range(10):
                await scene.happen(count=3)
            await eventually(lambda: len(receiver.received) > 5)
            await receiver.kill()
            for _ in range(10):
                await scene.happen(count=3)
            await asyncio.sleep(0.5)
            await receiver.start()
            await eventually(lambda: len(cursors(receiver)) == 60)
            assert in_order(receiver)
            await eventually(lambda: scene.delivered(60))
            # Deliveries are marked one by one, the webhook when the round ends.
            await eventually(lambda: self.is_well(scene, webhook))

    async def is_well(self, scene: Scene, webhook: Webhook) -> bool:
        row = await scene.row(webhook)
        return (row["failure_count"], row["failing_since_time"]) == (0, None)

    async def test_pauses_grow_and_deliveries_keep_their_own(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        patience = Patience(retry_pauses_s=(5.0, 30.0, 3600.0))
        for expected_s in (5.0, 30.0, 3600.0, 3600.0):
            async with scene.dispatcher(patience) as dispatcher:
                await scene.bank.alter("UPDATE webhooks SET due_time = now(), retry_time = NULL")
                await scene.bank.alter("UPDATE webhook_deliveries SET next_attempt_time = now()")
                await dispatcher.begin_rounds()
                await eventually(lambda: self.no_rounds(scene, dispatcher))
            (delivery,) = await scene.deliveries(webhook)
            pause_s = (delivery["next_attempt_time"] - delivery["last_attempt_time"]).total_seconds()
            assert 0.79 * expected_s < pause_s < 1.21 * expected_s
            assert (delivery["state"], delivery["failure"], delivery["response_status"]) == ("PENDING", "STATUS", 503)
        row = await scene.row(webhook)
        assert row["failure_count"] == 4
        assert timedelta(seconds=14) < row["retry_time"] - delivery["last_attempt_time"] < timedelta(seconds=18)
        assert row["due_time"] == row["retry_time"]

    async def no_rounds(self, scene: Scene, dispatcher: Dispatcher) -> bool:
        return not await scene.lease(dispatcher)

    async def test_receiver_that_is_back_is_noticed_although_no_delivery_is_due(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen(count=2)
        for _ in range(7):
            await scene.round(Patience())
        before, _ = await scene.deliveries(webhook)
        await self.probe(scene)
        after, _ = await scene.deliveries(webhook)
        assert (before["attempt_count"], after["attempt_count"]) == (7, 8)
        assert (after["state"], after["first_attempt_time"]) == ("PENDING", before["first_attempt_time"])
        receiver.reply = answering(200)
        await self.probe(scene)
        await scene.due_rounds(Patience())
        assert [message.cursor for message in receiver.received] == [1] * 9 + [2]

    async def probe(self, scene: Scene) -> None:
        """A round as if the pause of the webhook were over, and that of its deliveries were not."""
        due_in_s = (
            "SELECT extract(EPOCH FROM next_attempt_time - now()) FROM webhook_deliveries WHERE attempt_count > 0"
        )
        assert await scene.bank.value(due_in_s) > 6 * 3600
        wait_s = await scene.bank.value("SELECT extract(EPOCH FROM due_time - now()) FROM webhooks")
        assert 60 < wait_s <= WEBHOOK_TROUBLE_PAUSE_MAX_S
        await scene.bank.alter("UPDATE webhooks SET due_time = now()")
        await scene.due_rounds(Patience())

    async def test_delivery_is_tried_until_its_time_is_over(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        patience = Patience(retry_pauses_s=(5.0, 24 * 3600.0), given_up_after_s=3600.0)
        for _ in range(2):
            await scene.round(patience)
        (delivery,) = await scene.deliveries(webhook)
        assert delivery["state"] == "PENDING"
        tried_for = delivery["next_attempt_time"] - delivery["first_attempt_time"]
        assert timedelta(seconds=3600) <= tried_for < timedelta(seconds=3660)
        await scene.bank.alter("UPDATE webhook_deliveries SET first_attempt_time = now() - interval '1 h'")
        await scene.round(patience)
        assert (await scene.states(webhook), len(receiver.received)) == ({"FAILED": 1}, 3)

    async def test_delivery_that_is_redelivered_begins_with_the_short_pauses_again(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        patience = Patience(retry_pauses_s=(5.0, 24 * 3600.0))
        for _ in range(2):
            await scene.round(patience)
        await scene.bank.alter("UPDATE webhook_deliveries SET first_attempt_time = now() - interval '10 d'")
        await scene.round(patience)
        (delivery,) = await scene.deliveries(webhook)
        assert delivery["state"] == "FAILED"
        await scene.redeliver(webhook, delivery["id"])
        await scene.round(patience)
        (delivery,) = await scene.deliveries(webhook)
        assert (delivery["state"], delivery["attempt_count"]) == ("PENDING", 1)
        assert delivery["next_attempt_time"] - delivery["last_attempt_time"] < timedelta(seconds=7)

    async def test_try_from_before_a_redelivery_does_not_put_off_the_new_series(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        patience = Patience(retry_pauses_s=(5.0, 24 * 3600.0))
        await scene.round(patience)
        (delivery,) = await scene.deliveries(webhook)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await scene.redeliver(webhook, delivery["id"])
            await answering(503)(message, writer)

        receiver.reply = reply
        await scene.round(patience)
        assert len(receiver.received) == 2
        (restarted,) = await scene.deliveries(webhook)
        assert (restarted["state"], restarted["attempt_count"], restarted["first_attempt_time"]) == ("PENDING", 0, None)
        assert await scene.bank.value("SELECT next_attempt_time <= now() FROM webhook_deliveries")

    async def troubled(self, scene: Scene, receiver: Receiver) -> Webhook:
        """A webhook with a pending delivery at which nothing has succeeded for long: its rounds are far apart."""
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        await scene.round()
        await scene.bank.alter("UPDATE webhooks SET failure_count = 9, failing_since_time = now() - interval '1 h'")
        return webhook

    async def test_receiver_moved_while_a_round_fails_is_told_at_once(self, scene: Scene) -> None:
        old, new = await scene.receiver(), await scene.receiver()
        webhook = await self.troubled(scene, old)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await scene.webhooks.update(WebhookChange(webhook.id, url=new.url), scene.caller(scene.alice))
            await answering(503)(message, writer)

        old.reply = reply
        await scene.round(Patience())
        row = await scene.row(webhook)
        assert (row["failure_count"], row["failing_since_time"]) == (0, None)
        await scene.due_rounds(Patience())
        assert (len(new.received), await scene.states()) == (1, {"DELIVERED": 1})

    async def test_redelivery_asked_for_while_a_round_fails_is_tried_at_once(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook = await self.troubled(scene, receiver)
        (delivery,) = await scene.deliveries(webhook)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await scene.redeliver(webhook, delivery["id"])
            await answering(503)(message, writer)

        receiver.reply = reply
        await scene.round(Patience())
        await scene.due_rounds(Patience())
        receiver.reply = answering(200)
        await scene.due_rounds(Patience())
        assert (len(receiver.received), await scene.states()) == (4, {"DELIVERED": 1})

    async def test_redelivery_in_the_last_try_of_a_series_keeps_the_order(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen(count=2)
        await scene.round()
        first, _ = await scene.deliveries(webhook)
        # The next try is the last one, and no outage ends the round after it.
        await scene.bank.alter(
            "UPDATE webhook_deliveries SET first_attempt_time = now() - interval '10 d' WHERE attempt_count > 0;"
            "UPDATE webhooks SET failure_count = 0, failing_since_time = NULL"
        )

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await scene.redeliver(webhook, first["id"])
            await answering(503)(message, writer)

        receiver.reply = reply
        await scene.round()
        assert await scene.states(webhook) == {"PENDING": 2}
        receiver.reply = answering(200)
        await scene.round()
        assert [message.cursor for message in receiver.received] == [1, 1, 1, 2]

    async def test_repaired_webhook_delivers_at_once_what_failed_before_it_was_disabled(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(503)
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        await scene.round(Patience(retry_pauses_s=(24 * 3600.0,), disabled_after_s=0.0))
        assert await self.disabled(scene, webhook)
        receiver.reply = answering(200)
        await scene.enable(webhook)
        await scene.due_rounds()
        assert await scene.delivered(1)

    def test_webhook_is_disabled_before_its_first_delivery_is_given_up(self) -> None:
        patience = Patience()
        longest_pause_s = patience.retry_pauses_s[-1] * (1 + _JITTER) + patience.trouble_pause_max_s
        assert patience.disabled_after_s + longest_pause_s < patience.given_up_after_s

    async def test_dead_receiver_is_asked_by_one_request_at_a_time(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(500)
        webhook, _ = await scene.add(receiver)
        for _ in range(30):
            await scene.happen()
        async with scene.delivering(Patience((60.0,), trouble_pause_max_s=0.3)):
            await eventually(lambda: self.failing(scene, webhook))
            before, began = len(receiver.received), monotonic()
            await asyncio.sleep(1.5)
            asked = len(receiver.received) - before
        assert asked <= 2 + (monotonic() - began) / 0.3
        assert receiver.at_once_most <= WEBHOOK_REQUESTS_AT_ONCE

    async def failing(self, scene: Scene, webhook: Webhook) -> bool:
        return bool((await scene.row(webhook))["failure_count"])

    async def test_end_of_an_outage_hastens_what_was_put_off(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(500)
        webhook, _ = await scene.add(receiver)
        for _ in range(12):
            await scene.happen()
        async with scene.delivering(Patience((600.0,), trouble_pause_max_s=0.1)):
            await eventually(lambda: self.all_tried(scene, webhook))
            receiver.reply = answering(200)
            await scene.happen()
            await eventually(lambda: scene.delivered(13))

    async def all_tried(self, scene: Scene, webhook: Webhook) -> bool:
        rows = await scene.deliveries(webhook)
        return len(rows) == 12 and all(row["attempt_count"] for row in rows)

    @pytest.mark.parametrize("how", ["dead", "silent", "rude"])
    async def test_others_do_not_wait_for_it(self, scene: Scene, how: str) -> None:
        good = await scene.receiver()
        await scene.add(good)
        for _ in range(6):
            bad = await scene.receiver()
            if how == "dead":
                await bad.kill()

            async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
                if how == "silent":
                    await asyncio.sleep(30)
                writer.write(b"\0")

            bad.reply = reply
            await scene.add(bad)
        began = monotonic()
        async with scene.delivering(timeout_s=28):
            for _ in range(20):
                await scene.happen()
            await eventually(lambda: len(good.received) == 20)
            # Also when it goes on for a while.
            for _ in range(5):
                await scene.happen()
            await eventually(lambda: len(good.received) == 25)
            # No request to a silent one has come to an end.
            assert monotonic() - began < 25

    async def test_want_of_room_to_look_up_its_name_is_no_failure_of_a_receiver(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer, getaddrinfo = Event(), socket.getaddrinfo

        def look_up(host: str, *arguments: Any, **named: Any) -> Any:
            if host == "dead.example":
                answer.wait(30)
            return getaddrinfo("localhost" if host.endswith(".example") else host, *arguments, **named)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.bank.alter("UPDATE webhooks SET url = replace(url, '127.0.0.1', 'shop.example')")
        await scene.happen()
        resolver = Resolver(at_once=1, wait_s=0.05)
        poster = Poster(Targets(resolver, private=True), ssl.create_default_context())
        dead = asyncio.create_task(resolver("dead.example", 443))
        await asyncio.sleep(0)
        await self.round_by(scene, poster)
        (delivery,) = await scene.deliveries(webhook)
        assert (delivery["state"], delivery["attempt_count"], delivery["failure"]) == ("PENDING", 0, None)
        row = await scene.row(webhook)
        assert (row["failure_count"], row["retry_time"], row["lease_expire_time"]) == (0, None, None)
        answer.set()
        await dead
        await self.round_by(scene, poster)
        assert await scene.delivered(1)

    async def round_by(self, scene: Scene, poster: Poster) -> None:
        """A round of the one webhook, which is due."""
        async with scene.bank.database.connection() as connection:
            (lease,) = await webhooks.mark_webhooks_leased(connection, is_troubled=False, lease_s=30, count_max=9)
        await Rounds(scene.bank.database, scene.secrets, QUICK).run(lease, poster, 1)

    async def test_slow_receiver_has_a_place_of_its_own(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(2.2)
            await answering(200)(message, writer)

        receiver.reply = reply
        await scene.happen()
        async with scene.delivering():
            await eventually(lambda: self.slow(scene, webhook))
            receiver.reply = answering(200)
            await scene.happen()
            await eventually(lambda: self.quick(scene, webhook))

    async def slow(self, scene: Scene, webhook: Webhook) -> bool:
        return bool((await scene.row(webhook))["is_slow"])

    async def quick(self, scene: Scene, webhook: Webhook) -> bool:
        return not await self.slow(scene, webhook)

    async def test_webhook_is_disabled_after_long_failure_and_its_owner_told(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        receiver.reply = answering(500)
        webhook, _ = await scene.add(receiver)
        await scene.bank.alter("DELETE FROM outbox; DELETE FROM audit_events")
        await scene.happen()
        patience = Patience((0.05,), trouble_pause_max_s=0.05, disabled_after_s=0.5)
        async with scene.delivering(patience):
            await eventually(lambda: self.disabled(scene, webhook))
            asked = len(receiver.received)
            await scene.happen()
            await asyncio.sleep(0.5)
            assert len(receiver.received) == asked > 1
        (event,) = await scene.bank.stored.pool.fetch("SELECT * FROM audit_events")
        assert (event["type"], event["user_id"], event["actor_user_id"]) == ("WEBHOOK_DISABLED", scene.alice.id, None)
        (job,) = await scene.bank.stored.pool.fetch("SELECT * FROM outbox")
        await scene.bank.attempt(job["job"], job["id"])
        (mail,) = scene.bank.sink.accepted
        assert (mail["To"], mail["Subject"]) == ("alice@example.org", "A webhook was disabled")
        plain = mail.get_body(("plain",))
        assert plain is not None
        assert "Address" not in plain.get_content()
        # Nothing was given up: it goes on when the receiver is well again.
        receiver.reply = answering(200)
        await scene.enable(webhook)
        async with scene.delivering():
            await eventually(lambda: scene.delivered(2))

    async def disabled(self, scene: Scene, webhook: Webhook) -> bool:
        return bool((await scene.row(webhook))["disable_reason"] == "FAILING")
