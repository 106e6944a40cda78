"""How sessions end: one, or all of a user at once."""

import asyncio
from uuid import uuid4

import pytest
from bankdb.models import User

from server.caller import Role
from server.errors import NotFound, SessionRevoked
from server.sessions.operations import Credentials, Sessions, SignedIn
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for, everything, new_user
from tests.server.sessions.scene import GOOD, ORIGIN, age_used_tokens, audited, is_revoked, live_count, owner_of


class TestRevoke:
    async def test_revoked_session_is_refreshed_no_more(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        await sessions.revoke(signed_in.session.id, owner_of(signed_in))
        assert await is_revoked(database, signed_in.session.id)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)

    async def test_second_revoke_succeeds_and_changes_nothing(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        await sessions.revoke(signed_in.session.id, owner_of(signed_in))
        before = await everything(database.pool)
        await sessions.revoke(signed_in.session.id, owner_of(signed_in))
        assert await everything(database.pool) == before

    async def test_revoke_is_recorded_with_who_did_it(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        other = await sessions.create(GOOD, ORIGIN)
        await sessions.revoke(signed_in.session.id, owner_of(other))
        user_id = signed_in.session.user_id
        assert (await audited(database))[2:] == [("SESSION_REVOKED", user_id, user_id, signed_in.session.id, False)]

    async def test_session_of_somebody_else_looks_like_none(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)
        messages = []
        for session_id in (signed_in.session.id, uuid4()):
            with pytest.raises(NotFound) as refused:
                await sessions.revoke(session_id, caller_for(NOBODY, Role.ADMIN, Role.BANKER))
            messages.append(str(refused.value).replace(str(session_id), "ID"))
        assert messages[0] == messages[1]
        assert await everything(database.pool) == before

    async def test_revoke_waits_for_a_debit_that_is_under_way(
        self, alice: User, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        account_id = uuid4()
        await database.pool.execute(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", account_id, alice.id
        )
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)
            revoking = asyncio.create_task(sessions.revoke(signed_in.session.id, owner_of(signed_in)))
            done, _ = await asyncio.wait([revoking], timeout=0.3)
            assert not done
            assert not await is_revoked(database, signed_in.session.id)
        await revoking
        assert await is_revoked(database, signed_in.session.id)

    async def test_revokes_and_reuses_at_once_do_not_deadlock(
        self, alice: User, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        for _ in range(3):
            await database.pool.execute(
                "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", uuid4(), alice.id
            )
        await sessions.refresh(signed_in.refresh_token)
        await age_used_tokens(database, 11)
        outcomes = await asyncio.gather(
            *(sessions.revoke(signed_in.session.id, owner_of(signed_in)) for _ in range(8)),
            *(sessions.refresh(signed_in.refresh_token) for _ in range(8)),
            return_exceptions=True,
        )
        assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType"] * 8 + ["SessionRevoked"] * 8


class TestRevokeAll:
    async def test_all_sessions_of_the_caller_end_and_no_others(
        self, signed_in: SignedIn, sessions: Sessions, users: Users, database: MigratedDatabase
    ) -> None:
        await users.create(new_user("bob"))
        bobs = await sessions.create(Credentials("bob", PASSWORD), ORIGIN)
        other = await sessions.create(GOOD, ORIGIN)
        await sessions.revoke_all(owner_of(signed_in))
        for ended in (signed_in, other):
            assert await is_revoked(database, ended.session.id)
            with pytest.raises(SessionRevoked):
                await sessions.refresh(ended.refresh_token)
        await sessions.refresh(bobs.refresh_token)
        user_id = signed_in.session.user_id
        recorded = ("ALL_SESSIONS_REVOKED", user_id, user_id, signed_in.session.id, False)
        assert (await audited(database))[-1] == recorded
        details = "SELECT details::jsonb->>'sessions' FROM audit_events WHERE type = 'ALL_SESSIONS_REVOKED'"
        assert await database.pool.fetchval(details) == "2"

    async def test_revoke_waits_for_a_debit_that_is_under_way(
        self, alice: User, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        account_id = uuid4()
        await database.pool.execute(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", account_id, alice.id
        )
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)
            revoking = asyncio.create_task(sessions.revoke_all(owner_of(signed_in)))
            done, _ = await asyncio.wait([revoking], timeout=0.3)
            assert not done
            assert not await is_revoked(database, signed_in.session.id)
        await revoking
        assert await is_revoked(database, signed_in.session.id)

    async def test_revoke_waits_for_an_account_that_is_being_opened(
        self, alice: User, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", uuid4(), alice.id
            )
            revoking = asyncio.create_task(sessions.revoke_all(owner_of(signed_in)))
            done, _ = await asyncio.wait([revoking], timeout=0.3)
            assert not done
        await revoking

    async def test_no_session_or_token_is_born_after_it(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        for _ in range(5):
            begun = [await sessions.create(GOOD, ORIGIN) for _ in range(3)]
            outcomes = await asyncio.gather(
                *(sessions.refresh(each.refresh_token) for each in begun),
                sessions.revoke_all(owner_of(begun[0])),
                *(sessions.refresh(each.refresh_token) for each in begun),
                return_exceptions=True,
            )
            assert {type(outcome) for outcome in outcomes} <= {SignedIn, SessionRevoked, int}
            assert await live_count(database) == 0
            for outcome in outcomes:
                if isinstance(outcome, SignedIn):
                    with pytest.raises(SessionRevoked):
                        await sessions.refresh(outcome.refresh_token)
            late = (
                "SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id"
                " WHERE refresh_tokens.create_time > sessions.revoke_time"
            )
            assert await database.pool.fetchval(late) == 0

    async def test_changes_of_sessions_at_once_do_not_deadlock(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        for _ in range(3):
            await database.pool.execute(
                "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", uuid4(), alice.id
            )
        begun = [await sessions.create(GOOD, ORIGIN) for _ in range(4)]
        for each in begun[:2]:
            await sessions.refresh(each.refresh_token)
        await age_used_tokens(database, 11)
        outcomes = await asyncio.gather(
            *(sessions.refresh(each.refresh_token) for each in begun),
            *(sessions.revoke(each.session.id, owner_of(each)) for each in begun),
            *(sessions.create(GOOD, ORIGIN) for _ in range(4)),
            sessions.revoke_all(owner_of(begun[0])),
            *(sessions.refresh(each.refresh_token) for each in begun),
            return_exceptions=True,
        )
        assert {type(outcome) for outcome in outcomes} <= {SignedIn, SessionRevoked, type(None), int}
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await database.pool.fetchval(deadlocks) == 0
