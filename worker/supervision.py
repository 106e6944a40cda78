"""Keeps what runs beside each other in the worker going when the servers it needs come and go."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NoReturn

import asyncpg
import structlog
from redis.exceptions import RedisError

from server.database import CONNECTION_ERRORS
from server.errors import Unavailable

_PAUSE_FIRST_S = 0.1
_PAUSE_MAX_S = 2.0
_HEALTHY_AFTER_S = 10.0

log = structlog.get_logger()


async def keep_running(name: str, work: Callable[[], Awaitable[None]]) -> NoReturn:
    """Run work that goes on for ever; when it fails, say so and start it again after a pause.

    Args:
        name: What the log calls it.
        work: Starts from nothing each time.
    """
    failures = 0
    while True:
        start = monotonic()
        try:
            await work()
        except Exception as error:
            if _is_stopping():
                # Something failed on the way out; that must not keep the worker from stopping.
                raise asyncio.CancelledError from error
            failures = 0 if monotonic() - start > _HEALTHY_AFTER_S else failures + 1
            _report(f"{name}_interrupted", error)
        await asyncio.sleep(_pause_s(failures))


async def poll(step: Callable[[], Awaitable[int]], pause_s: float) -> NoReturn:
    """Take a step for ever, with a pause after each that found nothing to do.

    Args:
        step: Returns how much it did.
        pause_s: Seconds.
    """
    while True:
        if not await step():
            await asyncio.sleep(pause_s)


def is_outage(error: BaseException) -> bool:
    """Whether a server that is away explains the failure, rather than a defect of ours."""
    return isinstance(error, (*CONNECTION_ERRORS, Unavailable, RedisError))


def is_of_one(error: BaseException) -> bool:
    """Whether a failure is of the one thing that was worked on, so that the others need not wait for it.

    A statement that the server cut off, as it took too long, is: it may be as long the next time.
    """
    return isinstance(error, asyncpg.QueryCanceledError) or not is_outage(error)


def heed_stop() -> None:
    """End a task that was cancelled and is still running; for tasks that use Redis, once in every turn.

    Before Python 3.12 asyncio.wait_for, through which the client of Redis sends, loses a cancellation that comes
    just as it ends: such a task would go on for ever, and with it the worker.

    Raises:
        asyncio.CancelledError: It was cancelled.
    """
    if _is_stopping():
        raise asyncio.CancelledError


def _is_stopping() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _report(event: str, error: Exception) -> None:
    if is_outage(error):
        log.warning(event, error=type(error).__name__)
    else:
        log.error(event, exc_info=error)


def _pause_s(failures: int) -> float:
    jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return jitter * min(_PAUSE_MAX_S, _PAUSE_FIRST_S * 2.0 ** min(failures, 10))
