"""How many calls one caller may make: counted by each process for itself, because it is asked on every call."""

from collections.abc import Callable, Hashable
from time import monotonic

from server.errors import RateLimited

BURST_S = 2.0
"""The calls of so many seconds may come at once."""


class CallQuota:
    """Lets each caller make so many calls a second, by the generic cell rate algorithm.

    Remembered is who called within the last two bursts, and so never more callers than there were calls.

    Args:
        calls_per_second: How many; 1 or more.
        clock: Seconds that never go back.
    """

    def __init__(self, calls_per_second: int, clock: Callable[[], float] = monotonic) -> None:
        self.interval_s = 1.0 / calls_per_second
        """Between two calls of one caller in the long run."""
        # How far ahead of the clock a caller may be who is let through.
        self._ahead_s = BURST_S - self.interval_s
        self._clock = clock
        # When each caller has all of their calls again. After BURST_S without a call that is so, and
        # the caller forgotten: every BURST_S the newer callers become the older and those are dropped.
        self._newer: dict[Hashable, float] = {}
        self._older: dict[Hashable, float] = {}
        self._turn = 0.0

    def take(self, caller: Hashable) -> None:
        """Count a call.

        Raises:
            RateLimited: It is one too many; it is not counted.
        """
        now = self._clock()
        if now >= self._turn:
            self._turn_over(now)
        full = self._newer.get(caller)
        if full is None:
            full = self._older.get(caller, now)
        if full < now:
            full = now
        elif full - now > self._ahead_s:
            raise RateLimited(full - now - self._ahead_s)
        self._newer[caller] = full + self.interval_s

    def give_back(self, caller: Hashable) -> None:
        """Undo a take, at once."""
        for callers in (self._newer, self._older):
            if caller in callers:
                callers[caller] -= self.interval_s
                return

    def _turn_over(self, now: float) -> None:
        self._older = self._newer if now < self._turn + BURST_S else {}
        self._newer = {}
        self._turn = now + BURST_S
