"""Times on the wire and in Python are the same instant, to the microsecond."""

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st

from server.timestamps import EARLIEST, LATEST, from_proto, to_proto


@settings(deadline=None)  # a busy machine is no failure
@given(st.datetimes(timezones=st.just(UTC)))
def test_every_time_survives_the_way_there_and_back(time: datetime) -> None:
    assert from_proto(to_proto(time)) == time
    assert to_proto(time).ToDatetime(UTC) == time


@pytest.mark.parametrize("time", [EARLIEST, LATEST])
def test_ends_of_the_range_are_valid_on_the_wire(time: datetime) -> None:
    assert Timestamp.FromString(to_proto(time).SerializeToString()).ToJsonString()


def test_nanoseconds_are_rounded_down() -> None:
    assert from_proto(Timestamp(seconds=1, nanos=1_999)) == datetime(1970, 1, 1, 0, 0, 1, 1, UTC)


@pytest.mark.parametrize(("time", "step_s"), [(EARLIEST, -1), (LATEST, 1)])
def test_one_second_beyond_the_range_overflows(time: datetime, step_s: int) -> None:
    wire = to_proto(time)
    wire.seconds += step_s
    with pytest.raises(OverflowError):
        from_proto(wire)
