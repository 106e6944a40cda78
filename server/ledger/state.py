"""What the rules look at: accounts, holds and originals as they are under the locks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

CUSTOMER = "CUSTOMER"
FROZEN = "FROZEN"
CLOSED = "CLOSED"

PENDING = "PENDING"
CAPTURED = "CAPTURED"
VOIDED = "VOIDED"
EXPIRED = "EXPIRED"


@dataclass(slots=True)
class Account:
    """A locked account as it is after the movements evaluated so far. Amounts in minor units.

    Attributes:
        pending_hold_count: Holds on it that are pending and not overdue; meaningless unless a
            movement places a hold on it.
    """

    id: UUID
    kind: str
    owner_user_id: UUID | None
    currency_code: str
    state: str
    posted_minor: int
    held_minor: int
    overdraft_limit_minor: int
    entry_count: int
    last_entry_time: datetime | None
    changed: bool = False
    pending_hold_count: int = 0

    @property
    def available_minor(self) -> int:
        """What may be debited or held: posted − held + overdraft limit."""
        return self.posted_minor - self.held_minor + self.overdraft_limit_minor

    def book(self, amount_minor: int, time: datetime) -> None:
        """Add an entry."""
        self.posted_minor += amount_minor
        self.entry_count += 1
        self.last_entry_time = time
        self.changed = True

    def hold(self, amount_minor: int) -> None:
        """Reserve money, or with a negative amount let it go."""
        self.held_minor += amount_minor
        self.changed = True


@dataclass(slots=True)
class Hold:
    """A hold as it is after the movements evaluated so far.

    Attributes:
        settle_time: When it left PENDING in this batch; None if it did not.
        order_id: The order it pays; None if none.
    """

    id: UUID
    source_id: UUID
    destination_id: UUID
    amount_minor: int
    currency_code: str
    state: str
    expire_time: datetime
    create_time: datetime
    captured_amount_minor: int = 0
    capture_transfer_id: UUID | None = None
    settle_time: datetime | None = None
    order_id: UUID | None = None

    def settle(self, state: str, time: datetime) -> None:
        """Leave PENDING."""
        self.state = state
        self.settle_time = time


@dataclass(slots=True)
class Original:
    """A transfer that shall be reversed, and how much of it was after the movements so far.

    Attributes:
        order_id: The order it paid; None if none.
    """

    id: UUID
    kind: str
    source_id: UUID
    destination_id: UUID
    amount_minor: int
    currency_code: str
    order_id: UUID | None = None
    reversed_minor: int = 0
    changed: bool = False

    @property
    def remaining_minor(self) -> int:
        """What may still be reversed."""
        return self.amount_minor - self.reversed_minor


class Context(NamedTuple):
    """What the rules need to know of one movement beside its accounts.

    Attributes:
        session_live: Neither revoked nor expired by the database's clock.
        request_rpc: RPC that used the request id before, with fingerprint and result; None if
            none did.
        reference_taken: The caller has a transfer with this reference.
        now: The database's clock, after the locks were taken.
    """

    session_live: bool
    user_disabled: bool
    email_verified: bool
    roles: Sequence[str]
    now: datetime
    request_rpc: str | None = None
    request_fingerprint: bytes | None = None
    request_result_id: UUID | None = None
    reference_taken: bool = False


@dataclass(slots=True)
class Books:
    """Everything that is locked, by id."""

    accounts: dict[UUID, Account] = field(default_factory=dict)
    holds: dict[UUID, Hold] = field(default_factory=dict)
    originals: dict[UUID, Original] = field(default_factory=dict)
