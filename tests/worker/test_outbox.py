import asyncio
import time

import pytest
from bankdb import outbox
from redis.exceptions import RedisError
from uuid_utils.compat import uuid7

from server.jobs import Job
from tests.worker.surroundings import Bank, link_to
from worker.lanes import LANES
from worker.outbox import Relay
from worker.settings import MAIL, PROMPT, RELAY_BATCH, RELAY_PATIENCE_S, open_redis


async def queued(bank: Bank) -> list[str]:
    """Ids in the queues, those of each first to be run first."""
    found = [await bank.redis.zrange(lane.queue_name, 0, -1) for lane in (PROMPT, MAIL)]
    return [job_id.decode() for job_ids in found for job_id in job_ids]


async def lose_patience(bank: Bank) -> None:
    """Let every job have been queued as long ago as the relay waits for it."""
    await bank.alter(f"UPDATE outbox SET enqueue_time = enqueue_time - interval '{RELAY_PATIENCE_S} s'")


class TestRelay:
    async def test_waiting_jobs_are_queued_once(self, bank: Bank) -> None:
        _, account_job, mail_job = await bank.sign_up()
        relay = Relay(bank.database, bank.redis, LANES)
        assert await relay.queue_waiting() == 2
        assert await relay.queue_waiting() == 0
        assert set(await queued(bank)) == {str(account_job), str(mail_job)}

    async def test_oldest_jobs_go_first(self, bank: Bank) -> None:
        ids = [uuid7() for _ in range(RELAY_BATCH + 10)]
        for age_s, job_id in enumerate(ids):
            await bank.stored.pool.execute(
                "INSERT INTO outbox (id, job, payload, create_time)"
                " VALUES ($1, 'open_first_account', '{}', now() - make_interval(secs => $2))",
                job_id,
                age_s,
            )
        relay = Relay(bank.database, bank.redis, LANES)
        assert await relay.queue_waiting() == RELAY_BATCH
        assert set(await queued(bank)) == set(map(str, ids[-RELAY_BATCH:]))
        assert await relay.queue_waiting() == 10

    async def test_new_job_does_not_wait_until_many_are_queued_again(self, bank: Bank) -> None:
        for _ in range(RELAY_BATCH):
            await bank.stored.pool.execute(
                "INSERT INTO outbox (id, job, payload, create_time, enqueue_time)"
                " VALUES ($1, 'send_security_notice', '{}', now() - interval '1 h', now() - interval '1 min')",
                uuid7(),
            )
        _, account_job, mail_job = await bank.sign_up()
        relay = Relay(bank.database, bank.redis, LANES)
        assert await relay.queue_waiting() == RELAY_BATCH
        assert {str(account_job), str(mail_job)} < set(await queued(bank))

    async def test_two_relays_at_once_share_the_jobs(self, bank: Bank) -> None:
        ids = [uuid7() for _ in range(40)]
        for job_id in ids:
            await outbox.insert_outbox_job(bank.stored.pool, id=job_id, job=Job.OPEN_FIRST_ACCOUNT, payload="{}")
        relays = [Relay(bank.database, bank.redis, LANES) for _ in range(4)]
        assert sum(await asyncio.gather(*(relay.queue_waiting() for relay in relays))) == 40
        assert set(await queued(bank)) == set(map(str, ids))

    async def test_job_of_another_version_is_left_alone(self, bank: Bank) -> None:
        job_id = uuid7()
        await outbox.insert_outbox_job(bank.stored.pool, id=job_id, job="send_postcard", payload="{}")
        assert await Relay(bank.database, bank.redis, LANES).queue_waiting() == 0
        assert await bank.state(job_id) == "open"

    async def test_done_and_dead_jobs_are_not_queued(self, bank: Bank) -> None:
        _, account_job, mail_job = await bank.sign_up()
        await outbox.mark_outbox_job_done(bank.stored.pool, id=account_job)
        await outbox.mark_outbox_job_dead(bank.stored.pool, id=mail_job, last_error="x")
        assert await Relay(bank.database, bank.redis, LANES, patience_s=0).queue_waiting() == 0

    async def test_open_job_that_redis_lost_is_queued_again(self, bank: Bank) -> None:
        await bank.sign_up()
        relay = Relay(bank.database, bank.redis, LANES)
        await relay.queue_waiting()
        await bank.redis.flushall()
        assert await relay.queue_waiting() == 0
        await lose_patience(bank)
        assert await relay.queue_waiting() == 2
        assert len(await queued(bank)) == 2

    async def test_job_that_runs_is_not_queued_again_beside_itself(self, bank: Bank) -> None:
        _, job, _ = await bank.sign_up()
        relay = Relay(bank.database, bank.redis, {Job.OPEN_FIRST_ACCOUNT: PROMPT})
        await relay.queue_waiting()
        await lose_patience(bank)
        await outbox.mark_outbox_job_started(bank.stored.pool, id=job, job=Job.OPEN_FIRST_ACCOUNT)
        await bank.redis.flushall()
        assert await relay.queue_waiting() == 0

    async def test_job_put_off_further_than_any_retry_is_brought_near(self, bank: Bank) -> None:
        far, retry, gone = (str(uuid7()) for _ in range(3))
        now_ms = time.time() * 1000
        await bank.redis.zadd(MAIL.queue_name, {far: now_ms + 3_600_000, retry: now_ms + 300_000, gone: now_ms - 1000})
        await Relay(bank.database, bank.redis, LANES).hasten()
        scores = {
            job.decode(): score for job, score in await bank.redis.zrange(MAIL.queue_name, 0, -1, withscores=True)
        }
        assert scores[far] <= time.time() * 1000
        assert (scores[retry], scores[gone]) == (now_ms + 300_000, now_ms - 1000)
        assert await bank.redis.zcard(PROMPT.queue_name) == 0

    async def test_absent_redis_leaves_jobs_waiting(self, bank: Bank) -> None:
        await bank.sign_up()
        async with link_to(bank.environment["REDIS_URL"]) as (link, url):
            redis = open_redis(url)
            relay = Relay(bank.database, redis, LANES)
            await link.cut()
            with pytest.raises(RedisError):
                await relay.queue_waiting()
            assert await bank.value("SELECT count(*) FROM outbox WHERE enqueue_time IS NOT NULL") == 0
            await link.open()
            assert await relay.queue_waiting() == 2
            await redis.aclose(close_connection_pool=True)

    async def test_frozen_redis_is_given_up_and_holds_no_row(self, bank: Bank) -> None:
        await bank.sign_up()
        async with link_to(bank.environment["REDIS_URL"]) as (link, url):
            redis = open_redis(url)
            relay = Relay(bank.database, redis, LANES)
            await redis.ping()
            link.freeze()
            async with asyncio.timeout(8):
                with pytest.raises((RedisError, TimeoutError)):
                    await relay.queue_waiting()
            assert await Relay(bank.database, bank.redis, LANES).queue_waiting() == 2
            await redis.aclose(close_connection_pool=True)
