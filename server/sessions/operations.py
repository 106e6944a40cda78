"""What sessions are: begun by a password, carried on by refresh tokens, ended by their owner."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import refresh_tokens as refresh_token_queries
from bankdb import sessions as session_queries
from bankdb import users as user_queries
from bankdb.models import Session, User
from uuid_utils.compat import uuid7

from server.audit.recording import AuditEventType, record
from server.caller import Caller, Origin
from server.credentials import CredentialCheck
from server.database import Connection, Database
from server.errors import BadCredentials, NotFound, SessionRevoked, Unauthenticated
from server.page_token import PageTokens
from server.sessions.successor import new_refresh_token, seal, unseal
from server.tokens import AccessTokens, digest
from server.uuids import NIL

REFRESH_GRACE_S = 10
"""A refresh token that is presented again within this time returns the same successor."""
LIVE_SESSIONS_MAX = 50
"""A user who signs in once more loses the session that was refreshed longest ago."""


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
        credentials: Checks user names and passwords.
        access_tokens: Issues access tokens.
        page_tokens: For the list.
        idle_ttl_s: A session that is not refreshed for so long ends.
        ttl_s: A session ends after so long whatever is done.
    """

    def __init__(
        self,
        database: Database,
        credentials: CredentialCheck,
        access_tokens: AccessTokens,
        page_tokens: PageTokens,
        *,
        idle_ttl_s: float,
        ttl_s: float,
    ) -> None:
        self._database = database
        self._credentials = credentials
        self._access_tokens = access_tokens
        self._page_tokens = page_tokens
        self._idle_ttl_s = idle_ttl_s
        self._ttl_s = ttl_s

    async def create(self, credentials: Credentials, origin: Origin) -> SignedIn:
        """Sign a user in; one who comes from a new device or address is told by mail.

        Raises:
            LoginThrottled: Too many passwords are being checked, or too many were wrong for this
                name or from this address.
            BadCredentials: No such user, another password, or the user is disabled.
        """
        # A second time if the user has changed since: perhaps the same password was only hashed anew.
        signed_in = await self._try_create(credentials, origin) or await self._try_create(credentials, origin)
        if signed_in is None:
            raise BadCredentials
        return signed_in

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
            await _lock_debits(connection, caller.user_id)
            session = await session_queries.get_session(connection, id=session_id)
            if session is None or session.user_id != caller.user_id:
                raise NotFound("session", session_id)
            if await session_queries.mark_session_revoked(connection, id=session_id):
                await record(
                    connection,
                    AuditEventType.SESSION_REVOKED,
                    user_id=caller.user_id,
                    actor=caller,
                    session_id=session_id,
                )

        await self._database.transaction(revoke)

    async def revoke_all(self, caller: Caller) -> int:
        """End all of the caller's sessions; once this has returned, no later debit under them commits.

        Returns:
            How many were live.
        """

        async def revoke_all(connection: Connection) -> int:
            await _lock_debits(connection, caller.user_id)
            count = await session_queries.mark_sessions_of_user_revoked(connection, user_id=caller.user_id, kept_id=NIL)
            await record(
                connection, AuditEventType.ALL_SESSIONS_REVOKED, user_id=caller.user_id, actor=caller, sessions=count
            )
            return count

        return await self._database.transaction(revoke_all)

    async def _try_create(self, credentials: Credentials, origin: Origin) -> SignedIn | None:
        user = await self._credentials.verify(credentials.username, credentials.password)
        return await self._database.transaction(lambda connection: self._begin(connection, user, origin))

    async def _begin(self, connection: Connection, checked: User, origin: Origin) -> SignedIn | None:
        """A session for a user whose password was checked; None if the user is not as they were then."""
        user = await user_queries.lock_user(connection, id=checked.id)
        if user is None or user.disabled or user.password_hash != checked.password_hash:
            return None
        known = await session_queries.get_device_known(
            connection, user_id=user.id, client_address=origin.client_address, user_agent=origin.user_agent
        )
        await _displace(connection, user)
        session = await session_queries.insert_session(
            connection,
            id=uuid7(),
            user_id=user.id,
            user_agent=origin.user_agent,
            client_address=origin.client_address,
            idle_ttl_s=self._idle_ttl_s,
            ttl_s=self._ttl_s,
        )
        assert session is not None
        await record(connection, AuditEventType.SIGNED_IN, user_id=user.id, session_id=session.id, notify=not known)
        refresh_token = new_refresh_token()
        await refresh_token_queries.insert_refresh_token(
            connection, token_hash=digest(refresh_token), session_id=session.id
        )
        return self._signed_in(session, refresh_token)

    async def _refresh(self, connection: Connection, presented: str) -> SignedIn | None:
        """The next tokens; None if the session has ended, which is then committed."""
        token_hash = digest(presented)
        found = await refresh_token_queries.lock_user_of_refresh_token(connection, token_hash=token_hash)
        if found is None:
            raise Unauthenticated("this is not a refresh token: sign in again")
        # Read after the lock: a copy of this call may have used the token while this one waited.
        session = await session_queries.get_session(connection, id=found.session_id)
        state = await session_queries.get_session_state(connection, id=found.session_id, user_id=found.user_id)
        token = await refresh_token_queries.get_refresh_token(
            connection, token_hash=token_hash, grace_s=REFRESH_GRACE_S
        )
        assert session is not None
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
            await _end_reused(connection, session)
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


async def _lock_debits(connection: Connection, user_id: UUID) -> None:
    """Wait until no debit of the user is under way, and let none begin before this transaction ends.

    The user is locked so that no account or session appears meanwhile.
    """
    await user_queries.lock_user_and_references(connection, id=user_id)
    await account_queries.lock_accounts_of_user(connection, owner_user_id=user_id)


async def _displace(connection: Connection, user: User) -> None:
    """Make room for one more session of a locked user."""
    for session_id in await session_queries.list_surplus_sessions_of_user(
        connection, user_id=user.id, kept_count=LIVE_SESSIONS_MAX - 1
    ):
        await session_queries.mark_session_revoked(connection, id=session_id)
        await record(connection, AuditEventType.SESSION_DISPLACED, user_id=user.id, session_id=session_id)


async def _end_reused(connection: Connection, session: Session) -> None:
    """One of the two who have the token is a thief: end the session of a locked user, and tell them."""
    await account_queries.lock_accounts_of_user(connection, owner_user_id=session.user_id)
    await session_queries.mark_session_revoked(connection, id=session.id)
    await record(
        connection,
        AuditEventType.REFRESH_TOKEN_REUSED,
        user_id=session.user_id,
        session_id=session.id,
        notify=True,
    )
