"""Events on their way to receivers: each at least once, in order per subject, whoever is slow, dead or killed."""

import asyncio
from uuid import uuid4

import pytest
from bankdb import events
from bankdb.models import Webhook

from server.caller import Role
from server.events.messages import render_server_sent
from server.events.operations import EventReader, Interest
from server.webhooks.operations import WebhookChange
from tests.worker.surroundings import eventually
from tests.worker.webhooks.conftest import Scene
from tests.worker.webhooks.receiver import Message, Receiver, answering
from worker.settings import WEBHOOK_REQUESTS_AT_ONCE
from worker.webhooks.rounds import Patience


def in_order(receiver: Receiver) -> bool:
    return all(cursors == sorted(cursors) for cursors in receiver.by_subject().values())


def cursors(receiver: Receiver) -> set[int]:
    return {message.cursor for message in receiver.received}


class TestDelivery:
    async def test_event_arrives_signed_and_is_written_down(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, secret = await scene.add(receiver)
        subject = await scene.happen()
        async with scene.delivering():
            await eventually(lambda: receiver.received)
            (message,) = receiver.received
            assert message.event["type"] == "user.created"
            assert message.event["subject_id"] == str(subject)
            assert message.headers["content-type"] == "application/json"
            assert message.is_signed_with(secret)
            assert len(message.signatures) == 1
            await eventually(lambda: scene.delivered(1))
            (delivery,) = await scene.deliveries(webhook)
            assert (str(delivery["id"]), delivery["state"]) == (message.id, "DELIVERED")
            assert (delivery["response_status"], delivery["attempt_count"], delivery["failure"]) == (200, 1, None)

    async def test_body_is_what_the_feed_tells_its_owner(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.happen(subject_id=scene.alice.id)
        async with scene.delivering():
            await eventually(lambda: receiver.received)
        interest = Interest(scene.alice.id, everything=False, types=frozenset())
        stretch = await EventReader(scene.bank.database).catch_up(interest, webhook.position)
        told = render_server_sent(stretch.facts[0], scene.caller(scene.alice)).data.decode()
        assert f'{{"event": {receiver.received[0].body.decode()}}}' in told
        assert receiver.received[0].event["user_created"]["username"] == "alice"

    async def test_only_what_is_the_owners_and_asked_for_is_sent(self, scene: Scene) -> None:
        some, everything, bobs = [await scene.receiver() for _ in range(3)]
        await scene.add(some, types=["hold.created"])
        await scene.add(everything)
        await scene.add(bobs, scene.bob)
        await scene.happen(scene.alice)
        await scene.happen(scene.alice, type_="hold.created", other=scene.bob)
        await scene.happen(scene.bob)
        async with scene.delivering():
            await eventually(lambda: len(everything.received) == len(bobs.received) == 2)
            await eventually(lambda: some.received)
        assert [message.event["type"] for message in some.received] == ["hold.created"]
        assert {m.event["type"] for m in bobs.received} == {"hold.created", "user.created"}
        assert len(everything.received) == 2

    async def test_what_happened_before_it_was_added_is_not_sent(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await scene.happen()
        await scene.add(receiver)
        subject = await scene.happen()
        async with scene.delivering():
            await eventually(lambda: receiver.received)
            await asyncio.sleep(0.3)
        assert list(receiver.by_subject()) == [str(subject)]

    async def test_webhook_of_an_admin_is_told_everything_as_long_as_they_are_one(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await scene.bank.alter("UPDATE users SET roles = '{DEPOSITOR,ADMIN}' WHERE username = 'alice'")
        webhook, _ = await scene.add(receiver, scene.alice, (), Role.ADMIN)
        bobs = await scene.happen(scene.bob)
        async with scene.delivering():
            await eventually(lambda: receiver.received)
            assert list(receiver.by_subject()) == [str(bobs)]
            await eventually(lambda: scene.delivered(1))
            receiver.reply = answering(500)
            await scene.happen(scene.bob)
            await eventually(lambda: len(receiver.received) > 1)
            # One is pending when the role is lost: it is not sent any more.
            await scene.bank.alter("UPDATE users SET roles = '{DEPOSITOR}' WHERE username = 'alice'")
            await eventually(lambda: self.ended(scene, webhook))
            receiver.reply = answering(200)
            await scene.happen(scene.bob)
            own = await scene.happen(scene.alice)
            await eventually(lambda: str(own) in receiver.by_subject())
        last = (await scene.deliveries(webhook))[1]
        assert (last["state"], last["failure"]) == ("FAILED", "NOT_VISIBLE")
        assert len(await scene.deliveries(webhook)) == 3

    async def ended(self, scene: Scene, webhook: Webhook) -> bool:
        return not (await scene.states(webhook)).get("PENDING")

    @pytest.mark.parametrize("wider", ["types", "role"])
    async def test_event_is_not_passed_over_when_more_is_asked_for_while_a_round_reads(
        self, scene: Scene, wider: str
    ) -> None:
        receiver = await scene.receiver()
        of_everybody = wider == "role"
        roles, types = ([Role.ADMIN], ()) if of_everybody else ([], ["hold.created"])
        webhook, _ = await scene.add(receiver, scene.alice, types, *roles)
        async with scene.holding("events") as holder:
            # The round has read for whom it looks, and waits for the feed.
            reading = asyncio.create_task(scene.round())
            await eventually(lambda: scene.waits_for("events"))
            if of_everybody:
                await scene.bank.alter("UPDATE users SET roles = '{DEPOSITOR,ADMIN}' WHERE username = 'alice'")
            else:
                await scene.webhooks.update(WebhookChange(webhook.id, types=[]), scene.caller(scene.alice))
            whose = scene.bob if of_everybody else scene.alice
            await holder.execute(
                "INSERT INTO events (type, subject_id, user_id) VALUES ('user.created', $1, $2)", uuid4(), whose.id
            )
            await events.update_event_positions(holder, after_id=0)
        await reading
        await scene.due_rounds()
        assert [message.event["type"] for message in receiver.received] == ["user.created"]
        assert len(await scene.deliveries(webhook)) == 1

    async def test_disabled_owner_gets_nothing_until_they_are_enabled(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.bank.alter("UPDATE users SET disabled = true WHERE username = 'alice'")
        await scene.happen()
        async with scene.delivering():
            await eventually(lambda: self.waits_long(scene, webhook))
            assert receiver.received == []
            await scene.bank.alter("UPDATE users SET disabled = false; UPDATE webhooks SET due_time = now()")
            await eventually(lambda: receiver.received)

    async def waits_long(self, scene: Scene, webhook: Webhook) -> bool:
        row = await scene.row(webhook)
        wait_s = await scene.bank.value("SELECT extract(EPOCH FROM due_time - now()) FROM webhooks")
        return row["lease_expire_time"] is None and wait_s is not None and wait_s > 60

    async def test_owner_disabled_while_a_round_runs_gets_nothing_more(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await scene.add(receiver)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await scene.bank.alter("UPDATE users SET disabled = true")
            await answering(200)(message, writer)

        receiver.reply = reply
        for _ in range(20):
            await scene.happen()
        async with scene.delivering():
            await eventually(lambda: receiver.received)
            await asyncio.sleep(0.5)
        assert len(receiver.received) <= WEBHOOK_REQUESTS_AT_ONCE

    async def test_disabled_webhook_goes_on_where_it_stopped(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        async with scene.delivering():
            await scene.happen()
            await eventually(lambda: receiver.received)
            await scene.webhooks.update(WebhookChange(webhook.id, enabled=False), scene.caller(scene.alice))
            for _ in range(3):
                await scene.happen()
            await asyncio.sleep(0.6)
            assert len(receiver.received) == 1
            await scene.enable(webhook)
            await eventually(lambda: len(cursors(receiver)) == 4)

    async def test_deleted_webhook_gets_nothing(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        await scene.webhooks.delete(webhook.id, scene.caller(scene.alice))
        async with scene.delivering():
            await asyncio.sleep(0.6)
        assert receiver.received == []

    async def test_redelivered_event_arrives_again_with_the_same_id(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.happen()
        async with scene.delivering():
            await eventually(lambda: scene.delivered(1))
            (delivery,) = await scene.deliveries(webhook)
            await scene.redeliver(webhook, delivery["id"])
            await eventually(lambda: len(receiver.received) == 2)
            assert receiver.received[0].id == receiver.received[1].id
            assert receiver.received[0].body == receiver.received[1].body

    async def test_both_secrets_sign_while_they_are_changed(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, first = await scene.add(receiver)
        second, _ = await scene.webhooks.rotate_secret(webhook.id, scene.caller(scene.alice), end_earlier=False)
        async with scene.delivering():
            await scene.happen()
            await eventually(lambda: receiver.received)
            message = receiver.received[0]
            assert len(message.signatures) == 2
            assert message.is_signed_with(first)
            assert message.is_signed_with(second)
            await scene.bank.alter("UPDATE webhook_secrets SET expire_time = now() WHERE expire_time IS NOT NULL")
            await scene.happen()
            await eventually(lambda: len(receiver.received) == 2)
            assert not receiver.received[1].is_signed_with(first)
            assert receiver.received[1].is_signed_with(second)

    async def test_secret_under_a_lost_key_sends_nothing_until_there_is_a_new_one(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.bank.alter("UPDATE webhook_secrets SET ciphertext = '\\x00112233445566778899aabbccddeeff'")
        await scene.happen()
        async with scene.delivering():
            await eventually(lambda: self.failed_by(scene, webhook, "SECRET"))
            assert receiver.received == []
            secret, _ = await scene.webhooks.rotate_secret(webhook.id, scene.caller(scene.alice), end_earlier=False)
            await eventually(lambda: receiver.received)
            assert receiver.received[0].is_signed_with(secret)

    async def failed_by(self, scene: Scene, webhook: Webhook, failure: str) -> bool:
        rows = await scene.deliveries(webhook)
        return bool(rows) and all(row["failure"] == failure for row in rows)


class TestOrder:
    async def test_next_event_of_a_subject_waits_for_the_one_before_it(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await scene.add(receiver)
        subjects = [uuid4() for _ in range(10)]
        for _ in range(5):
            for subject in subjects:
                await scene.happen(subject_id=subject)
        stuck = str(subjects[0])

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await answering(500 if message.event["subject_id"] == stuck else 200)(message, writer)

        receiver.reply = reply
        async with scene.delivering():
            await eventually(lambda: len(cursors(receiver)) == 46)
            assert len(receiver.by_subject()[stuck]) == 1
            receiver.reply = answering(200)
            await eventually(lambda: len(cursors(receiver)) == 50)
        assert in_order(receiver)

    async def test_event_that_was_given_up_lets_the_next_one_pass(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        webhook, _ = await scene.add(receiver)
        await scene.happen(count=2)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            bad = message.cursor == min(cursors(receiver) | {message.cursor})
            await answering(400 if bad else 200)(message, writer)

        receiver.reply = reply
        patience = Patience((5.0,), given_up_after_s=3600.0)
        for _ in range(2):
            await scene.round(patience)
        assert await scene.states(webhook) == {"PENDING": 2}
        await scene.bank.alter("UPDATE webhook_deliveries SET first_attempt_time = first_attempt_time - interval '1 h'")
        for _ in range(2):
            await scene.round(patience)
        first, second = await scene.deliveries(webhook)
        assert (first["state"], first["failure"], first["response_status"]) == ("FAILED", "STATUS", 400)
        assert first["attempt_count"] == 3
        assert second["state"] == "DELIVERED"
        assert [message.cursor for message in receiver.received] == [1, 1, 1, 2]

    async def test_different_subjects_go_side_by_side_up_to_the_bound(self, scene: Scene) -> None:
        receiver = await scene.receiver()
        await scene.add(receiver)

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(0.3)
            await answering(200)(message, writer)

        receiver.reply = reply
        for _ in range(20):
            await scene.happen()
        async with scene.delivering():
            await eventually(lambda: len(receiver.received) == 20)
        assert receiver.at_once_most == WEBHOOK_REQUESTS_AT_ONCE
