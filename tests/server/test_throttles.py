"""Allowances and delays on a real database, whose clock decides."""

import asyncio
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from server.database import Connection, Database
from server.errors import LoginThrottled, RateLimited
from server.throttles import (
    DELAY_MAX_S,
    FAILURES_FREE,
    FAILURES_MAX,
    FORGET_S,
    Action,
    RateLimits,
    SignInThrottle,
    delay_after_s,
    network_of,
)
from tests.conftest import Database as MigratedDatabase

HOME = "203.0.113.7"


@pytest.fixture
def reads(database: MigratedDatabase) -> Database:
    return Database(database.pool)


@pytest.fixture
def limits(reads: Database) -> RateLimits:
    return RateLimits(reads, {Action.SIGN_UP: 5, Action.SIGN_IN: 12, Action.MAIL: 0})


@pytest.fixture
def throttle(limits: RateLimits) -> SignInThrottle:
    return SignInThrottle(limits)


async def taken(limits: RateLimits, action: Action, address: str, tries: int) -> int:
    """How many of so many parallel tries are let through."""
    outcomes = await asyncio.gather(*(limits.take(action, address) for _ in range(tries)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} <= {type(None), RateLimited}
    return outcomes.count(None)


async def pass_time(database: MigratedDatabase, seconds: float) -> None:
    """As if everything had happened so much earlier."""
    await database.pool.execute(
        "UPDATE rate_limits SET full_time = full_time - make_interval(secs => $1)", float(seconds)
    )
    await database.pool.execute(
        "UPDATE sign_in_throttles SET retry_time = retry_time - make_interval(secs => $1),"
        " last_failure_time = last_failure_time - make_interval(secs => $1)",
        float(seconds),
    )


class TestNetworkOf:
    @pytest.mark.parametrize(
        ("address", "network"),
        [
            ("203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("", ""),
            ("unknown", ""),
            ("203.0.113.7, 198.51.100.1", ""),
        ],
    )
    def test_address_is_counted_as_what_one_customer_has(self, address: str, network: str) -> None:
        assert network_of(address) == network


class TestTake:
    async def test_allowance_is_let_through_and_no_more_however_parallel(self, limits: RateLimits) -> None:
        assert await taken(limits, Action.SIGN_UP, HOME, 20) == 5

    async def test_refusal_says_when_and_one_comes_back_then(
        self, limits: RateLimits, database: MigratedDatabase
    ) -> None:
        await taken(limits, Action.SIGN_UP, HOME, 5)
        with pytest.raises(RateLimited) as refused:
            await limits.take(Action.SIGN_UP, HOME)
        assert type(refused.value) is RateLimited
        assert 700 < refused.value.retry_after_s <= 720
        await pass_time(database, refused.value.retry_after_s - 10)
        assert await taken(limits, Action.SIGN_UP, HOME, 1) == 0
        await pass_time(database, 10)
        assert await taken(limits, Action.SIGN_UP, HOME, 3) == 1

    async def test_all_of_it_comes_back_in_an_hour_and_never_more(
        self, limits: RateLimits, database: MigratedDatabase
    ) -> None:
        await taken(limits, Action.SIGN_UP, HOME, 5)
        for hours in (1, 100):
            await pass_time(database, hours * 3600)
            assert await taken(limits, Action.SIGN_UP, HOME, 20) == 5

    async def test_addresses_and_actions_do_not_share(self, limits: RateLimits) -> None:
        await taken(limits, Action.SIGN_UP, HOME, 20)
        assert await taken(limits, Action.SIGN_UP, "203.0.113.8", 20) == 5
        assert await taken(limits, Action.SIGN_IN, HOME, 20) == 12

    async def test_neighbours_in_one_ipv6_network_share(self, limits: RateLimits) -> None:
        assert await taken(limits, Action.SIGN_UP, "2001:db8::1", 20) == 5
        assert await taken(limits, Action.SIGN_UP, "2001:db8::2", 20) == 0

    @pytest.mark.parametrize(("action", "address"), [(Action.SIGN_UP, ""), (Action.MAIL, HOME)])
    async def test_absent_address_and_absent_allowance_are_not_counted(
        self, limits: RateLimits, database: MigratedDatabase, action: Action, address: str
    ) -> None:
        assert await taken(limits, action, address, 20) == 20
        assert await database.pool.fetchval("SELECT count(*) FROM rate_limits") == 0


class TestTakeOfUser:
    async def test_each_user_has_an_allowance_and_no_more_however_parallel(self, reads: Database) -> None:
        limits = RateLimits(reads, {Action.PAYEE: 5})
        for user_id in (uuid4(), uuid4()):
            tries = (limits.take_of_user(Action.PAYEE, user_id) for _ in range(20))
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            refused = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
            assert (outcomes.count(None), len(refused)) == (5, 15)
            assert all(700 < each.retry_after_s <= 720 for each in refused)


class TestDelay:
    def test_it_doubles_to_a_quarter_of_an_hour_and_ends_in_a_day(self) -> None:
        assert [delay_after_s(failures) for failures in range(1, 14)] == [0] * 9 + [1, 2, 4, 8]
        assert delay_after_s(19) == 512
        assert {delay_after_s(failures) for failures in range(20, FAILURES_MAX)} == {DELAY_MAX_S}
        assert delay_after_s(FAILURES_MAX) == delay_after_s(100_000) == FORGET_S

    def test_no_name_is_tried_more_than_a_hundred_times_in_a_day(self) -> None:
        """An attacker who never waits longer than they must."""
        now, failures = 0.0, 0
        tries = []
        while now < 5 * FORGET_S:
            tries.append(now)
            failures += 1
            if failures == FAILURES_MAX:
                now, failures = now + FORGET_S, 0
            else:
                now += delay_after_s(failures)
        most = max(sum(start <= each < start + FORGET_S for each in tries) for start in tries)
        assert most == FAILURES_MAX


class TestSignInThrottle:
    @pytest.fixture
    def attempt(self, reads: Database, throttle: SignInThrottle) -> Callable[[], Awaitable[int]]:
        """Counts an attempt on alice, from no address."""

        async def count(connection: Connection) -> int:
            return await throttle.count(connection, "alice", "")

        return lambda: reads.transaction(count)

    async def test_parallel_guesses_are_all_counted(self, attempt: Callable[[], Awaitable[int]]) -> None:
        outcomes = await asyncio.gather(*(attempt() for _ in range(50)), return_exceptions=True)
        counted = sorted(outcome for outcome in outcomes if isinstance(outcome, int))
        assert counted == list(range(1, FAILURES_FREE + 2))
        throttled = [outcome for outcome in outcomes if isinstance(outcome, LoginThrottled)]
        assert len(throttled) == 50 - len(counted)
        assert all(0 < each.retry_after_s <= 1 for each in throttled)

    async def test_delay_grows_with_each_failure_and_refused_tries_do_not_lengthen_it(
        self, attempt: Callable[[], Awaitable[int]], database: MigratedDatabase
    ) -> None:
        for _ in range(FAILURES_FREE):
            await attempt()
        for delay_s in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900):
            await attempt()
            for _ in range(3):
                with pytest.raises(LoginThrottled) as refused:
                    await attempt()
            assert delay_s - 1 < refused.value.retry_after_s <= delay_s
            await pass_time(database, refused.value.retry_after_s)

    async def test_hundredth_failure_leaves_the_name_alone_for_a_day(
        self, attempt: Callable[[], Awaitable[int]], database: MigratedDatabase
    ) -> None:
        await attempt()
        await database.pool.execute("UPDATE sign_in_throttles SET failure_count = 99")
        assert await attempt() == 100
        with pytest.raises(LoginThrottled) as refused:
            await attempt()
        assert FORGET_S - 5 < refused.value.retry_after_s <= FORGET_S
        await pass_time(database, FORGET_S)
        assert await attempt() == 1

    async def test_name_that_nobody_failed_on_for_a_day_begins_anew(
        self, attempt: Callable[[], Awaitable[int]], database: MigratedDatabase
    ) -> None:
        for _ in range(8):
            await attempt()
        await pass_time(database, FORGET_S - 60)
        assert await attempt() == 9
        await pass_time(database, FORGET_S)
        assert await attempt() == 1

    async def test_throttled_name_costs_the_address_nothing(
        self, reads: Database, throttle: SignInThrottle, limits: RateLimits, database: MigratedDatabase
    ) -> None:
        await database.pool.execute(
            "INSERT INTO sign_in_throttles VALUES (sha256('alice'), 50, clock_timestamp(), clock_timestamp() + '1 h')"
        )
        for _ in range(20):
            with pytest.raises(LoginThrottled):
                await reads.transaction(lambda connection: throttle.count(connection, "alice", HOME))
        assert await taken(limits, Action.SIGN_IN, HOME, 20) == 12

    async def test_exhausted_address_costs_the_name_nothing(
        self, reads: Database, throttle: SignInThrottle, limits: RateLimits, database: MigratedDatabase
    ) -> None:
        await taken(limits, Action.SIGN_IN, HOME, 20)
        with pytest.raises(LoginThrottled) as refused:
            await reads.transaction(lambda connection: throttle.count(connection, "alice", HOME))
        assert 290 < refused.value.retry_after_s <= 300
        assert await database.pool.fetchval("SELECT count(*) FROM sign_in_throttles") == 0

    @pytest.mark.parametrize("ending", ["clear", "undo"])
    async def test_good_or_unchecked_password_gives_back_what_was_counted(
        self,
        reads: Database,
        throttle: SignInThrottle,
        limits: RateLimits,
        database: MigratedDatabase,
        ending: str,
    ) -> None:
        for _ in range(30):
            assert await reads.transaction(lambda connection: throttle.count(connection, "alice", HOME)) == 1
            await reads.transaction(lambda connection: getattr(throttle, ending)(connection, "alice", HOME))
        assert await taken(limits, Action.SIGN_IN, HOME, 20) == 12
