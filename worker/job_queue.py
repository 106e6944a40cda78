"""Takes jobs from Redis and runs them: tries again what failed, gives up what cannot succeed.

The queue is a hint. What is to be done, with what and whether it still is to be done stands in the
outbox: whatever Redis loses, repeats or is fed by others, an open job is run and a closed one not.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any, NoReturn
from uuid import UUID

import structlog
from arq.connections import ArqRedis
from arq.worker import Function, Retry, Worker, func
from bankdb import outbox

from server import jobs
from server.database import Database
from server.tracing import Tracing
from worker.failures import CannotSucceedError, JobError, describe
from worker.metrics import JOB_AGE, JOBS
from worker.settings import QUEUE_POLL_S, RETRY_DELAY_MAX_S, TRIES_MAX, Lane
from worker.supervision import heed_stop, is_outage

Work = Callable[[UUID, dict[str, Any]], Awaitable[None]]
"""Does a job, given its outbox id and payload, and marks it done in the outbox. Safe to run twice."""

_CANCEL_TIMEOUT_S = 2.0
# The year 2248: what arq is told must be a time.
_MILLISECONDS_MAX = 1 << 43

log = structlog.get_logger()


class JobQueue:
    """The jobs of one lane of this worker.

    Args:
        database: Where the outbox is.
        redis: Where the queue is.
        lane: Which queue, and its limits.
        work: What to do, by name of the job.
        ready_file: Created once jobs are taken.
        grace_s: How long running jobs may go on when the worker is asked to stop.
        tracing: Goes on with the traces of the calls that asked for jobs; None: nobody does.
    """

    def __init__(
        self,
        database: Database,
        redis: ArqRedis,
        lane: Lane,
        work: Mapping[str, Work],
        ready_file: Path | None,
        grace_s: float,
        tracing: Tracing | None = None,
    ) -> None:
        self._database = database
        self._redis = redis
        self._lane = lane
        self._work = dict(work)
        self._ready_file = ready_file
        self._grace_s = grace_s
        self._tracing = tracing

    async def run(self) -> NoReturn:
        """Take jobs and run them, for ever.

        Raises:
            OSError, redis.RedisError, asyncpg.PostgresError: Redis, or at the start the database, cannot be
                used; the jobs that were running have ended.
        """
        # Nobody is told that jobs are taken before both servers and the tables are there.
        await self._redis.ping()
        async with self._database.connection() as connection:
            await outbox.get_outbox_state(connection)
        worker = _Worker(
            [self._function(name, work) for name, work in self._work.items()],
            redis_pool=self._redis,
            queue_name=self._lane.queue_name,
            job_serializer=jobs.encode,
            job_deserializer=_decode,
            on_startup=self._announce,
            handle_signals=False,
            max_jobs=self._lane.jobs_at_once,
            max_tries=TRIES_MAX,
            job_timeout=self._lane.queue_timeout_s,
            # A kept result would refuse the same job when it is queued again.
            keep_result=0,
            poll_delay=QUEUE_POLL_S,
        )
        try:
            await worker.main()
        finally:
            await worker.drain(self._grace_s)
        raise AssertionError("unreachable")

    async def _announce(self, ctx: dict[Any, Any]) -> None:
        if self._ready_file is not None:
            self._ready_file.touch()
        log.info("worker_ready")

    def _function(self, name: str, work: Work) -> Function:
        async def attempt(ctx: dict[Any, Any], *_: object, **__: object) -> None:
            await self.attempt(name, work, UUID(ctx["job_id"]), ctx["job_try"])

        return func(attempt, name=name)

    async def attempt(self, name: str, work: Work, outbox_id: UUID, tries: int) -> None:
        """Try a job for the `tries`-th time, unless it is closed; after the last try give it up.

        Raises:
            Retry: It failed and is to be tried again. (To arq any other exception ends a job.)
        """
        told = log.bind(job=name, outbox_id=str(outbox_id), tries=tries)
        started, trace = monotonic(), None
        try:
            async with asyncio.timeout(self._lane.timeout_s):
                async with self._database.connection() as connection:
                    job = await outbox.mark_outbox_job_started(connection, id=outbox_id, job=name)
                if job is None:  # done, given up, or never asked for
                    JOBS.labels(name, "obsolete").inc()
                    return
                payload = json.loads(job.payload)
                if self._tracing is not None:
                    trace = self._tracing.begin_job(name, payload.get("traceparent", ""))
                told = told.bind(trace_id=payload.get("trace_id"), **({"span_id": trace.span_id} if trace else {}))
                await work(outbox_id, payload)
        except Exception as error:
            if trace is not None:
                trace.fail(error)
            unforeseen = not isinstance(error, JobError) and not is_outage(error)
            told = told.bind(error=describe(error), exc_info=error if unforeseen else None)
            if isinstance(error, CannotSucceedError) or tries >= TRIES_MAX:
                await self._give_up(outbox_id, error)
                JOBS.labels(name, "dead").inc()
                told.error("job_dead")
                return
            delay_s = _retry_delay_s(tries)
            JOBS.labels(name, "retried").inc()
            told.warning("job_retried", delay_s=round(delay_s, 1))
            raise Retry(defer=delay_s) from error
        finally:
            if trace is not None:
                trace.end()
        JOBS.labels(name, "done").inc()
        JOB_AGE.labels(name).observe(job.age_s + monotonic() - started)
        told.info("job_done")

    async def _give_up(self, outbox_id: UUID, error: Exception) -> None:
        try:
            async with self._database.connection() as connection:
                await outbox.mark_outbox_job_dead(connection, id=outbox_id, last_error=describe(error))
        except Exception as failure:
            # Open as it is, the job comes back, by this or by the relay.
            raise Retry(defer=_retry_delay_s(1)) from failure


class _Worker(Worker):
    """An arq worker that survives garbage in its queue and can be drained."""

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        foreign = [job_id for job_id in job_ids if not _is_outbox_id(job_id)]
        if foreign:
            await self.pool.zrem(self.queue_name, *foreign)
            log.warning("queue_garbage_removed", count=len(foreign))
        await super().start_jobs([job_id for job_id in job_ids if job_id not in foreign])

    async def heart_beat(self) -> None:
        heed_stop()
        await super().heart_beat()

    async def drain(self, grace_s: float) -> None:
        """Let running jobs end, and put those back that do not within the grace."""
        running = list(self.tasks.values())
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=_CANCEL_TIMEOUT_S)
        for task in running:
            if task.done() and not task.cancelled() and (error := task.exception()):
                log.warning("job_not_reported", error=type(error).__name__)


def _is_outbox_id(job_id: bytes) -> bool:
    try:
        return str(UUID(job_id.decode())).encode() == job_id
    except ValueError:
        return False


def _decode(raw: bytes) -> dict[str, Any]:
    """Read a job as the relay writes it.

    Raises:
        ValueError: It is something else; arq then drops it.
    """
    match jobs.decode(raw):
        case {"f": str(), "a": [], "k": {}, "t": None, "et": int(milliseconds)} as job:
            if not job["a"] and not job["k"] and 0 <= milliseconds < _MILLISECONDS_MAX:
                return job
    raise ValueError("not a job that the relay wrote")


def _retry_delay_s(tries: int) -> float:
    jitter = random.uniform(0.8, 1.2)  # noqa: S311 - no secret
    return jitter * min(RETRY_DELAY_MAX_S, 2.0 ** min(tries - 1, 16))
