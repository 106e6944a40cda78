"""What can be done with the audit log once it is written: read it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bankdb import audit_events as audit_event_queries
from bankdb.models import AuditEvent

from server.audit.recording import AuditEventType
from server.caller import Caller
from server.database import Database
from server.ledger.time_ordered_ids import first_id_at
from server.page_token import PageTokens
from server.timestamps import EPOCH, LATEST

CLOCK_SKEW = timedelta(hours=1)
"""Ids are made by the clocks of the servers, times by that of the database: how far apart they may be."""

# By the ids that are asked for: each has an index of its own.
_QUERIES: dict[tuple[str, ...], Callable[..., Awaitable[list[AuditEvent]]]] = {
    (): audit_event_queries.list_audit_events,
    ("user_id",): audit_event_queries.list_audit_events_by_user,
    ("actor_user_id",): audit_event_queries.list_audit_events_by_actor,
    ("user_id", "actor_user_id"): audit_event_queries.list_audit_events_by_user_and_actor,
}


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What ListAuditEvents is asked for; None filters nothing.

    Attributes:
        type: What happened.
        user_id: Whom it happened to.
        actor_user_id: Who did it.
        start_time: First instant of the range.
        end_time: First instant after the range.
    """

    type: AuditEventType | None
    user_id: UUID | None
    actor_user_id: UUID | None
    start_time: datetime
    end_time: datetime
    page_size: int
    page_token: str

    def scope(self, caller: Caller) -> tuple[str, ...]:
        """What a page token of this list is bound to."""
        filters = (self.type, self.user_id, self.actor_user_id, self.start_time, self.end_time)
        return ("audit events", str(caller.user_id), *(str(value) for value in filters))


class AuditLog:
    """Reads what was recorded, for those who may read all of it."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def page(self, wanted: AuditFilter, caller: Caller) -> tuple[list[AuditEvent], str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list, filter and caller.
        """
        scope = wanted.scope(caller)
        rows = await self._rows(wanted, self._page_tokens.before_id(scope, wanted.page_token))
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.id)])

    async def _rows(self, wanted: AuditFilter, before_id: UUID) -> list[AuditEvent]:
        """One row more than a page."""
        asked = {"user_id": wanted.user_id, "actor_user_id": wanted.actor_user_id}
        ids = {name: value for name, value in asked.items() if value is not None}
        async with self._database.connection() as connection:
            return await _QUERIES[tuple(ids)](
                connection,
                **ids,
                types=list(AuditEventType) if wanted.type is None else [wanted.type],
                before_id=min(before_id, first_id_at(min(wanted.end_time, LATEST - 2 * CLOCK_SKEW) + CLOCK_SKEW)),
                first_id=first_id_at(max(wanted.start_time, EPOCH) - CLOCK_SKEW),
                start_time=wanted.start_time,
                end_time=wanted.end_time,
                page_size=wanted.page_size + 1,
            )
