"""Whether a name and a password are those of a user, for whoever needs the password: sign-in and its changes."""

import re
from contextlib import suppress

from bankdb import users as user_queries
from bankdb.models import User

from server.audit.recording import AuditEventType, record
from server.caller import Caller, current_origin
from server.database import Connection, Database
from server.errors import BadCredentials, PasswordsUnavailable
from server.passwords import Passwords, Place
from server.throttles import FAILURES_FREE, SignInThrottle

_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,31}")


class CredentialCheck:
    """Checks passwords, and makes those who guess them wait.

    No check begins without a place to hash a password: what is more is refused before it costs
    anything, so that a flood of sign-ins slows nothing else.

    Args:
        database: Where users are.
        passwords: Compares hashes.
        throttle: Counts failures.
    """

    def __init__(self, database: Database, passwords: Passwords, throttle: SignInThrottle) -> None:
        self._database = database
        self._passwords = passwords
        self._throttle = throttle

    async def verify(self, username: str, password: str, actor: Caller | None = None) -> User:
        """The user whose name and password these are.

        Whatever is wrong, one password is hashed and as much is written, so that the time tells no
        more than the message. A hash made with the parameters of former days is made anew.

        Args:
            username: As typed.
            password: As typed.
            actor: Who is signed in while being asked for the password; recorded.

        Raises:
            LoginThrottled: Too many passwords are being checked, or too many were wrong for this
                name or from this address; the password was not looked at.
            PasswordsUnavailable: Nothing could be checked; the attempt does not count.
            BadCredentials: No such user, another password, or the user is disabled.
        """
        name = username.lower() if _USERNAME.fullmatch(username) else ""
        address = current_origin().client_address
        with self._passwords.place() as place:
            user, attempts = await self._database.transaction(lambda connection: self._count(connection, name, address))
            if not await self._matches(place, user, name, password, address) or user is None or user.disabled:
                await self._database.transaction(lambda connection: _record_failure(connection, user, attempts, actor))
                raise BadCredentials
            return await self._succeed(place, user, password, address)

    async def _count(self, connection: Connection, username: str, address: str) -> tuple[User | None, int]:
        attempts = await self._throttle.count(connection, username, address)
        return await user_queries.get_user_by_username(connection, username=username), attempts

    async def _matches(self, place: Place, user: User | None, username: str, password: str, address: str) -> bool:
        try:
            return await place.verify(user.password_hash if user else None, password)
        except PasswordsUnavailable:
            await self._database.transaction(lambda connection: self._throttle.undo(connection, username, address))
            raise

    async def _succeed(self, place: Place, user: User, password: str, address: str) -> User:
        new_hash = None
        if self._passwords.needs_rehash(user.password_hash):
            with suppress(PasswordsUnavailable):  # another time, then
                new_hash = await place.hash(password)

        async def clear(connection: Connection) -> None:
            await self._throttle.clear(connection, user.username, address)
            if new_hash is not None:
                await user_queries.update_password_hash(
                    connection, id=user.id, password_hash=new_hash, old_password_hash=user.password_hash
                )

        await self._database.transaction(clear)
        return user if new_hash is None else user._replace(password_hash=new_hash)


async def _record_failure(connection: Connection, user: User | None, attempts: int, actor: Caller | None) -> None:
    user_id = user.id if user else None
    await record(connection, AuditEventType.SIGN_IN_FAILED, user_id=user_id, actor=actor)
    if attempts > FAILURES_FREE:
        await record(
            connection, AuditEventType.SIGN_IN_THROTTLED, user_id=user_id, actor=actor, failures_in_a_row=attempts
        )
