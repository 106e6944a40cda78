import asyncio
import pickle
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from arq.constants import job_key_prefix
from arq.worker import Retry
from redis.exceptions import RedisError
from uuid_utils.compat import uuid7

from server.jobs import Job
from tests.worker.surroundings import Bank, eventually, link_to
from worker.failures import CannotSucceedError
from worker.job_queue import JobQueue
from worker.lanes import LANES
from worker.outbox import Relay
from worker.settings import MAIL, PROMPT, SMTP_TIMEOUT_S, TRIES_MAX, open_redis


@asynccontextmanager
async def taking_jobs(*queues: JobQueue) -> AsyncIterator[list[asyncio.Task[Any]]]:
    tasks = [asyncio.create_task(queue.run()) for queue in queues]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task


async def put(bank: Bank, job_id: str, content: bytes) -> None:
    """Put something into the queue past the relay."""
    await bank.redis.set(job_key_prefix + job_id, content)
    await bank.redis.zadd(PROMPT.queue_name, {job_id: 1})


class TestJobQueue:
    async def test_signed_up_user_gets_account_and_mail(self, bank: Bank) -> None:
        _, account_job, mail_job = await bank.sign_up()
        await Relay(bank.database, bank.redis, LANES).queue_waiting()
        async with taking_jobs(bank.queue(PROMPT), bank.queue(MAIL)):
            for job in (account_job, mail_job):
                await eventually(lambda job=job: is_done(bank, job))  # type: ignore[misc]
        assert len(bank.sink.accepted) == 1

    async def test_jobs_done_leave_nothing_in_redis(self, bank: Bank) -> None:
        _, account_job, mail_job = await bank.sign_up()
        await Relay(bank.database, bank.redis, LANES).queue_waiting()
        async with taking_jobs(bank.queue(PROMPT), bank.queue(MAIL)):
            for job in (account_job, mail_job):
                await eventually(lambda job=job: is_done(bank, job))  # type: ignore[misc]
        assert sorted(await bank.redis.keys("arq:*")) == [b"arq:queue:health-check", b"arq:queue:mail:health-check"]

    async def test_garbage_is_dropped_and_stops_nothing(self, bank: Bank) -> None:
        await bank.redis.zadd(PROMPT.queue_name, {b"\xff\xfe": 1, b"no uuid": 1, str(uuid7()).upper(): 1})
        await put(bank, str(uuid7()), b"\x00garbage")
        await put(bank, str(uuid7()), b"[]")
        await put(bank, str(uuid7()), pickle.dumps({"f": "x", "a": (), "k": {}, "t": None, "et": 1}))
        await put(bank, str(uuid7()), b'{"t": "1", "f": "open_first_account", "a": [], "k": {}, "et": 1}')
        await put(bank, str(uuid7()), b'{"t": null, "f": "open_first_account", "a": [], "k": {}, "et": 1e99}')
        await put(bank, str(uuid7()), b'{"t": null, "f": "open_first_account", "a": [1], "k": {"x": 1}, "et": 1}')
        await put(bank, str(uuid7()), b'{"t": null, "f": "send_postcard", "a": [], "k": {}, "et": 1}')
        await bank.redis.zadd(PROMPT.queue_name, {str(uuid7()): 1})
        _, account_job, _ = await bank.sign_up()
        await Relay(bank.database, bank.redis, {Job.OPEN_FIRST_ACCOUNT: PROMPT}).queue_waiting()
        async with taking_jobs(bank.queue(PROMPT)) as (task,):
            await eventually(lambda: is_done(bank, account_job))
            await eventually(lambda: queue_is_empty(bank))
            assert not task.done()

    async def test_job_that_nobody_asked_for_is_not_done(self, bank: Bank) -> None:
        user, account_job, _ = await bank.sign_up()
        forged = str(uuid7())
        await bank.redis.enqueue_job(Job.OPEN_FIRST_ACCOUNT, _job_id=forged)
        # The right id under the wrong name is no better.
        await bank.redis.enqueue_job(Job.SEND_VERIFICATION_EMAIL, _job_id=str(account_job), _queue_name=MAIL.queue_name)
        async with taking_jobs(bank.queue(PROMPT), bank.queue(MAIL)):
            await eventually(lambda: queue_is_empty(bank))
        assert await bank.value("SELECT count(*) FROM accounts WHERE owner_user_id = $1", user.id) == 0
        assert bank.sink.offered == []
        assert await bank.state(account_job) == "open"

    async def test_unforeseen_failure_is_tried_again_until_the_last_try(self, bank: Bank) -> None:
        _, job, _ = await bank.sign_up()

        async def fail(outbox_id: UUID, payload: dict[str, Any]) -> None:
            raise KeyError("postgresql://bank_app:secret@db")

        with pytest.raises(Retry):
            await bank.queue(PROMPT).attempt(Job.OPEN_FIRST_ACCOUNT, fail, job, TRIES_MAX - 1)
        assert await bank.state(job) == "open"
        await bank.queue(PROMPT).attempt(Job.OPEN_FIRST_ACCOUNT, fail, job, TRIES_MAX)
        assert await bank.state(job) == "dead"
        assert await bank.value("SELECT last_error FROM outbox WHERE id = $1", job) == "KeyError"

    async def test_hanging_job_is_cut_off_and_tried_again(self, bank: Bank) -> None:
        _, job, _ = await bank.sign_up()

        async def hang(outbox_id: UUID, payload: dict[str, Any]) -> None:
            await asyncio.sleep(60)

        with pytest.raises(Retry):
            await bank.queue(replace(PROMPT, timeout_s=0.2)).attempt(Job.OPEN_FIRST_ACCOUNT, hang, job, 1)
        assert await bank.state(job) == "open"

    async def test_retry_is_run_again_by_the_queue(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"]
        await Relay(bank.database, bank.redis, {Job.SEND_VERIFICATION_EMAIL: MAIL}).queue_waiting()
        async with taking_jobs(bank.queue(PROMPT), bank.queue(MAIL)):
            await eventually(lambda: is_done(bank, mail_job))
        assert (len(bank.sink.offered), len(bank.sink.accepted)) == (2, 1)

    async def test_hanging_mail_server_delays_no_first_account(self, bank: Bank) -> None:
        bank.sink.usual = "hang"
        jobs = [(await bank.sign_up(f"user{number}"))[1] for number in range(2 * MAIL.jobs_at_once)]
        await Relay(bank.database, bank.redis, LANES).queue_waiting()
        async with taking_jobs(bank.queue(MAIL), bank.queue(PROMPT)):
            await eventually(lambda: len(bank.sink.offered) == MAIL.jobs_at_once)
            jobs += [(await bank.sign_up(f"late{number}"))[1] for number in range(5)]
            await Relay(bank.database, bank.redis, LANES).queue_waiting()
            # Less than any of the mails takes to be given up.
            await eventually(lambda: all_are_done(bank, jobs), SMTP_TIMEOUT_S - 1)
            assert len(bank.sink.offered) == MAIL.jobs_at_once

    async def test_dead_job_is_not_run_again(self, bank: Bank) -> None:
        _, job, _ = await bank.sign_up()
        runs = []

        async def refuse(outbox_id: UUID, payload: dict[str, Any]) -> None:
            runs.append(outbox_id)
            raise CannotSucceedError("no")

        queue = bank.queue(PROMPT, {Job.OPEN_FIRST_ACCOUNT: refuse})
        await Relay(bank.database, bank.redis, {Job.OPEN_FIRST_ACCOUNT: PROMPT}).queue_waiting()
        async with taking_jobs(queue):
            await eventually(lambda: queue_is_empty(bank))
            await bank.redis.enqueue_job(Job.OPEN_FIRST_ACCOUNT, _job_id=str(job))
            await eventually(lambda: queue_is_empty(bank))
        assert runs == [job]

    async def test_stopped_queue_lets_a_running_job_end(self, bank: Bank) -> None:
        await bank.sign_up()
        started, ended = asyncio.Event(), asyncio.Event()

        async def slow(outbox_id: UUID, payload: dict[str, Any]) -> None:
            started.set()
            await asyncio.sleep(0.3)
            ended.set()

        await Relay(bank.database, bank.redis, {Job.OPEN_FIRST_ACCOUNT: PROMPT}).queue_waiting()
        async with taking_jobs(bank.queue(PROMPT, {Job.OPEN_FIRST_ACCOUNT: slow})):
            await asyncio.wait_for(started.wait(), 10)
        assert ended.is_set()

    async def test_stopped_queue_puts_a_slow_job_back(self, bank: Bank) -> None:
        await bank.sign_up()
        started = asyncio.Event()

        async def slow(outbox_id: UUID, payload: dict[str, Any]) -> None:
            started.set()
            await asyncio.sleep(7)

        await Relay(bank.database, bank.redis, {Job.OPEN_FIRST_ACCOUNT: PROMPT}).queue_waiting()
        async with taking_jobs(bank.queue(PROMPT, {Job.OPEN_FIRST_ACCOUNT: slow})):
            await asyncio.wait_for(started.wait(), 10)
        assert await bank.redis.keys("arq:in-progress:*") == []
        assert await bank.redis.zcard(PROMPT.queue_name) == 1

    @pytest.mark.parametrize("part", ["queue", "relay"])
    async def test_stopped_at_any_moment_it_ends(self, bank: Bank, part: str) -> None:
        run = bank.queue(PROMPT).run if part == "queue" else Relay(bank.database, bank.redis, LANES).run
        for turns in range(100):
            running = asyncio.create_task(run())
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            ended, _ = await asyncio.wait({running}, timeout=15)
            running.cancel()
            assert ended, f"stopped after {turns} turns of the loop it went on"

    async def test_lost_redis_ends_the_run_after_its_jobs(self, bank: Bank) -> None:
        _, account_job, _ = await bank.sign_up()
        async with link_to(bank.environment["REDIS_URL"]) as (link, url):
            redis = open_redis(url)
            await Relay(bank.database, redis, {Job.OPEN_FIRST_ACCOUNT: PROMPT}).queue_waiting()
            work = bank.work(PROMPT)
            started = asyncio.Event()

            async def slow(outbox_id: UUID, payload: dict[str, Any]) -> None:
                started.set()
                await asyncio.sleep(0.3)
                await work[Job.OPEN_FIRST_ACCOUNT](outbox_id, payload)

            queue = JobQueue(bank.database, redis, PROMPT, {Job.OPEN_FIRST_ACCOUNT: slow}, None, grace_s=3)
            task = asyncio.create_task(queue.run())
            await asyncio.wait_for(started.wait(), 10)
            await link.cut()
            with pytest.raises((RedisError, OSError)):
                await asyncio.wait_for(task, 15)
            assert await bank.state(account_job) == "done"
            await redis.aclose(close_connection_pool=True)


async def all_are_done(bank: Bank, jobs: list[UUID]) -> bool:
    return [await bank.state(job) for job in jobs] == ["done"] * len(jobs)


async def is_done(bank: Bank, job: UUID) -> bool:
    return await bank.state(job) == "done"


async def queue_is_empty(bank: Bank) -> bool:
    return await bank.redis.zcard(PROMPT.queue_name) + await bank.redis.zcard(MAIL.queue_name) == 0
