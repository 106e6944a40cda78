"""What users are: signed up, verified by mail, changed by themselves and by admins."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from bankdb import accounts as account_queries
from bankdb import events as event_queries
from bankdb import mail_tokens as mail_token_queries
from bankdb import outbox as outbox_queries
from bankdb import users as user_queries
from bankdb.models import User
from uuid_utils.compat import uuid7

from server.caller import Caller, Role
from server.database import Connection, Database
from server.errors import FieldViolation, InvalidRequest, NotFound, TokenInvalid, UsernameTaken
from server.jobs import Job, payload
from server.page_token import PageTokens
from server.passwords import Passwords
from server.tokens import VERIFY_EMAIL, MailTokens, digest

VERIFICATION_TTL_S = 24 * 3600
RESEND_INTERVAL_S = 60
"""A user is sent at most one verification mail in this time on request."""
RESEND_USERS_MAX = 10
"""How many unverified users of one address are written to at once."""


@dataclass(frozen=True, slots=True)
class NewUser:
    """A sign-up, already parsed: the user name is canonical and the password passed the policy."""

    username: str
    password: str
    full_name: str
    email: str


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """New values of a user's own fields; None leaves one as it is."""

    full_name: str | None
    email: str | None


class Users:
    """Signs people up, reads and changes them.

    Args:
        database: Where they are.
        passwords: Hashes the password of a new user.
        mail_tokens: Makes the tokens of verification links.
        page_tokens: For the list.
    """

    def __init__(
        self, database: Database, passwords: Passwords, mail_tokens: MailTokens, page_tokens: PageTokens
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._mail_tokens = mail_tokens
        self._page_tokens = page_tokens

    async def create(self, command: NewUser) -> User:
        """Sign a user up, and ask the worker for their first account and the verification mail.

        Raises:
            LoginThrottled: Too many passwords are being hashed.
            UsernameTaken: Somebody has the name.
        """
        password_hash = await self._passwords.hash(command.password)
        user_id = uuid7()

        async def insert(connection: Connection) -> User:
            user = await user_queries.insert_user(
                connection,
                id=user_id,
                username=command.username,
                password_hash=password_hash,
                full_name=command.full_name,
                email=command.email,
            )
            assert user is not None
            await _record(connection, "user.created", user, username=user.username)
            await outbox_queries.insert_outbox_job(
                connection, id=uuid7(), job=Job.OPEN_FIRST_ACCOUNT, payload=payload(user_id=user.id)
            )
            await self._send_verification_mail(connection, user)
            return user

        try:
            return await self._database.transaction(insert)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "users_username_key":
                raise UsernameTaken(command.username) from None
            raise

    async def get(self, user_id: UUID, caller: Caller) -> User:
        """One user.

        Raises:
            NotFound: Absent, or not the caller's to see.
        """
        if user_id != caller.user_id and not caller.reads_everything:
            raise NotFound("user", user_id)
        async with self._database.connection() as connection:
            return _found(await user_queries.get_user(connection, id=user_id), user_id)

    async def page(self, page_size: int, page_token: str, caller: Caller) -> tuple[list[User], str]:
        """One page of all users, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list and caller.
        """
        scope = ("users", str(caller.user_id))
        before_id = self._page_tokens.before_id(scope, page_token)
        async with self._database.connection() as connection:
            rows = await user_queries.list_users(connection, before_id=before_id, page_size=page_size + 1)
        return self._page_tokens.cut(scope, rows, page_size, lambda row: [str(row.id)])

    async def update(self, user_id: UUID, change: ProfileChange, caller: Caller) -> User:
        """Change the caller's profile; another e-mail address is unverified and sent a verification mail.

        Raises:
            NotFound: The user is not the caller.
        """
        if user_id != caller.user_id:
            raise NotFound("user", user_id)

        async def update(connection: Connection) -> User:
            before = _found(await user_queries.lock_user(connection, id=user_id), user_id)
            user = await user_queries.update_user_profile(
                connection,
                id=user_id,
                full_name=before.full_name if change.full_name is None else change.full_name,
                email=before.email if change.email is None else change.email,
            )
            assert user is not None
            if user.email != before.email:
                await self._send_verification_mail(connection, user)
            return user

        return await self._database.transaction(update)

    async def set_roles(self, user_id: UUID, roles: frozenset[Role], caller: Caller) -> User:
        """Replace the roles of a user; once this has returned, nothing commits under a lost one.

        Raises:
            InvalidRequest: Admins would lock themselves out.
            NotFound: There is no such user.
        """
        if user_id == caller.user_id and Role.ADMIN not in roles:
            raise InvalidRequest([FieldViolation("roles", "must keep your own ROLE_ADMIN: let another admin take it")])
        names = [role.value for role in Role if role in roles]

        async def update(connection: Connection, user: User) -> User | None:
            if user.roles == names:
                return user
            await _record(connection, "user.roles_changed", user, roles=names)
            return await user_queries.update_user_roles(connection, id=user_id, roles=names)

        return await self._update_standing(user_id, update)

    async def disable(self, user_id: UUID, caller: Caller) -> User:
        """Stop a user from calling anything; once this has returned, no later debit of theirs commits.

        Raises:
            InvalidRequest: Admins would lock themselves out.
            NotFound: There is no such user.
        """
        if user_id == caller.user_id:
            raise InvalidRequest([FieldViolation("user_id", "must not be yourself: let another admin do it")])
        return await self._set_disabled(user_id, disabled=True)

    async def enable(self, user_id: UUID) -> User:
        """Let a user call again.

        Raises:
            NotFound: There is no such user.
        """
        return await self._set_disabled(user_id, disabled=False)

    async def verify_email(self, token: str) -> User:
        """Mark the address that the token was mailed to as proven.

        Raises:
            TokenInvalid: The token is wrong, used, expired or superseded, or another user has
                proven the address.
        """
        token_hash = digest(token)

        async def verify(connection: Connection) -> User:
            user_id = await mail_token_queries.get_mail_token_user_id(
                connection, token_hash=token_hash, purpose=VERIFY_EMAIL
            )
            if user_id is None:
                raise TokenInvalid
            # The user before the token, as everywhere: the other way round deadlocks with a new mail.
            await user_queries.lock_user(connection, id=user_id)
            email = await mail_token_queries.mark_mail_token_used(
                connection, token_hash=token_hash, purpose=VERIFY_EMAIL
            )
            if email is None:
                raise TokenInvalid
            user = await user_queries.mark_user_email_verified(connection, id=user_id, email=email)
            if user is None:
                raise TokenInvalid
            return user

        try:
            return await self._database.transaction(verify)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "users_verified_email_key":
                raise TokenInvalid from None
            raise

    async def resend_verification_mail(self, email: str) -> None:
        """Send a new verification mail to the unverified users with the address, if there are any."""

        async def resend(connection: Connection) -> None:
            unverified = await user_queries.lock_unverified_users_by_email(
                connection, email=email, count_max=RESEND_USERS_MAX
            )
            for user in unverified:
                if not await mail_token_queries.get_mail_token_recent(
                    connection, user_id=user.id, purpose=VERIFY_EMAIL, age_s=RESEND_INTERVAL_S
                ):
                    await self._send_verification_mail(connection, user)

        await self._database.transaction(resend)

    async def _set_disabled(self, user_id: UUID, *, disabled: bool) -> User:

        async def update(connection: Connection, user: User) -> User | None:
            if user.disabled == disabled:
                return user
            await _record(connection, "user.disabled" if disabled else "user.enabled", user)
            return await user_queries.update_user_disabled(connection, id=user_id, disabled=disabled)

        return await self._update_standing(user_id, update)

    async def _update_standing(
        self, user_id: UUID, update: Callable[[Connection, User], Awaitable[User | None]]
    ) -> User:
        """Change what the ledger reads of a user, while no debit of theirs is under way.

        The user is locked before the accounts, so that no account or session appears meanwhile.
        """

        async def work(connection: Connection) -> User:
            user = _found(await user_queries.lock_user_and_references(connection, id=user_id), user_id)
            await account_queries.lock_accounts_of_user(connection, owner_user_id=user_id)
            return _found(await update(connection, user), user_id)

        return await self._database.transaction(work)

    async def _send_verification_mail(self, connection: Connection, user: User) -> None:
        """Ask the worker for a mail with a new link; older links end. The user is locked or new."""
        token_id = uuid7()
        token = self._mail_tokens.make(VERIFY_EMAIL, token_id, user.id)
        await mail_token_queries.mark_mail_tokens_superseded(connection, user_id=user.id, purpose=VERIFY_EMAIL)
        await mail_token_queries.insert_mail_token(
            connection,
            id=token_id,
            user_id=user.id,
            purpose=VERIFY_EMAIL,
            email=user.email,
            token_hash=digest(token),
            ttl_s=VERIFICATION_TTL_S,
        )
        await outbox_queries.insert_outbox_job(
            connection, id=token_id, job=Job.SEND_VERIFICATION_EMAIL, payload=payload(user_id=user.id)
        )


def _found(user: User | None, user_id: UUID) -> User:
    if user is None:
        raise NotFound("user", user_id)
    return user


async def _record(connection: Connection, event: str, user: User, **facts: object) -> None:
    await event_queries.insert_event(
        connection, type=event, subject_id=user.id, user_id=user.id, data=json.dumps(facts) if facts else None
    )
