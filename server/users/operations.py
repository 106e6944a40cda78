"""What users are: signed up, read, and changed by themselves and by admins."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from bankdb import accounts as account_queries
from bankdb import sessions as session_queries
from bankdb import users as user_queries
from bankdb.models import User

from server.audit.recording import AuditEventType, record
from server.caller import Caller, Role, current_origin
from server.database import Connection, Database
from server.errors import FieldViolation, InvalidRequest, NotFound, UsernameTaken
from server.page_token import PageTokens
from server.passwords import Passwords
from server.throttles import Action, RateLimits
from server.tokens import VERIFY_EMAIL
from server.users.links import Links
from server.users.signing_up import add_user, publish
from server.uuids import NIL


@dataclass(frozen=True, slots=True)
class NewUser:
    """A sign-up, already parsed: the user name is canonical and the password passed the policy."""

    username: str
    password: str
    full_name: str
    email: str


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """What users change of themselves; None stays as it is."""

    user_id: UUID
    full_name: str | None = None
    payable_by_name: bool | None = None


class Users:
    """Signs people up, reads and changes them.

    Args:
        database: Where they are.
        passwords: Hashes the password of a new user.
        links: Sent to new users, to prove their address.
        rate_limits: Of sign-ups, by the address of the client.
        page_tokens: For the list.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        links: Links,
        rate_limits: RateLimits,
        page_tokens: PageTokens,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._links = links
        self._rate_limits = rate_limits
        self._page_tokens = page_tokens

    async def create(self, command: NewUser) -> User:
        """Sign a user up, and ask the worker for their first account and the verification mail.

        Raises:
            LoginThrottled: Too many passwords are being hashed.
            RateLimited: Too many users were signed up from where the call comes from.
            PasswordsUnavailable: The password could not be hashed.
            UsernameTaken: Somebody has the name.
        """
        with self._passwords.place() as place:
            await self._rate_limits.take(Action.SIGN_UP, current_origin().client_address)
            password_hash = await place.hash(command.password)

        async def insert(connection: Connection) -> User:
            user = await add_user(
                connection,
                username=command.username,
                password_hash=password_hash,
                full_name=command.full_name,
                email=command.email,
            )
            await self._links.send(connection, VERIFY_EMAIL, user.id, user.email)
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

    async def update(self, change: ProfileChange, caller: Caller) -> User:
        """Change the caller's profile.

        Raises:
            NotFound: The user is not the caller.
        """
        if change.user_id != caller.user_id:
            raise NotFound("user", change.user_id)
        async with self._database.connection() as connection:
            user = await user_queries.update_user_profile(
                connection, id=change.user_id, full_name=change.full_name, payable_by_name=change.payable_by_name
            )
        return _found(user, change.user_id)

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
            await publish(connection, "user.roles_changed", user, roles=names)
            await record(connection, AuditEventType.ROLES_CHANGED, user_id=user_id, actor=caller, roles=",".join(names))
            return await user_queries.update_user_roles(connection, id=user_id, roles=names)

        return await self._update_standing(user_id, update)

    async def disable(self, user_id: UUID, caller: Caller) -> User:
        """Stop a user from calling anything, and end their sessions; no later debit of theirs commits.

        Raises:
            InvalidRequest: Admins would lock themselves out.
            NotFound: There is no such user.
        """
        if user_id == caller.user_id:
            raise InvalidRequest([FieldViolation("user_id", "must not be yourself: let another admin do it")])
        return await self._set_disabled(user_id, caller, disabled=True)

    async def enable(self, user_id: UUID, caller: Caller) -> User:
        """Let a user sign in again.

        Raises:
            NotFound: There is no such user.
        """
        return await self._set_disabled(user_id, caller, disabled=False)

    async def _set_disabled(self, user_id: UUID, caller: Caller, *, disabled: bool) -> User:
        event = AuditEventType.USER_DISABLED if disabled else AuditEventType.USER_ENABLED

        async def update(connection: Connection, user: User) -> User | None:
            if user.disabled == disabled:
                return user
            await publish(connection, "user.disabled" if disabled else "user.enabled", user)
            if disabled:
                # Whoever was signed in stays out when the user is enabled again.
                await session_queries.mark_sessions_of_user_revoked(connection, user_id=user_id, kept_id=NIL)
            await record(connection, event, user_id=user_id, actor=caller)
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


def _found(user: User | None, user_id: UUID) -> User:
    if user is None:
        raise NotFound("user", user_id)
    return user
