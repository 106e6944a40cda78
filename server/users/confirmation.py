"""The caller's password, asked for again before what nobody may do with a stolen session."""

from uuid import UUID

from bankdb import sessions as session_queries
from bankdb import users as user_queries
from bankdb.models import User

from server.caller import Caller
from server.credentials import CredentialCheck
from server.database import Connection, Database
from server.errors import BadCredentials, NotFound, SessionRevoked


class PasswordConfirmation:
    """Asks callers for their password.

    Args:
        database: Where users are.
        credentials: Checks the password, and makes those who guess wait.
    """

    def __init__(self, database: Database, credentials: CredentialCheck) -> None:
        self._database = database
        self._credentials = credentials

    async def of(self, user_id: UUID, password: str, caller: Caller) -> User:
        """The caller, whose password this is.

        Raises:
            NotFound: The user is not the caller.
            LoginThrottled: Too many passwords were wrong, or are being checked.
            BadCredentials: It is another password.
        """
        if user_id != caller.user_id:
            raise NotFound("user", user_id)
        async with self._database.connection() as connection:
            user = await user_queries.get_user(connection, id=user_id)
        if user is None:
            raise NotFound("user", user_id)
        return await self._credentials.verify(user.username, password, caller)


async def still_confirmed(connection: Connection, confirmed: User, locked: User, caller: Caller) -> None:
    """See that what was confirmed holds under the lock of the user.

    Args:
        connection: In the transaction with the lock.
        confirmed: The user as they were when the password was checked.
        locked: The user as they are.
        caller: Who confirmed.

    Raises:
        SessionRevoked: The session has ended in the meantime.
        BadCredentials: The password was replaced in the meantime.
    """
    state = await session_queries.get_session_state(connection, id=caller.session_id, user_id=caller.user_id)
    if state is None or not state.live:
        raise SessionRevoked
    if locked.password_hash != confirmed.password_hash:
        raise BadCredentials
