"""What e-mail addresses of users are: asked for with the password, and proven by mail."""

from dataclasses import dataclass
from uuid import UUID

import asyncpg
from bankdb import audit_events as audit_event_queries
from bankdb import events as event_queries
from bankdb import mail_tokens as mail_token_queries
from bankdb import users as user_queries
from bankdb.models import User

from server.audit.recording import AuditEventType, record
from server.caller import Caller, current_origin
from server.database import Connection, Database
from server.errors import TokenInvalid
from server.throttles import Action, RateLimits
from server.tokens import RESET_PASSWORD, VERIFY_EMAIL, digest
from server.users.confirmation import PasswordConfirmation, still_confirmed
from server.users.even_time import MAIL_ANSWER_S, taking_at_least
from server.users.links import Links

RESEND_USERS_MAX = 10
"""How many users who have yet to prove one address are written to at once."""
CLAIM_INTERVAL_S = 3600
"""An owner is told at most once in this time that somebody else tried to prove their address."""


@dataclass(frozen=True, slots=True)
class AddressChange:
    """Another address of a user, already parsed, and the password as it is, unchecked."""

    user_id: UUID
    current_password: str
    new_email: str


class UserAddresses:
    """Changes and proves the e-mail addresses of users.

    Args:
        database: Where users are.
        confirmation: Asks for the password.
        links: Sent to prove addresses.
        rate_limits: Of mails, by the address of the client.
    """

    def __init__(
        self, database: Database, confirmation: PasswordConfirmation, links: Links, rate_limits: RateLimits
    ) -> None:
        self._database = database
        self._confirmation = confirmation
        self._links = links
        self._rate_limits = rate_limits

    async def change(self, command: AddressChange, caller: Caller) -> User:
        """Ask for another address and send a link to it.

        An address that is not proven is replaced at once. One that is stays until the link is
        opened, so that a slip of the pen locks nobody out and its owner can object. Asking for the
        proven address gives up the pending one.

        Raises:
            NotFound: The user is not the caller.
            LoginThrottled: Too many passwords were wrong, or are being checked.
            BadCredentials: It is another password.
            RateLimited: Too many mails were asked for from where the call comes from.
            SessionRevoked: The session has ended in the meantime.
        """
        confirmed = await self._confirmation.of(command.user_id, command.current_password, caller)
        await self._rate_limits.take(Action.MAIL, current_origin().client_address)

        async def change(connection: Connection) -> User:
            before = await user_queries.lock_user(connection, id=confirmed.id)
            assert before is not None
            await still_confirmed(connection, confirmed, before, caller)
            user = await self._ask_for(connection, before, command.new_email, caller)
            assert user is not None
            return user

        return await self._database.transaction(change)

    async def verify(self, token: str) -> User:
        """Mark the address that the token was mailed to as proven.

        Raises:
            TokenInvalid: The token is wrong, used, expired or superseded, the user is disabled, or
                another user has proven the address.
        """
        try:
            return await self._database.transaction(lambda connection: self._verify(connection, token))
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "users_verified_email_key":
                raise
        await self._database.transaction(lambda connection: _tell_owner(connection, token))
        raise TokenInvalid

    async def resend(self, email: str) -> None:
        """Send a new link to those who have yet to prove the address, if there are any.

        Raises:
            RateLimited: Too many mails were asked for from where the call comes from.
        """
        await self._rate_limits.take(Action.MAIL, current_origin().client_address)

        async def resend(connection: Connection) -> None:
            users = await user_queries.lock_users_to_verify_by_email(
                connection, email=email, count_max=RESEND_USERS_MAX
            )
            for user in users:
                await self._links.send_unless_recent(
                    connection, VERIFY_EMAIL, user.id, user.pending_email or user.email
                )

        async with taking_at_least(MAIL_ANSWER_S):
            await self._database.transaction(resend)

    async def _ask_for(self, connection: Connection, before: User, new_email: str, caller: Caller) -> User | None:
        if not before.email_verified:
            await record(
                connection, AuditEventType.EMAIL_CHANGE_REQUESTED, user_id=before.id, actor=caller, new_email=new_email
            )
            await self._links.send(connection, VERIFY_EMAIL, before.id, new_email)
            return await user_queries.update_user_email(connection, id=before.id, email=new_email)
        if new_email == before.email:
            await self._links.end(connection, VERIFY_EMAIL, before.id)
            return await user_queries.update_user_pending_email(connection, id=before.id, pending_email=None)
        await record(
            connection,
            AuditEventType.EMAIL_CHANGE_REQUESTED,
            user_id=before.id,
            actor=caller,
            notify=True,
            old_email=before.email,
            new_email=new_email,
        )
        await self._links.send(connection, VERIFY_EMAIL, before.id, new_email)
        return await user_queries.update_user_pending_email(connection, id=before.id, pending_email=new_email)

    async def _verify(self, connection: Connection, token: str) -> User:
        owner = await self._links.owner(connection, VERIFY_EMAIL, token)
        # The user before the token, as everywhere: the other way round deadlocks with a new mail.
        before = await user_queries.lock_user(connection, id=owner.id)
        assert before is not None
        email = await self._links.use(connection, VERIFY_EMAIL, token)
        user = await user_queries.mark_user_email_verified(connection, id=before.id, email=email)
        if user is None:
            raise TokenInvalid
        if before.email_verified:
            # The old mailbox sets no password any more.
            await self._links.end(connection, RESET_PASSWORD, user.id)
            await record(
                connection,
                AuditEventType.EMAIL_CHANGED,
                user_id=user.id,
                notify=True,
                old_email=before.email,
                new_email=email,
            )
        else:
            await record(connection, AuditEventType.EMAIL_VERIFIED, user_id=user.id, email=email)
            await event_queries.insert_event(
                connection, type="user.verified", subject_id=user.id, user_id=user.id, data=None
            )
        return user


async def _tell_owner(connection: Connection, token: str) -> None:
    """Tell the user who has proven the address of a token that somebody else tried to."""
    email = await mail_token_queries.get_mail_token_email(connection, token_hash=digest(token), purpose=VERIFY_EMAIL)
    assert email is not None
    owner = await user_queries.lock_verified_user_by_email(connection, email=email)
    if owner is not None and not await audit_event_queries.get_audit_event_recent(
        connection, user_id=owner.id, type=AuditEventType.EMAIL_CLAIMED, age_s=CLAIM_INTERVAL_S
    ):
        await record(connection, AuditEventType.EMAIL_CLAIMED, user_id=owner.id, notify=True)
