"""The relay: hands jobs from the outbox, where they are safe, to Redis, where they are quick."""

import asyncio
from collections.abc import Mapping
from time import monotonic, time
from typing import NoReturn

from arq.connections import ArqRedis
from bankdb import outbox

from server.database import Connection, Database
from worker.metrics import DEAD_LETTERS, OUTBOX_AGE, OUTBOX_OPEN, OUTBOX_QUEUED
from worker.settings import RELAY_BATCH, RELAY_PATIENCE_S, RELAY_POLL_S, RELAY_TIMEOUT_S, RETRY_DELAY_MAX_S, Lane
from worker.supervision import heed_stop

_MEASURE_INTERVAL_S = 5.0
_PUT_OFF_MAX_MS = 1.5 * RETRY_DELAY_MAX_S * 1000


class Relay:
    """Queues every open job, and again whenever Redis seems to have lost it.

    Args:
        database: Where the outbox is.
        redis: Where the queue is.
        lanes: Where jobs are queued, by name. Others are left to workers that know them: during an
            upgrade old workers meet jobs of the new version.
        patience_s: A job queued longer ago than this and still open is queued again.
    """

    def __init__(
        self, database: Database, redis: ArqRedis, lanes: Mapping[str, Lane], patience_s: float = RELAY_PATIENCE_S
    ) -> None:
        self._database = database
        self._redis = redis
        self._lanes = dict(lanes)
        self._patience_s = patience_s

    async def run(self) -> NoReturn:
        """Queue what is waiting, for ever.

        Raises:
            OSError, redis.RedisError, asyncpg.PostgresError, TimeoutError: One of the two cannot be
                reached; nothing is lost, start again.
        """
        next_measure = 0.0
        while True:
            heed_stop()
            count = await self.queue_waiting()
            if monotonic() >= next_measure:
                next_measure = monotonic() + _MEASURE_INTERVAL_S
                await self.hasten()
                async with self._database.connection() as connection:
                    state = await outbox.get_outbox_state(connection)
                assert state is not None  # an aggregate always has a row
                OUTBOX_AGE.set(state.age_s)
                OUTBOX_OPEN.set(state.open_count)
                DEAD_LETTERS.set(state.dead_count)
            if count < RELAY_BATCH:
                await asyncio.sleep(RELAY_POLL_S)

    async def queue_waiting(self) -> int:
        """Queue one batch of waiting jobs, new ones first, then the oldest; how many it was."""
        # A lost Redis is met before any row is locked.
        await self._redis.ping()
        count = await self._database.transaction(self._queue_locked)
        OUTBOX_QUEUED.inc(count)
        return count

    async def hasten(self) -> None:
        """Bring near what stands in the queues for a time that no retry is put off to.

        Queues go by the clock of the worker that wrote last: one that was ahead, or has been set back since.
        """
        now_ms = time() * 1000
        for queue_name in {lane.queue_name for lane in self._lanes.values()}:
            far = await self._redis.zrangebyscore(queue_name, now_ms + _PUT_OFF_MAX_MS, "+inf", 0, RELAY_BATCH)
            if far:
                await self._redis.zadd(queue_name, dict.fromkeys(far, now_ms), xx=True, lt=True)

    async def _queue_locked(self, connection: Connection) -> int:
        waiting = await outbox.lock_outbox_jobs_to_queue(
            connection, jobs=list(self._lanes), patience_s=self._patience_s, count_max=RELAY_BATCH
        )
        if not waiting:
            return 0
        async with asyncio.timeout(RELAY_TIMEOUT_S):
            for row in waiting:
                # The job reads its payload from the outbox, so nobody can have a job done through
                # Redis that was not asked for. A job that is queued already stays queued once.
                await self._redis.enqueue_job(row.job, _job_id=str(row.id), _queue_name=self._lanes[row.job].queue_name)
        await outbox.mark_outbox_jobs_queued(connection, ids=[row.id for row in waiting])
        return len(waiting)
