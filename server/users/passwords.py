"""What passwords of users are: replaced by who knows them, or by who reads the mail of the user."""

from dataclasses import dataclass
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import sessions as session_queries
from bankdb import users as user_queries
from bankdb.models import User

from server.audit.recording import AuditEventType, record
from server.caller import Caller, current_origin
from server.database import Connection, Database
from server.passwords import Passwords
from server.throttles import Action, RateLimits, forget_failures
from server.tokens import RESET_PASSWORD, VERIFY_EMAIL
from server.users.confirmation import PasswordConfirmation, still_confirmed
from server.users.even_time import MAIL_ANSWER_S, taking_at_least
from server.users.links import Links
from server.uuids import NIL


@dataclass(frozen=True, slots=True)
class PasswordChange:
    """A new password of a user, which passed the policy, and the one as it is, unchecked."""

    user_id: UUID
    current_password: str
    new_password: str


@dataclass(frozen=True, slots=True)
class PasswordReset:
    """A new password, which passed the policy, and the mailed token that sets it."""

    token: str
    new_password: str


class UserPasswords:
    """Replaces the passwords of users.

    A new password ends what was begun under the old one: sessions, links that set a password, and
    a pending address, by which whoever knew the old one could have taken the user over. Like
    everything that ends sessions it waits for the debits that are under way.

    Args:
        database: Where users are.
        passwords: Hashes the new ones.
        confirmation: Asks for the old one.
        links: Sent to set a new one.
        rate_limits: Of mails, by the address of the client.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        confirmation: PasswordConfirmation,
        links: Links,
        rate_limits: RateLimits,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._confirmation = confirmation
        self._links = links
        self._rate_limits = rate_limits

    async def change(self, command: PasswordChange, caller: Caller) -> None:
        """Replace the caller's password and end all their sessions but this one.

        Raises:
            NotFound: The user is not the caller.
            LoginThrottled: Too many passwords were wrong, or are being checked.
            BadCredentials: It is another password.
            SessionRevoked: The session has ended in the meantime.
        """
        confirmed = await self._confirmation.of(command.user_id, command.current_password, caller)
        password_hash = await self._passwords.hash(command.new_password)

        async def change(connection: Connection) -> None:
            user = await _lock(connection, confirmed.id)
            await still_confirmed(connection, confirmed, user, caller)
            await self._replace(connection, user, password_hash, kept_session_id=caller.session_id)
            await record(connection, AuditEventType.PASSWORD_CHANGED, user_id=user.id, actor=caller, notify=True)

        await self._database.transaction(change)

    async def request_reset(self, email: str) -> None:
        """Send a link that sets a new password to the user who has proven the address, if there is one.

        Raises:
            RateLimited: Too many mails were asked for from where the call comes from.
        """
        await self._rate_limits.take(Action.MAIL, current_origin().client_address)

        async def request(connection: Connection) -> None:
            user = await user_queries.lock_verified_user_by_email(connection, email=email)
            await record(connection, AuditEventType.PASSWORD_RESET_REQUESTED, user_id=user.id if user else None)
            if user is not None:
                await self._links.send_unless_recent(connection, RESET_PASSWORD, user.id, user.email)

        async with taking_at_least(MAIL_ANSWER_S):
            await self._database.transaction(request)

    async def owner_of_link(self, token: str) -> User:
        """Whose password the token of a link sets.

        Raises:
            TokenInvalid: The token is wrong, used, expired or superseded, or the user is disabled.
        """
        async with self._database.connection() as connection:
            return await self._links.owner(connection, RESET_PASSWORD, token)

    async def reset(self, command: PasswordReset) -> None:
        """Set a new password, end all sessions of the user, and forget who failed to sign in.

        Raises:
            TokenInvalid: The token is wrong, used, expired or superseded, or the user is disabled.
            LoginThrottled: Too many passwords are being checked; the token is still good.
        """
        # Nobody has a password hashed without a token that is good.
        owner = await self.owner_of_link(command.token)
        password_hash = await self._passwords.hash(command.new_password)

        async def reset(connection: Connection) -> None:
            user = await _lock(connection, owner.id)
            await self._links.use(connection, RESET_PASSWORD, command.token)
            await self._replace(connection, user, password_hash, kept_session_id=NIL)
            await forget_failures(connection, user.username)
            await record(connection, AuditEventType.PASSWORD_RESET, user_id=user.id, notify=True)

        await self._database.transaction(reset)

    async def _replace(self, connection: Connection, user: User, password_hash: str, *, kept_session_id: UUID) -> None:
        await user_queries.set_password_hash(connection, id=user.id, password_hash=password_hash)
        await session_queries.mark_sessions_of_user_revoked(connection, user_id=user.id, kept_id=kept_session_id)
        await self._links.end(connection, RESET_PASSWORD, user.id)
        if user.email_verified:
            await self._links.end(connection, VERIFY_EMAIL, user.id)


async def _lock(connection: Connection, user_id: UUID) -> User:
    """Lock a user, so that no session begins, and then their accounts, so that no debit is under way."""
    user = await user_queries.lock_user_and_references(connection, id=user_id)
    assert user is not None
    await account_queries.lock_accounts_of_user(connection, owner_user_id=user_id)
    return user
