"""The rules of money, pure: locked accounts and movements in, outcomes and new states out.

The order of checks is part of the contract: caller → request id → existence and ownership →
reference → account state → currency → funds → overflow. One account's state runs through the
batch: what an earlier movement credits, a later one may spend.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from server.caller import Role
from server.errors import (
    AccountClosed,
    AccountFrozen,
    AmountOverflow,
    BankError,
    CurrencyMismatch,
    DuplicateReference,
    EmailNotVerified,
    Forbidden,
    InsufficientFunds,
    NotFound,
    RequestIdReused,
    SessionRevoked,
    Unauthenticated,
)
from server.ledger.movements import Kind, Movement, Outcome, Posted, Replay
from server.ledger.transfer_ids import transfer_id

POSTED_MINOR_MAX = 4 * 10**18
FROZEN = "FROZEN"
CLOSED = "CLOSED"
CUSTOMER = "CUSTOMER"


@dataclass(slots=True)
class Account:
    """A locked account as it is after the movements evaluated so far. Amounts in minor units."""

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

    @property
    def available_minor(self) -> int:
        """What may be debited: posted − held + overdraft limit."""
        return self.posted_minor - self.held_minor + self.overdraft_limit_minor

    def book(self, amount_minor: int, time: datetime) -> None:
        """Add an entry."""
        self.posted_minor += amount_minor
        self.entry_count += 1
        self.last_entry_time = time
        self.changed = True


@dataclass(frozen=True, slots=True)
class Context:
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
    request_rpc: str | None
    request_fingerprint: bytes | None
    request_result_id: UUID | None
    reference_taken: bool
    now: datetime


@dataclass(slots=True)
class Evaluation:
    """Outcomes in the order of the movements, and what has to be written for them."""

    outcomes: list[Outcome] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    _requests: dict[tuple[UUID, UUID], Posted] = field(default_factory=dict)
    _references: set[tuple[UUID, str]] = field(default_factory=set)


def evaluate(
    movements: Sequence[Movement], accounts: Mapping[UUID, Account], contexts: Sequence[Context]
) -> Evaluation:
    """Decide every movement in order, changing `accounts` as it goes.

    Args:
        movements: In the order of arrival.
        accounts: Every existing account that a movement names, locked, by id.
        contexts: One for each movement, read after the locks were taken.
    """
    evaluation = Evaluation()
    for movement, context in zip(movements, contexts, strict=True):
        evaluation.outcomes.append(_decide(movement, accounts, context, evaluation))
    return evaluation


def _decide(movement: Movement, accounts: Mapping[UUID, Account], context: Context, evaluation: Evaluation) -> Outcome:
    refusal = _refusal_of_caller(movement, context)
    if refusal is not None:
        return refusal
    earlier = _earlier_outcome(movement, context, evaluation)
    if earlier is not None:
        return earlier
    source = accounts.get(movement.source_id)
    destination = accounts.get(movement.destination_id)
    refusal = _refusal_of_ownership(movement, source, destination)
    if refusal is not None:
        return refusal
    assert source is not None  # _refusal_of_ownership has looked
    assert destination is not None
    if movement.reference is not None and (
        context.reference_taken or (movement.user_id, movement.reference) in evaluation._references
    ):
        return DuplicateReference(movement.reference)
    refusal = (
        _refusal_of_states(source, destination)
        or _refusal_of_currencies(movement, source, destination)
        or _refusal_of_amount(movement, source, destination)
    )
    if refusal is not None:
        return refusal
    return _post(movement, source, destination, context.now, evaluation)


def _refusal_of_caller(movement: Movement, context: Context) -> BankError | None:
    if movement.session_id is not None and not context.session_live:
        return SessionRevoked()
    if context.user_disabled:
        return Unauthenticated("this user is disabled")
    if not context.email_verified:
        return EmailNotVerified(movement.user_id)
    if movement.kind is not Kind.TRANSFER and Role.BANKER not in context.roles:
        return Forbidden()
    return None


def _earlier_outcome(movement: Movement, context: Context, evaluation: Evaluation) -> Outcome | None:
    if context.request_result_id is not None:
        if context.request_rpc == movement.rpc and context.request_fingerprint == movement.fingerprint:
            return Replay(context.request_result_id)
        return RequestIdReused(movement.request_id)
    first = evaluation._requests.get((movement.user_id, movement.request_id))
    if first is None:
        return None
    if first.movement.rpc == movement.rpc and first.movement.fingerprint == movement.fingerprint:
        return Replay(first.transfer_id)
    return RequestIdReused(movement.request_id)


def _refusal_of_ownership(movement: Movement, source: Account | None, destination: Account | None) -> BankError | None:
    if movement.kind is Kind.TRANSFER:
        if source is None or source.owner_user_id != movement.user_id:
            return NotFound("account", movement.source_id)
        if destination is None or destination.kind != CUSTOMER:
            return NotFound("account", movement.destination_id)
        return None
    at_counter, name = (
        (destination, movement.destination_id) if movement.kind is Kind.DEPOSIT else (source, movement.source_id)
    )
    if source is None or destination is None or at_counter is None or at_counter.kind != CUSTOMER:
        return NotFound("account", name)
    if at_counter.owner_user_id == movement.user_id:
        return Forbidden("a banker may not pay in or out on their own account")
    return None


def _refusal_of_states(source: Account, destination: Account) -> BankError | None:
    if source.state == CLOSED:
        return AccountClosed(source.id)
    if destination.state == CLOSED:
        return AccountClosed(destination.id)
    if source.state == FROZEN:
        return AccountFrozen(source.id)
    return None


def _refusal_of_currencies(movement: Movement, source: Account, destination: Account) -> BankError | None:
    for account in (source, destination):
        if account.currency_code != movement.currency_code:
            return CurrencyMismatch(account.id, movement.currency_code)
    return None


def _refusal_of_amount(movement: Movement, source: Account, destination: Account) -> BankError | None:
    amount_minor = movement.amount_minor
    if source.kind == CUSTOMER and amount_minor > source.available_minor:
        return InsufficientFunds(source.id, needed_minor=amount_minor, available_minor=source.available_minor)
    if source.posted_minor - amount_minor < -POSTED_MINOR_MAX:
        return AmountOverflow(source.id)
    if destination.posted_minor + amount_minor > POSTED_MINOR_MAX:
        return AmountOverflow(destination.id)
    return None


def _post(movement: Movement, source: Account, destination: Account, now: datetime, evaluation: Evaluation) -> Posted:
    time = now
    for last in (source.last_entry_time, destination.last_entry_time):
        # A clock that was set back must not put an entry before the one it follows.
        if last is not None and last > time:
            time = last
    amount_minor = movement.amount_minor
    posted = Posted(
        movement=movement,
        transfer_id=transfer_id(time, len(evaluation.posted)),
        create_time=time,
        source_user_id=source.owner_user_id,
        source_sequence=source.entry_count + 1,
        source_balance_minor=source.posted_minor - amount_minor,
        destination_user_id=destination.owner_user_id,
        destination_sequence=destination.entry_count + 1,
        destination_balance_minor=destination.posted_minor + amount_minor,
    )
    if movement.validate_only:
        return posted
    source.book(-amount_minor, time)
    destination.book(amount_minor, time)
    evaluation.posted.append(posted)
    evaluation._requests[movement.user_id, movement.request_id] = posted
    if movement.reference is not None:
        evaluation._references.add((movement.user_id, movement.reference))
    return posted
