"""What sessions are: begun by a password, carried on by refresh tokens, ended by their owner."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import refresh_tokens as refresh_token_queries
from bankdb import sessions as session_queries
from bankdb import users as user_queries
from bankdb.models import Session, User
from uuid_utils.compat import uuid7

from server.caller import Caller, Origin
from server.database import Connection, Database
from server.errors import BadCredentials, NotFound, SessionRevoked, Unauthenticated
from server.page_token import PageTokens
from server.passwords import Passwords
from server.sessions.successor import new_refresh_token, seal, unseal
from server.tokens import AccessTokens, digest

REFRESH_GRACE_S = 10
"""A refresh token that is presented again within this time returns the same successor."""
_USERNAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{2,31}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a user signs in with, unchecked: every failure is answered alike."""

    username: str
    password: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session and its newest tokens; the refresh token ends with the session's idle time."""

    session: Session
    access_token: str
    access_token_expire_time: datetime
    refresh_token: str


class Sessions:
    """Begins, refreshes, reads and ends sessions; their times are the database's.

    Args:
        database: Where they are.
        passwords: Checks passwords.
        access_tokens: Issues access tokens.
        page_tokens: For the list.
        idle_ttl_s: A session that is not refreshed for so long ends.
        ttl_s: A session ends after so long whatever is done.
    """

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        access_tokens: AccessTokens,
        page_tokens: PageTokens,
        *,
        idle_ttl_s: float,
        ttl_s: float,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._page_tokens = page_tokens
        self._idle_ttl_s = idle_ttl_s
        self._ttl_s = ttl_s

    async def create(self, credentials: Credentials, origin: Origin) -> SignedIn:
        """Sign a user in.

        Whatever is wrong, one password is hashed, so that the time tells no more than the message.

        Raises:
            LoginThrottled: Too many passwords are being checked.
            BadCredentials: No such user, another password, or the user is disabled.
        """
        username = credentials.username.lower() if _USERNAME.fullmatch(credentials.username) else ""
        async with self._database.connection() as connection:
            user = await user_queries.get_user_by_username(connection, username=username)
        password_hash = user.password_hash if user else None
        if not await self._passwords.verify(password_hash, credentials.password) or user is None or user.disabled:
            raise BadCredentials
        new_hash = None
        if self._passwords.needs_rehash(user.password_hash):
            new_hash = await self._passwords.hash(credentials.password)
        return await self._database.transaction(lambda connection: self._begin(connection, user, new_hash, origin))

    async def refresh(self, refresh_token: str) -> SignedIn:
        """Exchange a refresh token for the next tokens of its session.

        Raises:
            Unauthenticated: There is no such token, or its user is disabled.
            SessionRevoked: The session has ended, or ends now because the token was used before.
        """
        signed_in = await self._database.transaction(lambda connection: self._refresh(connection, refresh_token))
        if signed_in is None:
            # Raised outside the transaction: that the session has ended must stay.
            raise SessionRevoked
        return signed_in

    async def page(self, page_size: int, page_token: str, caller: Caller) -> tuple[list[Session], str]:
        """One page of the caller's live sessions, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list and caller.
        """
        scope = ("sessions", str(caller.user_id))
        before_id = self._page_tokens.before_id(scope, page_token)
        async with self._database.connection() as connection:
            rows = await session_queries.list_live_sessions_of_user(
                connection, user_id=caller.user_id, before_id=before_id, page_size=page_size + 1
            )
        return self._page_tokens.cut(scope, rows, page_size, lambda row: [str(row.id)])

    async def revoke(self, session_id: UUID, caller: Caller) -> None:
        """End one of the caller's sessions; once this has returned, no later debit under it commits.

        Raises:
            NotFound: Absent, or somebody else's.
        """

        async def revoke(connection: Connection) -> None:
            session = await session_queries.lock_session(connection, id=session_id)
            if session is None or session.user_id != caller.user_id:
                raise NotFound("session", session_id)
            await _revoke(connection, session)

        await self._database.transaction(revoke)

    async def _begin(
        self, connection: Connection, user: User, new_password_hash: str | None, origin: Origin
    ) -> SignedIn:
        session = await session_queries.insert_session(
            connection,
            id=uuid7(),
            user_id=user.id,
            user_agent=origin.user_agent,
            client_address=origin.client_address,
            idle_ttl_s=self._idle_ttl_s,
            ttl_s=self._ttl_s,
        )
        if session is None:
            raise BadCredentials
        if new_password_hash is not None:
            await user_queries.update_password_hash(
                connection, id=user.id, password_hash=new_password_hash, old_password_hash=user.password_hash
            )
        refresh_token = new_refresh_token()
        await refresh_token_queries.insert_refresh_token(
            connection, token_hash=digest(refresh_token), session_id=session.id
        )
        return self._signed_in(session, refresh_token)

    async def _refresh(self, connection: Connection, presented: str) -> SignedIn | None:
        """The next tokens; None if the session has ended, which is then committed."""
        token_hash = digest(presented)
        session_id = await refresh_token_queries.get_refresh_token_session_id(connection, token_hash=token_hash)
        if session_id is None:
            raise Unauthenticated("this is not a refresh token: sign in again")
        # Read after the lock: a copy of this call may have used the token while this one waited.
        session = await session_queries.lock_session(connection, id=session_id)
        assert session is not None
        state = await session_queries.get_session_state(connection, id=session.id, user_id=session.user_id)
        token = await refresh_token_queries.get_refresh_token(
            connection, token_hash=token_hash, grace_s=REFRESH_GRACE_S
        )
        assert state is not None
        assert token is not None
        if not state.live:
            return None
        if state.disabled:
            raise Unauthenticated("the user is disabled")
        if not token.used:
            return await self._rotate(connection, session, presented)
        successor = unseal(token.successor_ciphertext or b"", presented) if token.within_grace else None
        if successor is None:
            await _revoke(connection, session)
            return None
        return self._signed_in(session, successor)

    async def _rotate(self, connection: Connection, session: Session, presented: str) -> SignedIn:
        successor = new_refresh_token()
        await refresh_token_queries.mark_refresh_token_used(
            connection, token_hash=digest(presented), successor_ciphertext=seal(successor, presented)
        )
        await refresh_token_queries.insert_refresh_token(
            connection, token_hash=digest(successor), session_id=session.id
        )
        refreshed = await session_queries.update_session_refreshed(
            connection, id=session.id, idle_ttl_s=self._idle_ttl_s
        )
        assert refreshed is not None
        return self._signed_in(refreshed, successor)

    def _signed_in(self, session: Session, refresh_token: str) -> SignedIn:
        access_token, expire_time = self._access_tokens.issue(session.user_id, session.id, session.last_refresh_time)
        return SignedIn(session, access_token, expire_time, refresh_token)


async def _revoke(connection: Connection, session: Session) -> None:
    """End a locked session while no debit of its user is under way."""
    await account_queries.lock_accounts_of_user(connection, owner_user_id=session.user_id)
    await session_queries.mark_session_revoked(connection, id=session.id)
