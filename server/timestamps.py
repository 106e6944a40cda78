"""Times between the wire and Python; always with zone UTC."""

from datetime import UTC, datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Bounds of what a timestamptz and a proto Timestamp can both say.
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)


def to_proto(time: datetime) -> Timestamp:
    """The wire form of an aware datetime, to the microsecond."""
    since = time - EPOCH
    return Timestamp(seconds=since.days * 86400 + since.seconds, nanos=since.microseconds * 1000)


def from_proto(time: Timestamp) -> datetime:
    """The datetime of a wire timestamp, rounded down to the microsecond.

    Raises:
        OverflowError: Outside years 1 to 9999.
    """
    return EPOCH + timedelta(seconds=time.seconds, microseconds=time.nanos // 1000)
