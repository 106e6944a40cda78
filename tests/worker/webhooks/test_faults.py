"""Under load: receivers and workers are killed, secrets change, and every event arrives, in order per subject."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from tests.worker.surroundings import WorkerProcess, eventually, worker_process
from tests.worker.webhooks.conftest import Scene
from tests.worker.webhooks.receiver import Message, Receiver, answering

EVENTS, SUBJECTS = 600, 40


async def load(scene: Scene, subjects: Sequence[UUID], count: int) -> None:
    """Events as the service writes them: without positions, which the worker gives."""
    for _ in range(count):
        await scene.bank.stored.pool.execute(
            "INSERT INTO events (type, subject_id, user_id) VALUES ('user.created', $1, $2)",
            random.choice(subjects),
            scene.alice.id,
        )
        await asyncio.sleep(0.005)


def assert_complete(receiver: Receiver, secrets: Sequence[str]) -> None:
    cursors = [message.cursor for message in receiver.received]
    assert set(cursors) == set(range(1, EVENTS + 1))
    for subject, seen in receiver.by_subject().items():
        assert seen == sorted(seen), subject
    for message in receiver.received:
        assert any(message.is_signed_with(secret) for secret in secrets)
        sent = datetime.fromtimestamp(int(message.headers["webhook-timestamp"]), UTC)
        assert abs((datetime.now(UTC) - sent).total_seconds()) < 120
    by_id = {message.id: message.cursor for message in receiver.received}
    assert len(by_id) == EVENTS


async def quicken(scene: Scene) -> None:
    """What takes its time in operation is due at once."""
    await scene.bank.alter(
        "UPDATE webhook_deliveries SET next_attempt_time = now() WHERE state = 'PENDING';"
        "UPDATE webhooks SET due_time = now(), retry_time = NULL"
    )


@pytest.mark.timeout(120)
class TestKilled:
    async def test_receiver_killed_and_restarted_under_load_while_secrets_change(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        receiver = await scene.receiver()
        webhook, secret = await scene.add(receiver)
        secrets = [secret]
        subjects = [uuid4() for _ in range(SUBJECTS)]
        async with worker_process(scene.bank.environment, tmp_path):
            loading = asyncio.create_task(load(scene, subjects, EVENTS))
            for round_ in range(3):
                await eventually(lambda: len(receiver.received) > 60 * (round_ + 1), within_s=30)  # noqa: B023
                await receiver.kill()
                await asyncio.sleep(0.4)
                rotated, _ = await scene.webhooks.rotate_secret(
                    webhook.id, scene.caller(scene.alice), end_earlier=False
                )
                secrets.append(rotated)
                await receiver.start()
                await asyncio.sleep(0.1)
                await quicken(scene)
            await loading
            await quicken(scene)
            await eventually(lambda: len({m.cursor for m in receiver.received}) == EVENTS, within_s=40)
        assert_complete(receiver, secrets)
        # A receiver that still has the first secret, and one that has the last, accept the last message alike.
        assert all(receiver.received[-1].is_signed_with(secret) for secret in (secrets[0], secrets[-1]))

    async def test_worker_killed_in_mid_delivery_loses_nothing(self, scene: Scene, tmp_path: Path) -> None:
        receiver = await scene.receiver()
        _, secret = await scene.add(receiver)
        slow = True

        async def reply(message: Message, writer: asyncio.StreamWriter) -> None:
            if slow and random.random() < 0.05:
                await asyncio.sleep(0.5)
            await answering(200)(message, writer)

        receiver.reply = reply
        subjects = [uuid4() for _ in range(SUBJECTS)]
        loading = asyncio.create_task(load(scene, subjects, EVENTS))
        async with AsyncExitStack() as stack:

            async def begin() -> WorkerProcess:
                return await stack.enter_async_context(worker_process(scene.bank.environment, tmp_path))

            worker = await begin()
            for round_ in range(3):
                await eventually(
                    lambda: receiver.at_once and len(receiver.received) > 80 * (round_ + 1),  # noqa: B023
                    within_s=30,
                )
                await worker.kill()
                assert await scene.bank.value("SELECT count(*) FROM webhooks WHERE lease_expire_time IS NOT NULL")
                # As if the time of the lease had gone by.
                await scene.bank.alter("UPDATE webhooks SET lease_expire_time = now()")
                worker = await begin()
            slow = False
            await loading
            await eventually(lambda: len({m.cursor for m in receiver.received}) == EVENTS, within_s=40)
        assert_complete(receiver, [secret])
