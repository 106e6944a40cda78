"""What time it is, by the database: the machines of the servers may be wrong, and each in its own way."""

import time
from collections.abc import Callable
from datetime import datetime

from bankdb.requests import get_clock

from server.database import Connection
from server.metrics import CLOCK_SKEW


async def read_clock(connection: Connection) -> datetime:
    """The time by the database, now; in a transaction too, where now() stands still."""
    now = await get_clock(connection)
    assert now is not None  # a clock always tells
    return now


class DatabaseClock:
    """The time the database told last, and what has passed since; the machine's own until it tells any.

    Args:
        machine: Seconds since 1970 by the machine.
        elapsed: Seconds that never go back.
    """

    def __init__(self, machine: Callable[[], float] = time.time, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._machine = machine
        self._elapsed = elapsed
        self._start: float | None = None

    def __call__(self) -> float:
        """Seconds since 1970."""
        if self._start is None:
            return self._machine()
        return self._start + self._elapsed()

    def tell(self, now: datetime) -> None:
        """Take over what the database just said."""
        self._start = now.timestamp() - self._elapsed()
        CLOCK_SKEW.set(self._machine() - now.timestamp())
