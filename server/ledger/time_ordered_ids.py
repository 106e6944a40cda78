"""Ids of transfers and holds: UUIDv7 (RFC 9562) that sort by the time of posting, also within a millisecond."""

import random
from datetime import UTC, datetime
from uuid import UUID

from server.uuids import uuid_of_bytes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def time_ordered_id(create_time: datetime, ordinal: int) -> UUID:
    """Id of what was made at `create_time` as number `ordinal` of its batch.

    The fraction of the millisecond fills the 12 bits after the version (RFC 9562, method 3), the
    ordinal the 12 after the variant; 50 bits are random.
    """
    since = create_time - _EPOCH
    milliseconds = (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000
    fraction = (since.microseconds % 1000) * 4096 // 1000
    rest = random.getrandbits(50)
    number = milliseconds << 80 | _VERSION | fraction << 64 | _VARIANT | (ordinal & 0xFFF) << 50 | rest
    return uuid_of_bytes(number.to_bytes(16, "big"))


def first_id_at(instant: datetime) -> UUID:
    """The lowest id of what was made at `instant` or later."""
    since = instant - _EPOCH
    milliseconds = (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000
    return UUID(int=max(0, milliseconds) << 80)
