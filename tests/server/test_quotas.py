"""How many calls one caller may make, by a clock that is put by hand."""

import pytest

from server.errors import RateLimited
from server.quotas import BURST_S, CallQuota
from tests.clocks import Clock

CALLS_PER_SECOND = 64
BURST = int(CALLS_PER_SECOND * BURST_S)


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def quota(clock: Clock) -> CallQuota:
    return CallQuota(CALLS_PER_SECOND, clock)


def taken(quota: CallQuota, caller: str, calls: int) -> int:
    """How many of so many calls are let through."""
    through = 0
    for _ in range(calls):
        try:
            quota.take(caller)
        except RateLimited:
            continue
        through += 1
    return through


class TestTake:
    def test_calls_of_two_seconds_may_come_at_once_and_no_more(self, quota: CallQuota) -> None:
        assert taken(quota, "alice", 2 * BURST) == BURST

    def test_refusal_says_when_the_next_call_is_let_through(self, quota: CallQuota, clock: Clock) -> None:
        taken(quota, "alice", BURST)
        with pytest.raises(RateLimited) as refused:
            quota.take("alice")
        assert refused.value.retry_after_s == 1 / CALLS_PER_SECOND
        clock.now += refused.value.retry_after_s - 1e-6
        with pytest.raises(RateLimited):
            quota.take("alice")
        clock.now += 1e-6
        quota.take("alice")
        with pytest.raises(RateLimited):
            quota.take("alice")

    def test_refused_calls_cost_nothing(self, quota: CallQuota, clock: Clock) -> None:
        taken(quota, "alice", 10 * BURST)
        clock.now += 1
        assert taken(quota, "alice", BURST) == CALLS_PER_SECOND

    def test_callers_do_not_share(self, quota: CallQuota) -> None:
        taken(quota, "alice", 2 * BURST)
        assert taken(quota, "bob", 2 * BURST) == BURST

    def test_rate_is_kept_over_a_long_time(self, quota: CallQuota, clock: Clock) -> None:
        through = 0
        for _ in range(64 * 30):
            through += taken(quota, "alice", 3)
            clock.now += 1 / 64
        assert through == pytest.approx(BURST + 30 * CALLS_PER_SECOND, abs=1)

    def test_caller_who_paused_has_everything_again(self, quota: CallQuota, clock: Clock) -> None:
        for pause in (BURST_S, 1.5 * BURST_S, 3600.0):
            taken(quota, "alice", 2 * BURST)
            clock.now += pause
            assert taken(quota, "alice", 2 * BURST) == BURST
            clock.now += BURST_S

    def test_callers_of_long_ago_are_forgotten(self, quota: CallQuota, clock: Clock) -> None:
        for number in range(1000):
            quota.take(f"u{number}")
        clock.now += BURST_S
        quota.take("alice")
        clock.now += BURST_S
        quota.take("alice")
        assert len(quota._newer) + len(quota._older) <= 2
