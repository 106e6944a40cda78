"""Whether a session is in force and what its user may do, for calls that the ledger does not check."""

from collections.abc import Callable
from time import monotonic
from uuid import UUID

from bankdb import sessions as session_queries

from server.caller import Caller, Role
from server.database import Database
from server.errors import SessionRevoked, Unauthenticated

REMEMBERED_S = 0.5
"""How long an answer is used again; an ended session or lost role is noticed this late at most."""
REMEMBERED_MAX = 10_000


class CallerStates:
    """Reads callers from the database, at most twice a second each.

    Args:
        database: Where sessions and users are.
        clock: Seconds that never go back.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._clock = clock
        # Oldest first.
        self._remembered: dict[tuple[UUID, UUID], tuple[float, Caller]] = {}

    async def read(self, session_id: UUID, user_id: UUID) -> Caller:
        """The caller with the roles of the user.

        Raises:
            SessionRevoked: The session was revoked, has ended, or is not the user's.
            Unauthenticated: The user is disabled.
        """
        now = self._clock()
        remembered = self._remembered.get((session_id, user_id))
        if remembered is not None and now - remembered[0] < REMEMBERED_S:
            return remembered[1]
        async with self._database.connection() as connection:
            state = await session_queries.get_session_state(connection, id=session_id, user_id=user_id)
        self._remembered.pop((session_id, user_id), None)
        if state is None or not state.live:
            raise SessionRevoked
        if state.disabled:
            raise Unauthenticated("the user is disabled")
        caller = Caller(user_id, session_id, frozenset(map(Role, state.roles)))
        if len(self._remembered) >= REMEMBERED_MAX:
            del self._remembered[next(iter(self._remembered))]
        # As old as the question, not the answer.
        self._remembered[session_id, user_id] = now, caller
        return caller
