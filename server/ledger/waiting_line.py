"""The bounded, fair line of movements that wait to be posted."""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from uuid import UUID

from server.errors import Overloaded
from server.ledger.movements import Done, Held, Movement, Posted
from server.tracing import Trace, current_trace

WAITING_MAX = 4096
WAITING_PER_USER_MAX = WAITING_MAX // 4


@dataclass(slots=True, eq=False)
class Waiting:
    """One movement and the call that waits for it.

    Attributes:
        parked: Waits outside the line until a locked account is free.
        blocked_until: Monotonic time at which waiting for a locked account ends; None while none was met.
        committing: What a transaction would have posted whose COMMIT was never answered.
        trace: Of the call, if it is sampled.
    """

    movement: Movement
    future: asyncio.Future[Done] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    parked: bool = False
    blocked_until: float | None = None
    committing: Posted | Held | None = None
    trace: Trace | None = field(default_factory=current_trace)

    def refuse(self, error: Exception) -> None:
        """Answer with a failure, unless the caller has gone."""
        if not self.future.done():
            self.future.set_exception(error)

    def answer(self, result: Done) -> None:
        """Answer with a result, unless the caller has gone."""
        if not self.future.done():
            self.future.set_result(result)


class WaitingLine:
    """First come, first served within a user; users take turns."""

    def __init__(self) -> None:
        self._by_user: OrderedDict[UUID, deque[Waiting]] = OrderedDict()
        self._length = 0
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return self._length

    def add(self, waiting: Waiting) -> None:
        """Take a place at the end.

        Raises:
            Overloaded: The line, or the user's share of it, is full.
        """
        user_id = waiting.movement.user_id
        line = self._by_user.get(user_id)
        if self._length >= WAITING_MAX or (line is not None and len(line) >= WAITING_PER_USER_MAX):
            raise Overloaded
        if line is None:
            line = self._by_user[user_id] = deque()
        line.append(waiting)
        self._length += 1
        self._arrived.set()

    def put_back(self, waiting: Waiting) -> None:
        """Take the first place of the user again, after waiting elsewhere; never refused."""
        self._by_user.setdefault(waiting.movement.user_id, deque()).appendleft(waiting)
        self._length += 1
        self._arrived.set()

    async def wait(self) -> None:
        """Return as soon as somebody waits."""
        await self._arrived.wait()

    def take(self, most: int) -> list[Waiting]:
        """Remove up to `most` from the line, one of each user in turn; callers that have gone are dropped."""
        taken: list[Waiting] = []
        while self._by_user and len(taken) < most:
            user_id, line = self._by_user.popitem(last=False)
            waiting = line.popleft()
            self._length -= 1
            if line:
                self._by_user[user_id] = line
            if not waiting.future.done():
                taken.append(waiting)
        if not self._by_user:
            self._arrived.clear()
        return taken
