"""Time-ordered ids: UUIDs of version 7 that sort like the times of posting."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from server.ledger.time_ordered_ids import first_id_at, time_ordered_id
from server.timestamps import EARLIEST, LATEST

UNHURRIED = settings(deadline=None)  # a busy machine is no failure
NOW = datetime(2026, 11, 21, 12, 0, 0, 123_456, UTC)
MICROSECOND = timedelta(microseconds=1)
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - as it wants them
ORDINALS = st.integers(0, 4095)


class TestTimeOrderedId:
    @UNHURRIED
    @given(TIMES, ORDINALS)
    def test_version_variant_and_time_are_those_of_the_standard(self, time: datetime, ordinal: int) -> None:
        made = time_ordered_id(time, ordinal)
        assert (made.version, made.variant) == (7, "specified in RFC 4122")
        assert made.int >> 80 == (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    @UNHURRIED
    @given(TIMES, ORDINALS, ORDINALS)
    def test_later_microsecond_sorts_later_whatever_the_ordinals(
        self, time: datetime, ordinal: int, other: int
    ) -> None:
        assert time_ordered_id(time, ordinal) < time_ordered_id(time + MICROSECOND, other)

    def test_batch_of_one_instant_sorts_by_ordinal(self) -> None:
        made = [time_ordered_id(NOW, ordinal) for ordinal in range(4096)]
        assert made == sorted(made)

    def test_every_microsecond_of_a_millisecond_sorts(self) -> None:
        made = [time_ordered_id(NOW.replace(microsecond=number), 4095 - number % 2) for number in range(2_001)]
        assert all(earlier < later for earlier, later in pairwise(made))

    def test_two_processes_never_make_the_same_id(self) -> None:
        assert len({time_ordered_id(NOW, 0) for _ in range(10_000)}) == 10_000


class TestFirstIdAt:
    @UNHURRIED
    @given(TIMES, ORDINALS)
    def test_it_is_not_above_any_id_of_that_time(self, time: datetime, ordinal: int) -> None:
        assert first_id_at(time) <= time_ordered_id(time, ordinal)

    @UNHURRIED
    @given(TIMES, ORDINALS)
    def test_it_is_above_every_id_of_an_earlier_millisecond(self, time: datetime, ordinal: int) -> None:
        later = time.replace(microsecond=time.microsecond // 1000 * 1000) + timedelta(milliseconds=1)
        assert time_ordered_id(time, ordinal) < first_id_at(later)

    def test_ends_of_the_calendar_are_within_the_range_of_ids(self) -> None:
        assert first_id_at(EARLIEST).int == 0
        assert first_id_at(LATEST).int < 1 << 128
