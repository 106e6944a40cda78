"""Expected failures, free of gRPC: what went wrong and the facts a caller needs.

BankError
├── InvalidRequest            the request itself is wrong; sending it again cannot help
│   ├── SameAccount
│   ├── UnknownCurrency
│   └── InvalidPageToken
├── Unauthenticated           who calls is not proven
│   ├── SessionRevoked
│   └── BadCredentials
├── Forbidden                 who calls may not do this
├── NotFound                  absent, or not the caller's to see
├── AlreadyExists             clashes with what is stored
│   ├── RequestIdReused
│   ├── DuplicateReference
│   └── UsernameTaken
├── RuleBroken                a rule of the bank forbids it as things stand
│   ├── InsufficientFunds
│   ├── AccountFrozen
│   ├── AccountClosed
│   ├── AccountNotEmpty           in accounts/errors.py
│   ├── OverdraftInUse            in accounts/errors.py
│   ├── CurrencyMismatch
│   ├── AmountOverflow
│   ├── HoldNotPending            in ledger/errors.py
│   ├── HoldExpired               in ledger/errors.py
│   ├── CaptureExceedsHold        in ledger/errors.py
│   ├── TooManyHolds              in ledger/errors.py
│   ├── NotReversible             in ledger/errors.py
│   ├── AlreadyReversed           in ledger/errors.py
│   ├── ReversalExceedsTransfer   in ledger/errors.py
│   ├── ScheduleNotPending        in transfers/schedules/errors.py
│   ├── WrongOrderState
│   ├── PriceChanged              in orders/errors.py
│   ├── OutOfStock                in products/errors.py
│   ├── ProductArchived           in products/errors.py
│   ├── TooManyWebhooks           in webhooks/errors.py
│   ├── EmailNotVerified
│   └── TokenInvalid
├── StaleVersion              made from a version that has changed; read again first
├── Contended                 lost against other calls; the same call may succeed at once
├── RateLimited               too much from one place
│   └── LoginThrottled
└── Unavailable               a part is missing for now
    ├── Overloaded
    ├── DatabaseUnavailable
    └── CommitUnknown

Every leaf has one `reason`, part of the contract. `error_status.py` turns families into codes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


class BankError(Exception):
    """A failure that is part of the contract.

    Attributes:
        reason: Stable UPPER_SNAKE name, sent as `ErrorInfo.reason`.
        message: English sentence that says what to do.
        item_index: Which item of an atomic batch was refused; None outside batches.
    """

    reason: ClassVar[str]
    item_index: int | None = None

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def metadata(self) -> dict[str, str]:
        """The dynamic parts of the message, sent as `ErrorInfo.metadata`."""
        return {}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that is wrong, by its path in the request, and what would be right."""

    field: str
    description: str


class InvalidRequest(BankError):
    """One or more fields are wrong; carries all of them."""

    reason = "INVALID_REQUEST"

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{each.field}: {each.description}".removeprefix(": ") for each in violations))
        self.violations = tuple(violations)


class SameAccount(InvalidRequest):
    """Source and destination are one account."""

    reason = "SAME_ACCOUNT"

    def __init__(self) -> None:
        super().__init__([FieldViolation("destination_account_id", "must differ from source_account_id")])


class UnknownCurrency(InvalidRequest):
    """The code is no ISO 4217 currency with minor units."""

    reason = "UNKNOWN_CURRENCY"

    def __init__(self, currency_code: str) -> None:
        super().__init__([FieldViolation("currency_code", "must be an upper-case code that ListCurrencies returns")])
        self.currency_code = currency_code

    @property
    def metadata(self) -> dict[str, str]:
        return {"currency_code": self.currency_code[:16]}


class InvalidPageToken(InvalidRequest):
    """The token is not one that this list, filter and caller were given."""

    reason = "INVALID_PAGE_TOKEN"

    def __init__(self) -> None:
        super().__init__([FieldViolation("page_token", "must be next_page_token of the same list, filter and caller")])


class Unauthenticated(BankError):
    """No access token, or one that proves nothing."""

    reason = "UNAUTHENTICATED"

    def __init__(self, message: str = "send a valid access token as `authorization: Bearer …`") -> None:
        super().__init__(message)


class SessionRevoked(Unauthenticated):
    """The session behind the token has ended."""

    reason = "SESSION_REVOKED"

    def __init__(self) -> None:
        super().__init__("the session has ended: sign in again")


class BadCredentials(Unauthenticated):
    """Signing in failed; deliberately silent about why."""

    reason = "BAD_CREDENTIALS"

    def __init__(self) -> None:
        super().__init__("user name or password is wrong")


class Forbidden(BankError):
    """The caller is known and may not do this."""

    reason = "PERMISSION_DENIED"

    def __init__(self, message: str = "your roles do not allow this call") -> None:
        super().__init__(message)


class NotFound(BankError):
    """Absent or somebody else's: the two are told apart by nobody.

    Attributes:
        resource: Kind of the thing, such as `account`.
        name: The id as it was asked for.
    """

    reason = "NOT_FOUND"

    def __init__(self, resource: str, name: UUID | str) -> None:
        super().__init__(f"{resource} {name} does not exist or is not yours to see")
        self.resource = resource
        self.name = str(name)

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.resource, "name": self.name}


class AlreadyExists(BankError):
    """What the call would create is there already.

    Attributes:
        resource: Kind of the thing.
        name: What it clashes by.
    """

    resource: ClassVar[str]

    def __init__(self, message: str, name: UUID | str) -> None:
        super().__init__(message)
        self.name = str(name)

    @property
    def metadata(self) -> dict[str, str]:
        return {"resource": self.resource, "name": self.name}


class RequestIdReused(AlreadyExists):
    """The request id was used for a call with other fields, or for another RPC."""

    reason = "REQUEST_ID_REUSED"
    resource = "request"

    def __init__(self, request_id: UUID) -> None:
        super().__init__("this request_id was used with other fields: make a new one for a new call", request_id)


class DuplicateReference(AlreadyExists):
    """Another transfer of the caller has this reference."""

    reason = "DUPLICATE_REFERENCE"
    resource = "reference"

    def __init__(self, reference: str) -> None:
        super().__init__("another transfer of yours has this reference", reference)


class UsernameTaken(AlreadyExists):
    """Somebody has this user name."""

    reason = "USERNAME_TAKEN"
    resource = "username"

    def __init__(self, username: str) -> None:
        super().__init__("this user name is taken: choose another one", username)


class RuleBroken(BankError):
    """The call is well formed but a rule forbids it as things stand.

    Attributes:
        subject: What the rule speaks of, such as an account id.
    """

    def __init__(self, message: str, subject: UUID | str) -> None:
        super().__init__(message)
        self.subject = str(subject)


class AccountRule(RuleBroken):
    """A rule about one account."""

    @property
    def metadata(self) -> dict[str, str]:
        return {"account_id": self.subject}


class InsufficientFunds(AccountRule):
    """The debit exceeds posted − held + overdraft limit. Amounts in minor units."""

    reason = "INSUFFICIENT_FUNDS"

    def __init__(self, account_id: UUID, needed_minor: int, available_minor: int) -> None:
        super().__init__(
            f"account {account_id} has {available_minor} available, {needed_minor} is needed (minor units)", account_id
        )
        self.needed_minor = needed_minor
        self.available_minor = available_minor

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "account_id": self.subject,
            "needed_minor": str(self.needed_minor),
            "available_minor": str(self.available_minor),
        }


class AccountFrozen(AccountRule):
    """A frozen account is not debited."""

    reason = "ACCOUNT_FROZEN"

    def __init__(self, account_id: UUID) -> None:
        super().__init__(f"account {account_id} is frozen: only credits are booked", account_id)


class AccountClosed(AccountRule):
    """A closed account is neither debited nor credited."""

    reason = "ACCOUNT_CLOSED"

    def __init__(self, account_id: UUID) -> None:
        super().__init__(f"account {account_id} is closed", account_id)


class CurrencyMismatch(AccountRule):
    """The account is not in the currency of the call."""

    reason = "CURRENCY_MISMATCH"

    def __init__(self, account_id: UUID, currency_code: str) -> None:
        super().__init__(f"account {account_id} is not in {currency_code}", account_id)
        self.currency_code = currency_code

    @property
    def metadata(self) -> dict[str, str]:
        return {"account_id": self.subject, "currency_code": self.currency_code}


class AmountOverflow(AccountRule):
    """The balance, what is held of it, or what is to be paid at once would leave the range that can be stored."""

    reason = "AMOUNT_OVERFLOW"

    def __init__(self, account_id: UUID, message: str = "") -> None:
        super().__init__(
            message or f"account {account_id} cannot have a balance, or holds, beyond 4·10^18 minor units", account_id
        )


class WrongOrderState(RuleBroken):
    """What is asked does not fit the state of an order, or is the order's own to do.

    Attributes:
        states: Of the order, its payment and its fulfillment; empty where they do not matter.
    """

    reason = "ORDER_STATE"

    def __init__(self, order_id: UUID | str, message: str, states: Sequence[str] = ()) -> None:
        super().__init__(message, order_id)
        self.states = tuple(states)

    @property
    def metadata(self) -> dict[str, str]:
        return {"order_id": self.subject, "states": ",".join(self.states)}


class EmailNotVerified(RuleBroken):
    """An unverified user moves no money."""

    reason = "EMAIL_NOT_VERIFIED"

    def __init__(self, user_id: UUID) -> None:
        super().__init__("open the link in the verification mail first, or ask for a new one", user_id)


class TokenInvalid(RuleBroken):
    """A mailed token is wrong, used, expired or superseded; deliberately silent about which."""

    reason = "TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("this link is not valid any more: ask for a new one", "token")


class StaleVersion(BankError):
    """What was to be changed has changed since it was read.

    Attributes:
        version: The version it has now.
    """

    reason = "STALE_VERSION"

    def __init__(self, version: int) -> None:
        super().__init__(f"it was changed meanwhile and has version {version}: read it again, then change it")
        self.version = version

    @property
    def metadata(self) -> dict[str, str]:
        return {"version": str(self.version)}


class Retryable(BankError):
    """The same call may succeed later.

    Attributes:
        retry_after_s: When trying again makes sense, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Contended(Retryable):
    """Another call kept one of the accounts locked for too long."""

    reason = "CONTENTION"

    def __init__(self) -> None:
        super().__init__("an account of this call is busy: send the same call again", 0.1)


class RateLimited(Retryable):
    """Too many calls from one user or address."""

    reason = "RATE_LIMITED"

    def __init__(self, retry_after_s: float, message: str = "too many calls: wait before the next one") -> None:
        super().__init__(message, retry_after_s)


class LoginThrottled(RateLimited):
    """Too many passwords are being checked, or were for this user or address."""

    reason = "LOGIN_THROTTLED"

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(retry_after_s, "too many passwords are being tried: wait, or set a new one by mail")


class Unavailable(Retryable):
    """A part of the service cannot be reached or has no room."""


class Overloaded(Unavailable):
    """More calls are waiting than the service admits; this one was not tried."""

    reason = "OVERLOADED"

    def __init__(
        self, retry_after_s: float = 0.5, message: str = "too many calls are waiting: send the same call again later"
    ) -> None:
        super().__init__(message, retry_after_s)


class PasswordsUnavailable(Unavailable):
    """The process that hashes passwords cannot be started, or dies whenever it is asked."""

    reason = "PASSWORDS_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("passwords cannot be checked at the moment: send the same call again later", 1.0)


class DatabaseUnavailable(Unavailable):
    """The database did not answer; nothing was written."""

    reason = "DATABASE_UNAVAILABLE"

    def __init__(self) -> None:
        super().__init__("the database cannot be reached, nothing was written: send the same call again", 1.0)


class CommitUnknown(Unavailable):
    """The database was lost while it committed; only the same call, sent again, can tell what happened."""

    reason = "COMMIT_UNKNOWN"

    def __init__(self) -> None:
        super().__init__(
            "whether this was written is not known yet: send the same call, with the same request_id, again", 1.0
        )
