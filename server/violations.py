"""Checking of request fields: collects everything that is wrong, to be told at once."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from server.caller import Caller
from server.errors import FieldViolation, InvalidRequest, SameAccount, UnknownCurrency
from server.timestamps import EARLIEST, LATEST, from_proto
from server.uuids import NIL, uuid_of_text

AMOUNT_MINOR_MAX = 10**17
DESCRIPTION_LENGTH_MAX = 200
REFERENCE_LENGTH_MAX = 64
METADATA_KEYS_MAX = 20
METADATA_BYTES_MAX = 1024
PAGE_SIZE_DEFAULT = 50
PAGE_SIZE_MAX = 200

_UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_USERNAME = re.compile(r"[a-z][a-z0-9_-]{2,31}")
_CURRENCY = re.compile(r"[A-Z]{3}")
# Controls, surrogates, and marks that turn the reading direction: they make a text look like
# another one. Tabs and line ends are controls too.
_REFUSED_CATEGORIES = frozenset({"Cc", "Cs"})
_DECOMPOSED_LENGTH_MAX = 4
"""A composed character comes from at most so many."""
_REFUSED_CHARACTERS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


class MoneyRequest(Protocol):
    """A request to move money between two accounts, or to hold it."""

    @property
    def request_id(self) -> str: ...

    @property
    def source_account_id(self) -> str: ...

    @property
    def destination_account_id(self) -> str: ...

    @property
    def amount_minor(self) -> int: ...

    @property
    def currency_code(self) -> str: ...


class RangeRequest(Protocol):
    """A request about a range of time, either end of which may be left out."""

    @property
    def start_time(self) -> Timestamp: ...

    @property
    def end_time(self) -> Timestamp: ...

    def HasField(self, field_name: Any) -> bool: ...  # noqa: ANN401 - as protobuf has it


class Money(NamedTuple):
    """What such requests have in common, checked."""

    request_id: UUID
    source_id: UUID
    destination_id: UUID
    amount_minor: int
    currency_code: str


class Violations:
    """Collects the violations of one request.

    Each check returns the parsed value, or a harmless stand-in after noting a violation; call
    `raise_if_any` before using what the checks returned.
    """

    def __init__(self) -> None:
        self._violations: list[FieldViolation] = []
        self._unknown_currency: UnknownCurrency | None = None
        self._same_account = False

    def add(self, field: str, description: str) -> None:
        """Note that `field` is wrong and what would be right."""
        self._violations.append(FieldViolation(field, description))

    def uuid(self, field: str, value: str) -> UUID:
        """A UUID in the 36-character form, any case."""
        # UUID() alone forgives blanks, underscores, braces and digits of other scripts.
        if _UUID.fullmatch(value):
            return uuid_of_text(value)
        self.add(field, "must be a UUID such as 018f6b3e-5a1c-7c3d-9a57-0242ac120002")
        return NIL

    def uuid_or_none(self, field: str, value: str) -> UUID | None:
        """As `uuid`; None for an empty value, which filters nothing."""
        return self.uuid(field, value) if value else None

    def user_id(self, field: str, value: str, caller: Caller) -> UUID:
        """As `uuid`; `me` is the caller."""
        return caller.user_id if value == "me" else self.uuid(field, value)

    def user_id_or_none(self, field: str, value: str, caller: Caller) -> UUID | None:
        """As `user_id`; None for an empty value."""
        return self.user_id(field, value, caller) if value else None

    def username(self, field: str, value: str) -> str:
        """A user name in its canonical form, which is lower case."""
        # Only ASCII is folded: other scripts have letters whose lower case looks like one of ours.
        folded = value.lower() if value.isascii() else ""
        if _USERNAME.fullmatch(folded):
            return folded
        self.add(field, "must have 3 to 32 of a-z, 0-9, _ and -, the first of them a letter")
        return ""

    def request_id(self, value: str, idempotency_key: str) -> UUID:
        """The request id from the field, or from the header `Idempotency-Key`."""
        if value and idempotency_key and value.lower() != idempotency_key.lower():
            self.add("request_id", "differs from the header Idempotency-Key: send one of them")
            return NIL
        return self.uuid("request_id", value or idempotency_key)

    def money(self, request: MoneyRequest, idempotency_key: str, currencies: Mapping[str, object]) -> Money:
        """Request id, two accounts, amount and currency; SameAccount is raised if nothing else is wrong."""
        money = Money(
            self.request_id(request.request_id, idempotency_key),
            self.uuid("source_account_id", request.source_account_id),
            self.uuid("destination_account_id", request.destination_account_id),
            self.amount("amount_minor", request.amount_minor),
            self.currency("currency_code", request.currency_code, currencies),
        )
        self._same_account = money.source_id == money.destination_id
        return money

    def amount(self, field: str, value: int) -> int:
        """An amount in minor units, 1 to 10^17."""
        if not 1 <= value <= AMOUNT_MINOR_MAX:
            self.add(field, "must be 1 to 100000000000000000 minor units")
        return value

    def amount_or_full(self, amount_minor: int, full: bool) -> int | None:
        """Exactly one of an amount in minor units and "all of it", which is None."""
        if full == bool(amount_minor):
            self.add("amount_minor", "send either amount_minor or full")
        elif not full:
            return self.amount("amount_minor", amount_minor)
        return None

    def time(self, field: str, value: Timestamp) -> datetime:
        """A time in the years that can be stored."""
        try:
            # A message may say what the type forbids: less than none, or more than a second.
            if 0 <= value.nanos < 10**9:
                return from_proto(value)
        except OverflowError:
            pass
        self.add(field, "must be a time in years 1 to 9999")
        return EARLIEST

    def time_range(self, request: RangeRequest) -> tuple[datetime, datetime]:
        """First instant of a range and first one after it; without bounds the whole calendar."""
        return (
            self.time("start_time", request.start_time) if request.HasField("start_time") else EARLIEST,
            self.time("end_time", request.end_time) if request.HasField("end_time") else LATEST,
        )

    def enum(self, field: str, value: int, names: Iterable[tuple[str, int]], prefix: str) -> str | None:
        """The name of an enum value without its prefix; None for the zero, which filters nothing."""
        for name, number in names:
            if number == value:
                return name.removeprefix(prefix) if value else None
        self.add(field, "must be one of the values of the enum")
        return None

    def currency(self, field: str, value: str, known: Mapping[str, object]) -> str:
        """A code among `known`; UnknownCurrency is raised if nothing else is wrong."""
        if not value:
            self.add(field, "must be an ISO 4217 code such as USD")
        elif not _CURRENCY.fullmatch(value) or value not in known:
            self._unknown_currency = UnknownCurrency(value)
        return value

    def text(self, field: str, value: str, *, longest: int, shortest: int = 0) -> str:
        """Text without control characters, in Unicode's composed form; lengths in characters.

        See Unicode Standard Annex 15 for the form (NFC).
        """
        if value.isascii() and value.isprintable():
            composed = value
        elif len(value) > longest * _DECOMPOSED_LENGTH_MAX:
            # Composing takes quadratic time for many marks on one letter.
            composed = value
        else:
            composed = unicodedata.normalize("NFC", value)
            if any(c in _REFUSED_CHARACTERS or unicodedata.category(c) in _REFUSED_CATEGORIES for c in composed):
                self.add(field, "must not contain control or direction characters")
                return ""
        if not shortest <= len(composed) <= longest:
            self.add(field, f"must have {shortest} to {longest} characters")
            return ""
        return composed

    def metadata(self, field: str, value: Mapping[str, str]) -> dict[str, str]:
        """Labels: at most 20 keys, 1 KiB of keys and values in UTF-8 altogether."""
        if not value:
            return {}
        if len(value) > METADATA_KEYS_MAX:
            self.add(field, f"must have at most {METADATA_KEYS_MAX} keys")
            return {}
        if sum(len(key.encode()) + len(text.encode()) for key, text in value.items()) > METADATA_BYTES_MAX:
            self.add(field, f"must have at most {METADATA_BYTES_MAX} bytes of keys and values")
            return {}
        if len({unicodedata.normalize("NFC", key) for key in value}) < len(value):
            self.add(field, "must not have keys that differ in the form of their characters only")
            return {}
        return {
            self.text(field, key, longest=METADATA_BYTES_MAX, shortest=1): self.text(
                field, text, longest=METADATA_BYTES_MAX
            )
            for key, text in value.items()
        }

    def page_size(self, value: int) -> int:
        """How many rows a page has: 0 is the default, more than the cap is the cap."""
        if value < 0:
            self.add("page_size", "must not be negative")
        return min(value or PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX)

    def update_mask(self, paths: Iterable[str], allowed: Iterable[str]) -> frozenset[str]:
        """Which fields to change: at least one, each of them allowed and named once."""
        named = list(paths)
        allowed = sorted(allowed)
        if not named:
            self.add("update_mask", f"must name what to change, of: {', '.join(allowed)}")
        elif len(set(named)) != len(named) or not set(named) <= set(allowed):
            self.add("update_mask", f"may name each of these once: {', '.join(allowed)}")
        return frozenset(named) & frozenset(allowed)

    def raise_if_any(self) -> None:
        """End the check.

        Raises:
            InvalidRequest: With all violations, in the order they were found.
            UnknownCurrency: The currency was the only thing wrong.
            SameAccount: Nothing is wrong but that money would go where it is.
        """
        unknown = self._unknown_currency
        if self._violations:
            raise InvalidRequest([*self._violations, *(unknown.violations if unknown else ())])
        if unknown is not None:
            raise unknown
        if self._same_account:
            raise SameAccount


def parse_id(field: str, value: str) -> UUID:
    """The id in a request that has nothing else.

    Raises:
        InvalidRequest: It is no UUID.
    """
    check = Violations()
    found = check.uuid(field, value)
    check.raise_if_any()
    return found
