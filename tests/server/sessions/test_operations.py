"""What happens to sessions in the database: how they begin, are carried on and are listed."""

import asyncio
import time
from datetime import timedelta

import argon2
import pytest
from bankdb.models import User

from server.caller import Origin, Role
from server.credentials import CredentialCheck
from server.database import Database
from server.errors import BadCredentials, InvalidPageToken, LoginThrottled, SessionRevoked, Unauthenticated
from server.page_token import PageTokens
from server.passwords import Passwords
from server.sessions.operations import LIVE_SESSIONS_MAX, Credentials, Sessions, SignedIn
from server.sessions.successor import new_refresh_token
from server.throttles import RateLimits, SignInThrottle
from server.tokens import AccessTokens, digest
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for, everything, matches, new_user
from tests.server.sessions.scene import (
    GOOD,
    ORIGIN,
    age_used_tokens,
    all_but_audit,
    as_owner,
    audited,
    is_revoked,
    live_count,
    owner_of,
)


class TestCreate:
    async def test_unverified_user_signs_in(self, alice: User, sessions: Sessions, access_tokens: AccessTokens) -> None:
        signed_in = await sessions.create(GOOD, ORIGIN)
        session = signed_in.session
        assert (session.user_id, session.user_agent, session.client_address) == (alice.id, "tests/1.0", "203.0.113.7")
        assert session.idle_expire_time - session.create_time == timedelta(days=7)
        assert session.expire_time - session.create_time == timedelta(days=30)
        verified = access_tokens.verify(signed_in.access_token)
        assert (verified.user_id, verified.session_id) == (alice.id, session.id)
        assert verified.expire_time == signed_in.access_token_expire_time

    async def test_user_name_is_taken_in_any_case(self, alice: User, sessions: Sessions) -> None:
        signed_in = await sessions.create(Credentials("ALICE", PASSWORD), ORIGIN)
        assert signed_in.session.user_id == alice.id

    async def test_database_holds_no_token(self, signed_in: SignedIn, database: MigratedDatabase) -> None:
        rows = str(await everything(database.pool))
        assert signed_in.refresh_token not in rows
        assert signed_in.access_token not in rows
        assert str(digest(signed_in.refresh_token)) in rows

    @pytest.mark.parametrize(
        ("username", "password"),
        [
            ("alice", PASSWORD + "x"),
            ("alice", ""),
            ("alice", "\0"),
            ("alice", "x" * 60_000),
            ("bob", PASSWORD),
            ("", PASSWORD),
            ("", ""),
            ("al\0ice", PASSWORD),
            ("' OR 1=1 --", PASSWORD),
            ("аlice", PASSWORD),
            ("a" * 60_000, PASSWORD),
        ],
    )
    async def test_wrong_credentials_are_answered_alike_and_change_nothing(
        self, alice: User, sessions: Sessions, database: MigratedDatabase, username: str, password: str
    ) -> None:
        before = await all_but_audit(database)
        with pytest.raises(BadCredentials) as refused:
            await sessions.create(Credentials(username, password), ORIGIN)
        assert type(refused.value) is BadCredentials
        assert str(refused.value) == str(BadCredentials())
        assert await all_but_audit(database) == before

    async def test_disabled_user_is_answered_like_a_wrong_password(
        self, alice: User, sessions: Sessions, users: Users, database: MigratedDatabase
    ) -> None:
        await users.disable(alice.id, caller_for(NOBODY, Role.ADMIN))
        before = await all_but_audit(database)
        with pytest.raises(BadCredentials):
            await sessions.create(GOOD, ORIGIN)
        assert await all_but_audit(database) == before

    async def test_user_disabled_meanwhile_gets_no_session(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", alice.id)
            await connection.execute("UPDATE users SET disabled = true WHERE id = $1", alice.id)
            creating = asyncio.create_task(sessions.create(GOOD, ORIGIN))
            done, _ = await asyncio.wait([creating], timeout=0.5)
            assert not done
        with pytest.raises(BadCredentials):
            await creating
        assert await database.pool.fetchval("SELECT count(*) FROM sessions") == 0

    async def test_unknown_user_takes_as_long_as_a_wrong_password(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        times: dict[str, list[float]] = {"alice": [], "nobody": []}
        for _ in range(15):
            await database.pool.execute("DELETE FROM sign_in_throttles")
            for username, samples in times.items():
                started = time.perf_counter()
                with pytest.raises(BadCredentials):
                    await sessions.create(Credentials(username, "not the pass phrase"), ORIGIN)
                samples.append(time.perf_counter() - started)
        known, unknown = (min(samples) for samples in times.values())
        assert unknown == pytest.approx(known, rel=0.5)

    async def test_weak_hash_is_replaced_at_sign_in(
        self, alice: User, sessions: Sessions, passwords: Passwords, database: MigratedDatabase
    ) -> None:
        weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
        await database.pool.execute("UPDATE users SET password_hash = $1 WHERE id = $2", weak, alice.id)
        for _ in range(2):
            await sessions.create(GOOD, ORIGIN)
            stored = await database.pool.fetchval("SELECT password_hash FROM users WHERE id = $1", alice.id)
            assert not passwords.needs_rehash(stored)
            assert await matches(passwords, stored, PASSWORD)

    async def test_full_pool_refuses_at_once(
        self, alice: User, database: MigratedDatabase, access_tokens: AccessTokens
    ) -> None:
        busy, reads = Passwords(1, places=2), Database(database.pool)
        check = CredentialCheck(reads, busy, SignInThrottle(RateLimits(reads, {})))
        sessions = Sessions(reads, check, access_tokens, PageTokens(bytes(32)), idle_ttl_s=60, ttl_s=60)
        outcomes = await asyncio.gather(*(sessions.create(GOOD, ORIGIN) for _ in range(20)), return_exceptions=True)
        await busy.close()
        created = sum(isinstance(outcome, SignedIn) for outcome in outcomes)
        assert 1 <= created < 20
        assert sum(isinstance(outcome, LoginThrottled) for outcome in outcomes) == 20 - created
        assert await database.pool.fetchval("SELECT count(*) FROM sessions") == created

    async def test_sign_in_is_recorded_and_one_from_elsewhere_is_told(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        origins = [ORIGIN, ORIGIN, Origin("203.0.113.8", "tests/1.0"), Origin("203.0.113.7", "tests/2.0"), ORIGIN]
        begun = [await sessions.create(GOOD, origin) for origin in origins]
        assert await audited(database) == [
            ("SIGNED_IN", alice.id, None, signed_in.session.id, told)
            for signed_in, told in zip(begun, [False, False, True, True, False], strict=True)
        ]

    async def test_sign_in_is_told_when_all_earlier_sessions_were_deleted_long_ago(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        await sessions.create(GOOD, ORIGIN)
        await as_owner(database, "TRUNCATE refresh_tokens, sessions")
        await sessions.create(GOOD, Origin("203.0.113.66", "tests/2.0"))
        assert [told for *_, told in await audited(database)] == [False, True]

    async def test_session_beyond_the_most_ends_the_one_refreshed_longest_ago(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        first, second, third = [await sessions.create(GOOD, ORIGIN) for _ in range(3)]
        await database.pool.execute(
            "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
            " SELECT gen_random_uuid(), $1, '', '', now() + '1 h', now() + '1 h' FROM generate_series(4, $2)",
            alice.id,
            LIVE_SESSIONS_MAX,
        )
        await sessions.revoke(third.session.id, owner_of(third))
        await sessions.create(GOOD, ORIGIN)
        assert not await is_revoked(database, first.session.id)
        first = await sessions.refresh(first.refresh_token)
        await sessions.create(GOOD, ORIGIN)
        assert await is_revoked(database, second.session.id)
        assert not await is_revoked(database, first.session.id)
        assert ("SESSION_DISPLACED", alice.id, None, second.session.id, False) in await audited(database)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(second.refresh_token)
        assert await live_count(database) == LIVE_SESSIONS_MAX

    async def test_parallel_sign_ins_never_leave_more_sessions_than_the_most(
        self, alice: User, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        await database.pool.execute(
            "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
            " SELECT gen_random_uuid(), $1, '', '', now() + '1 h', now() + '1 h' FROM generate_series(1, $2)",
            alice.id,
            LIVE_SESSIONS_MAX - 3,
        )
        await asyncio.gather(*(sessions.create(GOOD, ORIGIN) for _ in range(8)))
        assert await live_count(database) == LIVE_SESSIONS_MAX

    async def test_password_changed_meanwhile_begins_no_session(
        self, alice: User, sessions: Sessions, passwords: Passwords, database: MigratedDatabase
    ) -> None:
        new_hash = await passwords.hash("nine grey geese at dawn")
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", alice.id)
            await connection.execute("UPDATE users SET password_hash = $1 WHERE id = $2", new_hash, alice.id)
            creating = asyncio.create_task(sessions.create(GOOD, ORIGIN))
            done, _ = await asyncio.wait([creating], timeout=0.5)
            assert not done
        with pytest.raises(BadCredentials):
            await creating
        assert await database.pool.fetchval("SELECT count(*) FROM sessions") == 0

    async def test_hash_made_anew_meanwhile_does_not_refuse_the_password(
        self, alice: User, sessions: Sessions, passwords: Passwords, database: MigratedDatabase
    ) -> None:
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", alice.id)
            await connection.execute(
                "UPDATE users SET password_hash = $1 WHERE id = $2", await passwords.hash(PASSWORD), alice.id
            )
            creating = asyncio.create_task(sessions.create(GOOD, ORIGIN))
            done, _ = await asyncio.wait([creating], timeout=0.5)
            assert not done
        assert (await creating).session.user_id == alice.id
        assert await live_count(database) == 1


class TestRefresh:
    async def test_each_refresh_gives_the_next_token_of_the_session(
        self, signed_in: SignedIn, sessions: Sessions, access_tokens: AccessTokens
    ) -> None:
        seen = {signed_in.refresh_token}
        newest = signed_in
        for _ in range(3):
            newest = await sessions.refresh(newest.refresh_token)
            assert newest.session.id == signed_in.session.id
            assert newest.session.last_refresh_time > signed_in.session.last_refresh_time
            assert newest.session.idle_expire_time > signed_in.session.idle_expire_time
            assert newest.session.expire_time == signed_in.session.expire_time
            assert access_tokens.verify(newest.access_token).session_id == signed_in.session.id
            seen.add(newest.refresh_token)
        assert len(seen) == 4

    async def test_repeat_within_the_grace_returns_the_same_successor(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        first = await sessions.refresh(signed_in.refresh_token)
        await age_used_tokens(database, 9)
        before = await everything(database.pool)
        again = await sessions.refresh(signed_in.refresh_token)
        assert again.refresh_token == first.refresh_token
        assert await everything(database.pool) == before
        assert first.refresh_token not in str(before)

    async def test_twenty_at_once_leave_one_lineage(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        refreshed = await asyncio.gather(*(sessions.refresh(signed_in.refresh_token) for _ in range(20)))
        assert len({outcome.refresh_token for outcome in refreshed}) == 1
        assert await database.pool.fetchval("SELECT count(*) FROM refresh_tokens") == 2
        assert not await is_revoked(database, signed_in.session.id)

    async def test_repeat_after_the_grace_ends_the_session_for_good(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        first = await sessions.refresh(signed_in.refresh_token)
        await age_used_tokens(database, 11)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)
        assert await is_revoked(database, signed_in.session.id)
        user_id, session_id = signed_in.session.user_id, signed_in.session.id
        assert (await audited(database))[1:] == [("REFRESH_TOKEN_REUSED", user_id, None, session_id, True)]
        for token in (first.refresh_token, signed_in.refresh_token):
            with pytest.raises(SessionRevoked):
                await sessions.refresh(token)
        assert await database.pool.fetchval("SELECT count(*) FROM refresh_tokens") == 2
        assert len(await audited(database)) == 2

    async def test_much_older_token_ends_the_session_too(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        second = await sessions.refresh(signed_in.refresh_token)
        await age_used_tokens(database, 3600)
        third = await sessions.refresh(second.refresh_token)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(third.refresh_token)

    async def test_reuse_ends_that_session_alone(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        other = await sessions.create(GOOD, ORIGIN)
        await sessions.refresh(signed_in.refresh_token)
        await age_used_tokens(database, 11)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)
        await sessions.refresh(other.refresh_token)

    async def test_token_of_another_kind_is_refused(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)
        good = signed_in.refresh_token
        for wrong in ("", "\0", new_refresh_token(), signed_in.access_token, good[:-1], good + "=", "x" * 60_000):
            with pytest.raises(Unauthenticated) as refused:
                await sessions.refresh(wrong)
            assert type(refused.value) is Unauthenticated
        assert await everything(database.pool) == before

    @pytest.mark.parametrize("column", ["idle_expire_time", "expire_time"])
    async def test_session_past_its_time_is_refused_by_the_databases_clock(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase, column: str
    ) -> None:
        await as_owner(database, f"UPDATE sessions SET {column} = clock_timestamp() - interval '1 ms'")
        before = await everything(database.pool)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)
        assert await everything(database.pool) == before

    async def test_idle_time_never_passes_the_absolute_one(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        await as_owner(database, "UPDATE sessions SET expire_time = clock_timestamp() + interval '1 hour'")
        refreshed = await sessions.refresh(signed_in.refresh_token)
        assert refreshed.session.idle_expire_time == refreshed.session.expire_time

    async def test_session_of_a_disabled_user_has_ended_for_good(
        self, alice: User, signed_in: SignedIn, sessions: Sessions, users: Users
    ) -> None:
        admin = caller_for(NOBODY, Role.ADMIN)
        await users.disable(alice.id, admin)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)
        await users.enable(alice.id, admin)
        with pytest.raises(SessionRevoked):
            await sessions.refresh(signed_in.refresh_token)

    async def test_refresh_that_waited_for_a_revoke_is_refused(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", signed_in.session.user_id)
            await connection.execute(
                "UPDATE sessions SET revoke_time = clock_timestamp() WHERE id = $1", signed_in.session.id
            )
            refreshing = asyncio.create_task(sessions.refresh(signed_in.refresh_token))
            done, _ = await asyncio.wait([refreshing], timeout=0.3)
            assert not done
        with pytest.raises(SessionRevoked):
            await refreshing
        assert await database.pool.fetchval("SELECT count(*) FROM refresh_tokens") == 1


class TestPage:
    async def test_live_sessions_are_listed_newest_first(
        self, signed_in: SignedIn, sessions: Sessions, database: MigratedDatabase
    ) -> None:
        others = [await sessions.create(GOOD, ORIGIN) for _ in range(4)]
        await sessions.revoke(others[0].session.id, owner_of(signed_in))
        for number, column in enumerate(("idle_expire_time", "expire_time"), 1):
            await as_owner(
                database,
                f"UPDATE sessions SET {column} = clock_timestamp() - interval '1 ms' WHERE id = $1",
                others[number].session.id,
            )
        caller = owner_of(signed_in)
        first, token = await sessions.page(1, "", caller)
        second, last_token = await sessions.page(1, token, caller)
        assert [session.id for session in first + second] == [others[3].session.id, signed_in.session.id]
        assert last_token == ""

    async def test_sessions_of_others_are_not_listed(
        self, signed_in: SignedIn, sessions: Sessions, users: Users
    ) -> None:
        bob = await users.create(new_user("bob"))
        assert await sessions.page(50, "", caller_for(bob.id)) == ([], "")

    async def test_token_of_another_caller_is_refused(self, signed_in: SignedIn, sessions: Sessions) -> None:
        await sessions.create(GOOD, ORIGIN)
        _, token = await sessions.page(1, "", owner_of(signed_in))
        with pytest.raises(InvalidPageToken):
            await sessions.page(1, token, caller_for(NOBODY))
