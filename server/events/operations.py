"""What can be read of events: those a reader may see, in the order of positions, with what they are about."""

import asyncio
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import events as event_queries
from bankdb import holds as hold_queries
from bankdb import orders as order_queries
from bankdb import scheduled_transfers as schedule_queries
from bankdb import transfers as transfer_queries
from bankdb import users as user_queries
from bankdb.accounts import ListAccountOwnersRow
from bankdb.events import ListEventsOfUserRow, ListEventsRow
from bankdb.models import Hold, ScheduledTransfer
from bankdb.orders import ListOrderTotalsRow
from bankdb.transfers import ListTransfersByIdsRow
from bankdb.users import ListUsernamesRow

from server.caller import Caller, Role
from server.database import Connection, Database
from server.errors import FieldViolation, InvalidRequest

ROWS_AT_ONCE = 500
"""Events that one look at the table reads, wanted ones and others."""
LOOKS_MAX = 10
"""Looks that one ListEvents takes before it answers with what it has found."""
CONNECTIONS = 3
"""Kept by a process for reading the past."""
CATCH_UPS_AT_ONCE = 2
"""Watches that read the past at the same time; the others wait, and ListEvents has a connection left."""
# Events are read in the order of an index, and no more of them than are answered. By statistics the
# planner may prefer to collect all events of a user first and sort them.
EVENT_SETTINGS = {"enable_seqscan": "off", "enable_bitmapscan": "off"}

EventRow = ListEventsRow | ListEventsOfUserRow
Subject = (
    ListTransfersByIdsRow | Hold | ScheduledTransfer | ListAccountOwnersRow | ListUsernamesRow | ListOrderTotalsRow
)


@dataclass(frozen=True, slots=True)
class Fact:
    """An event, and what it is about as it is now; None if the event itself has all there is to tell, or is unknown."""

    event: EventRow
    subject: Subject | None


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events a reader may see and wants.

    Attributes:
        user_id: Only events of this user.
        everything: Everybody's instead.
        types: Only these; empty: all.
    """

    user_id: UUID
    everything: bool
    types: frozenset[str]

    @classmethod
    def of(cls, caller: Caller, types: frozenset[str]) -> "Interest":
        """What a caller may see: admins see everything."""
        return cls(caller.user_id, caller.has_any(Role.ADMIN), types)

    def wants(self, event: EventRow) -> bool:
        """Whether an event that may be seen is asked for."""
        return not self.types or event.type in self.types


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What ListEvents is asked for.

    Attributes:
        after: Position to begin after; None: after the last one.
    """

    after: int | None
    types: frozenset[str]
    page_size: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the feed.

    Attributes:
        facts: What a reader may see and wants of it, in order.
        reached: The position up to which it was looked at.
        complete: Whether there was no more.
    """

    facts: list[Fact]
    reached: int
    complete: bool


class EventReader:
    """Reads the feed as far as a reader may see it.

    Args:
        database: Connections opened with EVENT_SETTINGS.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._catching_up = asyncio.Semaphore(CATCH_UPS_AT_ONCE)

    async def page(self, wanted: EventFilter, caller: Caller) -> Stretch:
        """One page, oldest first.

        Raises:
            InvalidRequest: The cursor is beyond the end.
        """
        interest = Interest.of(caller, wanted.types)
        async with self.database.connection() as connection:
            reached = await _begin(connection, wanted.after)
            rows: list[EventRow] = []
            complete = False
            for _ in range(LOOKS_MAX):
                found, reached, complete = await _look(connection, interest, reached)
                rows += found
                if complete or len(rows) >= wanted.page_size:
                    break
            if len(rows) > wanted.page_size:
                rows, complete = rows[: wanted.page_size], False
                reached = rows[-1].position
            return Stretch(await read_facts(connection, rows), reached, complete)

    async def begin(self, after: int | None) -> int:
        """The position after which a watch begins.

        Raises:
            InvalidRequest: The cursor is beyond the end.
        """
        async with self._catching_up, self.database.connection() as connection:
            return await _begin(connection, after)

    async def catch_up(self, interest: Interest, after: int) -> Stretch:
        """What one look finds after a position."""
        async with self._catching_up, self.database.connection() as connection:
            rows, reached, complete = await _look(connection, interest, after)
            return Stretch(await read_facts(connection, rows), reached, complete)


async def last_position(connection: Connection) -> int:
    """The position up to which everything can be read."""
    position = await event_queries.get_last_position(connection)
    assert position is not None  # an aggregate always has a row
    return position


async def read_facts(connection: Connection, rows: Collection[EventRow]) -> list[Fact]:
    """Look up what events are about: one query for each noun among them."""
    ids: dict[str, set[UUID]] = {}
    for row in rows:
        ids.setdefault(_noun(row), set()).add(row.subject_id)
    subjects = {noun: await _subjects(connection, noun, list(wanted)) for noun, wanted in ids.items()}
    return [Fact(row, subjects[_noun(row)].get(row.subject_id)) for row in rows]


def _noun(row: EventRow) -> str:
    return row.type.partition(".")[0]


async def _subjects(connection: Connection, noun: str, ids: list[UUID]) -> dict[UUID, Subject]:
    rows: Iterable[Subject] = ()
    if noun == "transfer":
        rows = await transfer_queries.list_transfers_by_ids(connection, ids=ids)
    elif noun == "hold":
        rows = await hold_queries.list_holds_by_ids(connection, ids=ids)
    elif noun == "account":
        rows = await account_queries.list_account_owners(connection, ids=ids)
    elif noun == "user":
        rows = await user_queries.list_usernames(connection, ids=ids)
    elif noun == "scheduled_transfer":
        rows = await schedule_queries.list_scheduled_transfers_by_ids(connection, ids=ids)
    elif noun == "order":
        rows = await order_queries.list_order_totals(connection, ids=ids)
    return {row.id: row for row in rows}


async def _begin(connection: Connection, after: int | None) -> int:
    last = await last_position(connection)
    if after is None:
        return last
    if after > last:
        raise InvalidRequest([FieldViolation("after_cursor", "is beyond the end: use a cursor that this feed gave")])
    return after


async def _look(connection: Connection, interest: Interest, after: int) -> tuple[list[EventRow], int, bool]:
    """The wanted among the next events, the position up to which they were looked at, whether that is the end."""
    last = await last_position(connection)
    rows: list[EventRow]
    if interest.everything:
        rows = [*await event_queries.list_events(connection, after_position=after, most=ROWS_AT_ONCE)]
    else:
        rows = [
            *await event_queries.list_events_of_user(
                connection, user_id=interest.user_id, after_position=after, most=ROWS_AT_ONCE
            )
        ]
    wanted = [row for row in rows if interest.wants(row)]
    if len(rows) == ROWS_AT_ONCE:
        return wanted, rows[-1].position, False
    # Whatever was added since `last` was read may be among the rows, but nothing before it is missing.
    return wanted, max(last, after, rows[-1].position if rows else 0), True
