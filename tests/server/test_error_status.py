"""Every failure of the contract: its code, its reason and its details."""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    Help,
    PreconditionFailure,
    QuotaFailure,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from server import errors
from server.accounts.errors import AccountNotEmpty, OverdraftInUse
from server.error_status import CODES, code_of, plain_status, status_of
from server.errors import BankError, FieldViolation
from server.ledger import errors as ledger_errors
from server.orders.errors import PriceChanged
from server.products.errors import OutOfStock, ProductArchived, Shortage
from server.transfers.schedules.errors import ScheduleNotPending
from server.webhooks.errors import TooManyWebhooks

ID = UUID("018f6b3e-5a1c-7c3d-9a57-0242ac120002")
OTHER_ID = UUID("018f6b3e-5a1c-7c3d-9a57-0242ac120003")
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
HELP_URL = "https://bank.example/docs/errors.html"
DETAILS = (BadRequest, ErrorInfo, Help, PreconditionFailure, QuotaFailure, RequestInfo, ResourceInfo, RetryInfo)

# One of each that can be raised, and the code its callers were promised.
CASES: tuple[tuple[BankError, str, str], ...] = (
    (
        errors.InvalidRequest([FieldViolation("a", "must be b"), FieldViolation("c", "must be d")]),
        "INVALID_ARGUMENT",
        "INVALID_REQUEST",
    ),
    (errors.SameAccount(), "INVALID_ARGUMENT", "SAME_ACCOUNT"),
    (errors.UnknownCurrency("usd"), "INVALID_ARGUMENT", "UNKNOWN_CURRENCY"),
    (errors.InvalidPageToken(), "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
    (errors.Unauthenticated(), "UNAUTHENTICATED", "UNAUTHENTICATED"),
    (errors.SessionRevoked(), "UNAUTHENTICATED", "SESSION_REVOKED"),
    (errors.BadCredentials(), "UNAUTHENTICATED", "BAD_CREDENTIALS"),
    (errors.Forbidden(), "PERMISSION_DENIED", "PERMISSION_DENIED"),
    (errors.NotFound("account", ID), "NOT_FOUND", "NOT_FOUND"),
    (errors.RequestIdReused(ID), "ALREADY_EXISTS", "REQUEST_ID_REUSED"),
    (errors.DuplicateReference("rent 11"), "ALREADY_EXISTS", "DUPLICATE_REFERENCE"),
    (errors.UsernameTaken("alice"), "ALREADY_EXISTS", "USERNAME_TAKEN"),
    (errors.InsufficientFunds(ID, needed_minor=101, available_minor=99), "FAILED_PRECONDITION", "INSUFFICIENT_FUNDS"),
    (errors.AccountFrozen(ID), "FAILED_PRECONDITION", "ACCOUNT_FROZEN"),
    (errors.AccountClosed(ID), "FAILED_PRECONDITION", "ACCOUNT_CLOSED"),
    (errors.CurrencyMismatch(ID, "EUR"), "FAILED_PRECONDITION", "CURRENCY_MISMATCH"),
    (errors.AmountOverflow(ID), "FAILED_PRECONDITION", "AMOUNT_OVERFLOW"),
    (ledger_errors.HoldNotPending(ID, "CAPTURED"), "FAILED_PRECONDITION", "HOLD_NOT_PENDING"),
    (ledger_errors.HoldExpired(ID), "FAILED_PRECONDITION", "HOLD_EXPIRED"),
    (
        ledger_errors.CaptureExceedsHold(ID, wanted_minor=60, held_minor=50),
        "FAILED_PRECONDITION",
        "CAPTURE_EXCEEDS_HOLD",
    ),
    (ledger_errors.TooManyHolds(ID, 1_000), "FAILED_PRECONDITION", "TOO_MANY_HOLDS"),
    (ledger_errors.NotReversible(ID), "FAILED_PRECONDITION", "NOT_REVERSIBLE"),
    (ledger_errors.AlreadyReversed(ID), "FAILED_PRECONDITION", "ALREADY_REVERSED"),
    (
        ledger_errors.ReversalExceedsTransfer(ID, wanted_minor=60, remaining_minor=50),
        "FAILED_PRECONDITION",
        "REVERSAL_EXCEEDS_TRANSFER",
    ),
    (AccountNotEmpty(ID, 7, ["hold"]), "FAILED_PRECONDITION", "ACCOUNT_NOT_EMPTY"),
    (OverdraftInUse(ID, 30), "FAILED_PRECONDITION", "OVERDRAFT_IN_USE"),
    (ScheduleNotPending(ID, "POSTED"), "FAILED_PRECONDITION", "SCHEDULE_NOT_PENDING"),
    (errors.WrongOrderState(ID, "no", ("PLACED", "HELD", "RESERVED")), "FAILED_PRECONDITION", "ORDER_STATE"),
    (PriceChanged(expected_total_minor=9, total_minor=10), "FAILED_PRECONDITION", "PRICE_CHANGED"),
    (OutOfStock([Shortage(ID, 5, 3), Shortage(OTHER_ID, 2, 0)]), "FAILED_PRECONDITION", "OUT_OF_STOCK"),
    (ProductArchived(ID), "FAILED_PRECONDITION", "PRODUCT_ARCHIVED"),
    (TooManyWebhooks(ID, 10), "FAILED_PRECONDITION", "TOO_MANY_WEBHOOKS"),
    (errors.StaleVersion(3), "ABORTED", "STALE_VERSION"),
    (errors.EmailNotVerified(ID), "FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED"),
    (errors.TokenInvalid(), "FAILED_PRECONDITION", "TOKEN_INVALID"),
    (errors.Contended(), "ABORTED", "CONTENTION"),
    (errors.RateLimited(1.5), "RESOURCE_EXHAUSTED", "RATE_LIMITED"),
    (errors.LoginThrottled(0.25), "RESOURCE_EXHAUSTED", "LOGIN_THROTTLED"),
    (errors.Overloaded(), "UNAVAILABLE", "OVERLOADED"),
    (errors.PasswordsUnavailable(), "UNAVAILABLE", "PASSWORDS_UNAVAILABLE"),
    (errors.DatabaseUnavailable(), "UNAVAILABLE", "DATABASE_UNAVAILABLE"),
    (errors.CommitUnknown(), "UNAVAILABLE", "COMMIT_UNKNOWN"),
)
NAMES = [type(error).__name__ for error, _, _ in CASES]
FAMILY_DETAILS = {
    "INVALID_ARGUMENT": {BadRequest},
    "UNAUTHENTICATED": set(),
    "PERMISSION_DENIED": set(),
    "NOT_FOUND": {ResourceInfo},
    "ALREADY_EXISTS": {ResourceInfo},
    "FAILED_PRECONDITION": {PreconditionFailure, Help},
    "ABORTED": {RetryInfo},
    "RESOURCE_EXHAUSTED": {QuotaFailure, RetryInfo},
    "UNAVAILABLE": {RetryInfo},
}


def classes(of: type[BankError] = BankError) -> Iterator[type[BankError]]:
    for each in of.__subclasses__():
        yield each
        yield from classes(each)


def unpacked(status: Status) -> list[Message]:
    found: list[Message] = []
    for detail in status.details:
        (kind,) = (kind for kind in DETAILS if detail.Is(kind.DESCRIPTOR))
        message = kind()
        detail.Unpack(message)
        found.append(message)
    return found


def detail(status: Status, kind: type[Message]) -> Message:
    (found,) = (message for message in unpacked(status) if isinstance(message, kind))
    return found


class TestErrors:
    def test_every_class_with_a_reason_belongs_to_a_family(self) -> None:
        without = [each for each in classes() if "reason" in vars(each) and not CODES.keys() & set(each.__mro__)]
        assert without == []

    def test_every_class_without_subclasses_has_a_reason(self) -> None:
        assert [each for each in classes() if not each.__subclasses__() and "reason" not in vars(each)] == []

    def test_no_reason_is_used_twice(self) -> None:
        reasons = Counter(each.reason for each in classes() if "reason" in vars(each))
        assert {reason for reason, count in reasons.items() if count > 1} == set()

    def test_every_class_with_a_reason_has_a_case_here(self) -> None:
        assert {each for each in classes() if "reason" in vars(each)} == {type(error) for error, _, _ in CASES}

    def test_class_outside_the_families_is_a_defect(self) -> None:
        with pytest.raises(LookupError, match="BankError has no family"):
            code_of(BankError("a failure of no family"))


@pytest.mark.parametrize(("error", "code", "reason"), CASES, ids=NAMES)
class TestStatusOf:
    def test_code_message_and_info_are_those_of_the_contract(self, error: BankError, code: str, reason: str) -> None:
        status = status_of(error, TRACE_ID, HELP_URL)
        assert status.code == grpc.StatusCode[code].value[0]
        assert status.message == error.message
        assert detail(status, ErrorInfo) == ErrorInfo(reason=reason, domain="bank.v1", metadata=error.metadata)

    def test_details_are_those_of_the_family_and_each_comes_once(
        self, error: BankError, code: str, reason: str
    ) -> None:
        kinds = Counter(type(message) for message in unpacked(status_of(error, TRACE_ID, HELP_URL)))
        # Waiting mends contention, and does not mend a stale version.
        expected = set() if reason == "STALE_VERSION" else FAMILY_DETAILS[code]
        assert kinds == dict.fromkeys({ErrorInfo, RequestInfo} | expected, 1)

    def test_trace_id_is_told(self, error: BankError, code: str, reason: str) -> None:
        assert detail(status_of(error, TRACE_ID, HELP_URL), RequestInfo) == RequestInfo(request_id=TRACE_ID)

    def test_fields_are_repeated_in_the_metadata(self, error: BankError, code: str, reason: str) -> None:
        """Nobody should have to read them out of the sentence."""
        unrepeated = {"message", "violations", "retry_after_s"}  # told in details of their own
        fields = {name: value for name, value in vars(error).items() if name not in unrepeated and value != "token"}
        if not isinstance(error, errors.EmailNotVerified | TooManyWebhooks):  # their subject is the caller
            told = [",".join(value) if isinstance(value, tuple) else str(value) for value in fields.values()]
            assert sorted(told) == sorted(set(error.metadata.values()) - {resource_of(error)})


def resource_of(error: BankError) -> str | None:
    """The kind of thing, where it is the class's and not the instance's."""
    return error.resource if isinstance(error, errors.AlreadyExists) else None


class TestDetails:
    def test_all_violations_are_listed(self) -> None:
        violations = [FieldViolation("amount_minor", "must be 1"), FieldViolation("currency_code", "must be USD")]
        bad = detail(status_of(errors.InvalidRequest(violations), TRACE_ID, HELP_URL), BadRequest)
        assert isinstance(bad, BadRequest)
        assert [(each.field, each.description) for each in bad.field_violations] == [
            ("amount_minor", "must be 1"),
            ("currency_code", "must be USD"),
        ]

    def test_missing_thing_is_named(self) -> None:
        found = detail(status_of(errors.NotFound("account", ID), TRACE_ID, HELP_URL), ResourceInfo)
        assert found == ResourceInfo(resource_type="account", resource_name=str(ID))

    def test_clash_names_what_it_clashes_with(self) -> None:
        found = detail(status_of(errors.UsernameTaken("alice"), TRACE_ID, HELP_URL), ResourceInfo)
        assert found == ResourceInfo(resource_type="username", resource_name="alice")

    def test_broken_rule_names_its_subject_and_where_to_read_on(self) -> None:
        status = status_of(errors.InsufficientFunds(ID, 101, 99), TRACE_ID, HELP_URL)
        precondition, link = detail(status, PreconditionFailure), detail(status, Help)
        assert isinstance(precondition, PreconditionFailure)
        assert isinstance(link, Help)
        (violation,) = precondition.violations
        assert (violation.type, violation.subject) == ("INSUFFICIENT_FUNDS", str(ID))
        assert [each.url for each in link.links] == [f"{HELP_URL}#INSUFFICIENT_FUNDS"]

    def test_funds_are_told_as_numbers(self) -> None:
        info = detail(status_of(errors.InsufficientFunds(ID, 101, 99), TRACE_ID, HELP_URL), ErrorInfo)
        assert isinstance(info, ErrorInfo)
        assert dict(info.metadata) == {"account_id": str(ID), "needed_minor": "101", "available_minor": "99"}

    @pytest.mark.parametrize(
        ("error", "delay_s"),
        [
            (errors.Contended(), 0.1),
            (errors.RateLimited(1.5), 1.5),
            (errors.LoginThrottled(90.0), 90.0),
            (errors.Overloaded(), 0.5),
            (errors.PasswordsUnavailable(), 1.0),
            (errors.DatabaseUnavailable(), 1.0),
            (errors.CommitUnknown(), 1.0),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_retry_is_worth_it_after_the_delay(self, error: BankError, delay_s: float) -> None:
        retry = detail(status_of(error, TRACE_ID, HELP_URL), RetryInfo)
        assert isinstance(retry, RetryInfo)
        assert retry.retry_delay.ToMicroseconds() == delay_s * 1_000_000


class TestPlainStatus:
    def test_fixed_words_reason_and_trace_id_are_all(self) -> None:
        status = plain_status(grpc.StatusCode.INTERNAL, "INTERNAL", "internal error", TRACE_ID)
        assert (status.code, status.message) == (13, "internal error")
        assert unpacked(status) == [ErrorInfo(reason="INTERNAL", domain="bank.v1"), RequestInfo(request_id=TRACE_ID)]
