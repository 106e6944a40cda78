"""Whose name and password it is, what is counted and what is recorded."""

import asyncio
import sys
from collections.abc import AsyncIterator
from uuid import UUID

import argon2
import pytest
from bankdb.models import User

from server.caller import Origin, set_origin
from server.credentials import CredentialCheck
from server.database import Database
from server.errors import BadCredentials, LoginThrottled, PasswordsUnavailable
from server.passwords import Passwords
from server.quotas import CallQuota
from server.throttles import FAILURES_FREE, Action, RateLimits, SignInThrottle
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for, identity_on, matches, new_keys, new_user

WRONG = "not the pass phrase"
ORIGIN = Origin("203.0.113.7", "tests/1.0", "trace")


@pytest.fixture(scope="module")
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(2, places=8)
    yield made
    await made.close()


@pytest.fixture
def reads(database: MigratedDatabase) -> Database:
    return Database(database.pool)


@pytest.fixture
async def check(reads: Database, passwords: Passwords) -> AsyncIterator[CredentialCheck]:
    set_origin(ORIGIN)
    yield CredentialCheck(reads, passwords, SignInThrottle(RateLimits(reads, {Action.SIGN_IN: 30})))
    set_origin(Origin())


@pytest.fixture
async def alice(database: MigratedDatabase, passwords: Passwords) -> User:
    return await identity_on(database.pool, passwords, new_keys(), {}).users.create(new_user())


async def recorded(database: MigratedDatabase) -> list[tuple[str, UUID | None, UUID | None, str]]:
    """Type, user, actor and details of all failures, oldest first."""
    rows = await database.pool.fetch(
        "SELECT type, user_id, actor_user_id, details::text FROM audit_events WHERE type LIKE 'SIGN_IN%' ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def failures(database: MigratedDatabase) -> int:
    """How many are counted for any name."""
    return int(await database.pool.fetchval("SELECT coalesce(sum(failure_count), 0) FROM sign_in_throttles"))


async def allowance_left_of(database: MigratedDatabase) -> int:
    """How many sign-ins from the address may still fail."""
    used_s = await database.pool.fetchval(
        "SELECT coalesce(max(greatest(extract(EPOCH FROM full_time - clock_timestamp()), 0)), 0) FROM rate_limits"
    )
    return 30 - round(float(used_s) / 120)


class TestVerify:
    async def test_user_of_the_name_and_password_is_returned_and_nothing_stays_counted(
        self, check: CredentialCheck, alice: User, database: MigratedDatabase
    ) -> None:
        for _ in range(3):
            with pytest.raises(BadCredentials):
                await check.verify("alice", WRONG)
        assert (await failures(database), await allowance_left_of(database)) == (3, 27)
        assert (await check.verify("Alice", PASSWORD)).id == alice.id
        assert (await failures(database), await allowance_left_of(database)) == (0, 27)

    async def test_failure_is_recorded_without_name_or_password(
        self, check: CredentialCheck, alice: User, database: MigratedDatabase
    ) -> None:
        actor = caller_for(alice.id, session_id=NOBODY)
        with pytest.raises(BadCredentials):
            await check.verify("alice", WRONG, actor)
        for username in ("mallory", "no name", "", "x" * 5000, "al\0ice"):
            with pytest.raises(BadCredentials):
                await check.verify(username, WRONG)
        assert await recorded(database) == [
            ("SIGN_IN_FAILED", alice.id, alice.id, "{}"),
            *[("SIGN_IN_FAILED", None, None, "{}")] * 5,
        ]
        origins = "SELECT DISTINCT client_address, user_agent, trace_id FROM audit_events WHERE type = 'SIGN_IN_FAILED'"
        assert [tuple(row) for row in await database.pool.fetch(origins)] == [
            (ORIGIN.client_address, ORIGIN.user_agent, ORIGIN.trace_id)
        ]

    async def test_right_password_of_a_disabled_user_is_a_failure(
        self, check: CredentialCheck, alice: User, database: MigratedDatabase
    ) -> None:
        await database.pool.execute("UPDATE users SET disabled = true")
        with pytest.raises(BadCredentials):
            await check.verify("alice", PASSWORD)
        assert await failures(database) == 1
        assert await recorded(database) == [("SIGN_IN_FAILED", alice.id, None, "{}")]

    @pytest.mark.parametrize("username", ["alice", "mallory"])
    async def test_tenth_failure_in_a_row_refuses_every_password_unchecked(
        self, check: CredentialCheck, alice: User, database: MigratedDatabase, username: str
    ) -> None:
        for _ in range(FAILURES_FREE + 1):
            with pytest.raises(BadCredentials):
                await check.verify(username, WRONG)
        before = await recorded(database)
        subject = alice.id if username == "alice" else None
        assert before[-1] == ("SIGN_IN_THROTTLED", subject, None, '{"failures_in_a_row": "10"}')
        assert [row[0] for row in before].count("SIGN_IN_THROTTLED") == 1
        for password in (PASSWORD, WRONG):
            with pytest.raises(LoginThrottled):
                await check.verify(username, password)
        assert await recorded(database) == before
        assert await failures(database) == 10
        if username == "alice":
            await database.pool.execute("UPDATE sign_in_throttles SET retry_time = clock_timestamp()")
            assert (await check.verify("alice", PASSWORD)).id == alice.id

    async def test_one_address_over_many_names_is_refused(
        self, check: CredentialCheck, alice: User, database: MigratedDatabase
    ) -> None:
        for number in range(30):
            with pytest.raises(BadCredentials):
                await check.verify(f"user{number}", PASSWORD)
        with pytest.raises(LoginThrottled) as refused:
            await check.verify("alice", PASSWORD)
        assert 100 < refused.value.retry_after_s <= 120
        assert await failures(database) == 30
        set_origin(Origin("203.0.113.8"))
        assert (await check.verify("alice", PASSWORD)).id == alice.id

    async def test_what_cannot_be_a_name_is_counted_by_address_alone(
        self, check: CredentialCheck, database: MigratedDatabase
    ) -> None:
        for _ in range(30):
            with pytest.raises(BadCredentials):
                await check.verify("alice@example.com", PASSWORD)
        assert await database.pool.fetchval("SELECT count(*) FROM sign_in_throttles") == 0
        with pytest.raises(LoginThrottled):
            await check.verify("alice@example.com", PASSWORD)

    async def test_parallel_guesses_are_checked_ten_times_at_most(
        self, check: CredentialCheck, alice: User, reads: Database, passwords: Passwords
    ) -> None:
        """Over two checks, as in two processes."""
        second = CredentialCheck(reads, passwords, SignInThrottle(RateLimits(reads, {})))
        outcomes: list[object] = []
        for _ in range(2):
            guesses = [each.verify("alice", WRONG) for each in (check, second) for _ in range(4)]
            outcomes += await asyncio.gather(*guesses, return_exceptions=True)
        kinds = [type(outcome) for outcome in outcomes]
        assert (kinds.count(BadCredentials), kinds.count(LoginThrottled)) == (10, 6)


class TestPlaces:
    async def test_surplus_is_refused_before_it_costs_anything(
        self, reads: Database, alice: User, database: MigratedDatabase
    ) -> None:
        one = Passwords(1, places=2)
        check = CredentialCheck(reads, one, SignInThrottle(RateLimits(reads, {})))
        outcomes = await asyncio.gather(*(check.verify("alice", WRONG) for _ in range(50)), return_exceptions=True)
        await one.close()
        assert [type(outcome) for outcome in outcomes] == [BadCredentials] * 2 + [LoginThrottled] * 48
        assert await failures(database) == 2

    async def test_more_a_second_than_allowed_is_refused_before_it_costs_anything(
        self, reads: Database, alice: User, database: MigratedDatabase
    ) -> None:
        two = Passwords(1, CallQuota(1, clock=lambda: 1000.0))
        check = CredentialCheck(reads, two, SignInThrottle(RateLimits(reads, {})))
        for _ in range(2):
            with pytest.raises(BadCredentials):
                await check.verify("alice", WRONG)
        before = await recorded(database)
        with pytest.raises(LoginThrottled) as refused:
            await check.verify("alice", PASSWORD)
        assert refused.value.retry_after_s >= 1
        assert (await failures(database), await recorded(database)) == (2, before)
        await two.close()

    async def test_who_must_wait_uses_up_no_password_of_the_others(
        self, reads: Database, alice: User, database: MigratedDatabase
    ) -> None:
        """Else one address that knocks without pause would keep everybody from signing in."""
        two = Passwords(1, CallQuota(1, clock=lambda: 1000.0))
        check = CredentialCheck(reads, two, SignInThrottle(RateLimits(reads, {Action.SIGN_IN: 1})))
        set_origin(Origin("203.0.113.9"))
        with pytest.raises(BadCredentials):
            await check.verify("alice", WRONG)
        for _ in range(10):
            with pytest.raises(LoginThrottled) as refused:
                await check.verify("alice", WRONG)
            assert refused.value.retry_after_s > 3000
        set_origin(ORIGIN)
        assert (await check.verify("alice", PASSWORD)).id == alice.id
        await two.close()

    async def test_who_signs_in_without_pause_keeps_nobody_else_out(
        self, reads: Database, alice: User, database: MigratedDatabase, passwords: Passwords
    ) -> None:
        mallory = await identity_on(database.pool, passwords, new_keys(), {}).users.create(new_user("mallory"))
        four = Passwords(1, CallQuota(2, clock=lambda: 1000.0), shares=CallQuota(1, clock=lambda: 1000.0))
        check = CredentialCheck(reads, four, SignInThrottle(RateLimits(reads, {Action.SIGN_IN: 60})))
        set_origin(Origin("203.0.113.9"))
        assert {(await check.verify("mallory", PASSWORD)).id for _ in range(2)} == {mallory.id}
        before = await recorded(database), await database.pool.fetch("SELECT * FROM rate_limits")
        for _ in range(10):
            with pytest.raises(LoginThrottled) as refused:
                await check.verify("mallory", PASSWORD)
            assert refused.value.retry_after_s == pytest.approx(1.0)
        assert (await recorded(database), await database.pool.fetch("SELECT * FROM rate_limits")) == before
        set_origin(ORIGIN)
        assert (await check.verify("alice", PASSWORD)).id == alice.id
        await four.close()

    async def test_password_that_nobody_could_check_is_not_counted(
        self, reads: Database, alice: User, database: MigratedDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = Passwords(1, places=2)
        check = CredentialCheck(reads, broken, SignInThrottle(RateLimits(reads, {Action.SIGN_IN: 30})))
        set_origin(ORIGIN)
        with monkeypatch.context() as without_python:
            without_python.setattr(sys, "executable", "/nowhere/python")
            for password in (PASSWORD, WRONG):
                with pytest.raises(PasswordsUnavailable):
                    await check.verify("alice", password)
        assert (await failures(database), await allowance_left_of(database)) == (0, 30)
        assert await recorded(database) == []
        assert (await check.verify("alice", PASSWORD)).id == alice.id
        await broken.close()

    async def test_password_that_found_no_place_is_not_counted(
        self, reads: Database, alice: User, database: MigratedDatabase
    ) -> None:
        one = Passwords(1, places=2)
        check = CredentialCheck(reads, one, SignInThrottle(RateLimits(reads, {Action.SIGN_IN: 30})))
        set_origin(ORIGIN)
        elsewhere = [asyncio.create_task(one.hash(PASSWORD)) for _ in range(2)]
        refused = await asyncio.gather(check.verify("alice", PASSWORD), return_exceptions=True)
        await asyncio.gather(*elsewhere)
        await one.close()
        assert [type(each) for each in refused] == [LoginThrottled]
        assert (await failures(database), await allowance_left_of(database)) == (0, 30)
        assert await recorded(database) == []

    async def test_place_is_free_again_after_a_failure(self, reads: Database, alice: User) -> None:
        one = Passwords(1, places=2)
        check = CredentialCheck(reads, one, SignInThrottle(RateLimits(reads, {})))
        for _ in range(4):
            with pytest.raises(BadCredentials):
                await check.verify("alice", WRONG)
        assert (await check.verify("alice", PASSWORD)).id == alice.id
        await one.close()


class TestRehash:
    async def test_weak_hash_is_replaced_and_told(
        self, check: CredentialCheck, alice: User, passwords: Passwords, database: MigratedDatabase
    ) -> None:
        weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
        await database.pool.execute("UPDATE users SET password_hash = $1", weak)
        user = await check.verify("alice", PASSWORD)
        assert user.password_hash == await database.pool.fetchval("SELECT password_hash FROM users") != weak
        assert not passwords.needs_rehash(user.password_hash)
        assert await matches(passwords, user.password_hash, PASSWORD)

    async def test_wrong_password_replaces_nothing(
        self, check: CredentialCheck, alice: User, database: MigratedDatabase
    ) -> None:
        weak = argon2.PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1).hash(PASSWORD)
        await database.pool.execute("UPDATE users SET password_hash = $1", weak)
        with pytest.raises(BadCredentials):
            await check.verify("alice", WRONG)
        assert await database.pool.fetchval("SELECT password_hash FROM users") == weak
