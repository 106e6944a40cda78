"""One reader of the feed for all watches of a process: however many are open, the database is asked once."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from datetime import UTC, datetime
from enum import StrEnum
from time import monotonic
from uuid import UUID

import structlog
from bankdb import events as event_queries
from bankdb import sessions as session_queries

from server.caller import Caller
from server.database import Connection, Database, as_bank_error
from server.errors import Overloaded, RateLimited
from server.events.operations import ROWS_AT_ONCE, EventRow, Fact, Interest, last_position, read_facts
from server.metrics import EVENT_LAG, EVENT_OVERFLOWS, EVENT_WATCHES

POLL_S = 0.05
"""How often the end of the feed is read while anybody watches."""
CHECK_S = 0.5
"""How often the sessions behind the watches are read."""
READ_TIMEOUT_S = 3.0
RETRY_S = 0.5
PENDING_MAX = 256
"""Facts kept for a watch that is slower than what happens; then it reads them from the database."""
WATCHES_MAX = 4096
WATCHES_OF_USER_MAX = 32
_RETRY_AFTER_S = 5.0

_log = structlog.get_logger()


class EndReason(StrEnum):
    """Why a watch ended; as in the contract."""

    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - a reason
    SESSION_ENDED = "SESSION_ENDED"
    ROLES_CHANGED = "ROLES_CHANGED"
    SERVER_STOPPING = "SERVER_STOPPING"
    DATABASE_UNAVAILABLE = "DATABASE_UNAVAILABLE"


class Subscription:
    """What the hub hands to one watch.

    Attributes:
        since: All that is asked for after this position is handed over.
        behind: Something was not handed over, for want of room; see `resume`.
        end: Why there will be no more.
    """

    def __init__(self, hub: "EventHub", caller: Caller, interest: Interest) -> None:
        self.caller = caller
        self.interest = interest
        self.since = hub.head
        self.behind = False
        self.end: EndReason | None = None
        self._hub = hub
        self._pending: deque[Fact] = deque()
        self._changed = asyncio.Event()

    def offer(self, fact: Fact) -> None:
        """Hand over a fact, if there is room for it."""
        if self.behind:
            return
        if len(self._pending) == PENDING_MAX:
            EVENT_OVERFLOWS.inc()
            self.fall_behind()
            return
        self._pending.append(fact)
        self._changed.set()

    def fall_behind(self) -> None:
        """Hand over nothing more until the watch has resumed."""
        self._pending.clear()
        self.behind = True
        self._changed.set()

    def resume(self) -> None:
        """Begin again at the end of the feed; what was missed is to be read from the database."""
        self.behind = False
        self.since = self._hub.head

    def finish(self, reason: EndReason) -> None:
        """Say that there will be no more."""
        self.end = self.end or reason
        self._changed.set()

    async def next(self, within_s: float) -> Fact | None:
        """The next fact; None if there was none in time, or something else has to be looked at first."""
        if not (self._pending or self.behind or self.end):
            self._changed.clear()
            try:
                async with asyncio.timeout(within_s):
                    await self._changed.wait()
            except TimeoutError:
                return None
        return self._pending.popleft() if self._pending and not self.end else None

    def told_up_to(self, position: int) -> int:
        """How far a watch got that has taken everything up to `position` and found no more."""
        return position if self.behind or self._pending else max(position, self._hub.head)


class EventHub:
    """Reads the feed while anybody watches, and hands each fact to those whom it concerns.

    Args:
        database: Where the events are.
        watches_max: How many watches there may be.
    """

    def __init__(self, database: Database, watches_max: int = WATCHES_MAX) -> None:
        self.head = 0
        self._database = database
        self._watches_max = watches_max
        self._reader: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._stopping = False
        self._next_check = 0.0
        self._of_everything: set[Subscription] = set()
        self._of_users: dict[UUID, set[Subscription]] = {}
        self._watches_of_users: dict[UUID, int] = {}
        self._subscriptions: set[Subscription] = set()
        self._joined: list[Subscription] = []

    @asynccontextmanager
    async def subscribe(self, caller: Caller, interest: Interest) -> AsyncIterator[Subscription]:
        """Take part in what is read from now on.

        Raises:
            RateLimited: The user has too many watches.
            Overloaded: There are too many watches.
            DatabaseUnavailable: Nobody watched so far, and the feed cannot be read.
        """
        watches = self._watches_of_users.get(caller.user_id, 0)
        if watches >= WATCHES_OF_USER_MAX:
            raise RateLimited(_RETRY_AFTER_S)
        if sum(self._watches_of_users.values()) >= self._watches_max:
            raise Overloaded
        self._watches_of_users[caller.user_id] = watches + 1
        EVENT_WATCHES.inc()
        try:
            await self._start()
            subscription = Subscription(self, caller, interest)
            self._add(subscription)
            try:
                yield subscription
            finally:
                self._remove(subscription)
        finally:
            EVENT_WATCHES.dec()
            self._watches_of_users[caller.user_id] -= 1
            if not self._watches_of_users[caller.user_id]:
                del self._watches_of_users[caller.user_id]

    def stop(self) -> None:
        """End all watches, also those to come."""
        self._stopping = True
        for subscription in self._subscriptions:
            subscription.finish(EndReason.SERVER_STOPPING)

    async def close(self) -> None:
        """Read no more; after the last watch has ended."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait([self._reader])

    async def _start(self) -> None:
        async with self._starting:
            if self._reader is None:
                async with self._database.connection() as connection:
                    self.head = await last_position(connection)
                # Not in the context of the call that happened to be first, whose trace would never end.
                self._reader = asyncio.create_task(self._read(), name="event hub", context=Context())

    def _add(self, subscription: Subscription) -> None:
        if self._stopping:
            subscription.finish(EndReason.SERVER_STOPPING)
        self._subscriptions.add(subscription)
        self._joined.append(subscription)
        interest = subscription.interest
        if interest.everything:
            self._of_everything.add(subscription)
        else:
            self._of_users.setdefault(interest.user_id, set()).add(subscription)

    def _remove(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)
        self._of_everything.discard(subscription)
        of_user = self._of_users.get(subscription.interest.user_id)
        if of_user is not None:
            of_user.discard(subscription)
            if not of_user:
                del self._of_users[subscription.interest.user_id]

    async def _read(self) -> None:
        """Follow the feed until nobody watches."""
        failing = False
        # A watch that is about to be added counts too.
        while self._watches_of_users:
            pause_s = POLL_S
            try:
                async with asyncio.timeout(READ_TIMEOUT_S), self._database.connection() as connection:
                    if await self._advance(connection):
                        pause_s = 0
                failing = False
            except Exception as error:  # the watches wait until it can be read again
                pause_s = RETRY_S
                if as_bank_error(error) is None:
                    _log.error("defect", exc_info=error)
                elif not failing:
                    _log.warning("waiting for the feed", cause=type(error).__name__)
                failing = True
            await asyncio.sleep(pause_s)
        self._reader = None

    async def _advance(self, connection: Connection) -> bool:
        """Read and hand over what came; whether there is more."""
        if monotonic() >= self._next_check:
            await self._check_sessions(connection)
        self._joined.clear()
        rows = await event_queries.list_events(connection, after_position=self.head, most=ROWS_AT_ONCE)
        if not rows:
            return False
        concerned = {row.id: self._concerned(row) for row in rows}
        facts = await read_facts(connection, [row for row in rows if concerned[row.id]])
        for fact in facts:
            for subscription in concerned[fact.event.id]:
                subscription.offer(fact)
        # Those who came while it was read have a share in it that was not looked up.
        for subscription in self._joined:
            subscription.fall_behind()
        self.head = rows[-1].position
        EVENT_LAG.set((datetime.now(UTC) - rows[-1].create_time).total_seconds())
        return len(rows) == ROWS_AT_ONCE

    def _concerned(self, row: EventRow) -> list[Subscription]:
        of_users = {
            subscription
            for user_id in (row.user_id, row.counterparty_user_id)
            if user_id is not None
            for subscription in self._of_users.get(user_id, ())
        }
        return [each for each in (*of_users, *self._of_everything) if each.interest.wants(row)]

    async def _check_sessions(self, connection: Connection) -> None:
        """End the watches whose session has ended, and those whose user has other roles by now."""
        checked = list(self._subscriptions)
        ids = {each.caller.session_id for each in checked}
        rows = await session_queries.list_live_session_states(connection, ids=list(ids))
        roles = {row.id: frozenset(row.roles) for row in rows}
        for subscription in checked:
            found = roles.get(subscription.caller.session_id)
            if found is None:
                subscription.finish(EndReason.SESSION_ENDED)
            elif found != subscription.caller.roles:
                subscription.finish(EndReason.ROLES_CHANGED)
        self._next_check = monotonic() + CHECK_S
