"""Decides a batch, pure: locked books and movements in, outcomes and new states out.

The order of checks is part of the contract: caller → request id → existence and ownership →
reference → account state → currency → hold or reversal state → funds → overflow. State runs
through the batch: what an earlier movement credits, a later one may spend.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from server.errors import DuplicateReference, RequestIdReused
from server.ledger import rules
from server.ledger.movements import Held, Kind, Movement, Outcome, Posted, Replay
from server.ledger.state import CAPTURED, EXPIRED, PENDING, VOIDED, Account, Books, Context, Hold
from server.ledger.time_ordered_ids import time_ordered_id

HOLD_TIME_DEFAULT = timedelta(days=7)


@dataclass(slots=True)
class Evaluation:
    """Outcomes in the order of the movements, and what has to be written for them."""

    outcomes: list[Outcome] = field(default_factory=list)
    posted: list[Posted] = field(default_factory=list)
    placed: list[tuple[Movement, Hold]] = field(default_factory=list)
    _requests: dict[tuple[UUID, UUID], Posted | Held] = field(default_factory=dict)
    _references: set[tuple[UUID, str]] = field(default_factory=set)

    def count(self) -> int:
        """How many ids were made."""
        return len(self.posted) + len(self.placed)


def release_overdue(books: Books, now: datetime) -> None:
    """Let go what is held by holds whose time has run out; before funds are looked at."""
    for hold in books.holds.values():
        if hold.state == PENDING and hold.expire_time <= now:
            hold.settle(EXPIRED, now)
            books.accounts[hold.source_id].hold(-hold.amount_minor)


def evaluate(movements: Sequence[Movement], books: Books, contexts: Sequence[Context]) -> Evaluation:
    """Decide every movement in order, changing `books` as it goes.

    Args:
        movements: In the order of arrival, their accounts looked up.
        books: Every existing account, hold and original that a movement names, locked.
        contexts: One for each movement, read after the locks were taken.
    """
    evaluation = Evaluation()
    for movement, context in zip(movements, contexts, strict=True):
        evaluation.outcomes.append(_decide(movement, books, context, evaluation))
    return evaluation


def _decide(movement: Movement, books: Books, context: Context, evaluation: Evaluation) -> Outcome:
    refusal = rules.refusal_of_caller(movement, context)
    if refusal is not None:
        return refusal
    earlier = _earlier_outcome(movement, context, evaluation)
    if earlier is not None:
        return earlier
    decide = _DECISIONS[movement.kind]
    return decide(movement, books, context, evaluation)


def _earlier_outcome(movement: Movement, context: Context, evaluation: Evaluation) -> Outcome | None:
    if movement.kind is Kind.VOID:
        return None  # repeats are told by the state they find
    if context.request_result_id is not None:
        if context.request_rpc == movement.rpc and context.request_fingerprint == movement.fingerprint:
            return Replay(context.request_result_id)
        return RequestIdReused(movement.request_id)
    first = evaluation._requests.get((movement.user_id, movement.request_id))
    if first is None:
        return None
    if first.movement.rpc == movement.rpc and first.movement.fingerprint == movement.fingerprint:
        return Replay(first.result_id)
    return RequestIdReused(movement.request_id)


def _decide_transfer(movement: Movement, books: Books, context: Context, evaluation: Evaluation) -> Outcome:
    """TRANSFER, DEPOSIT, WITHDRAWAL."""
    source, destination = books.accounts.get(movement.source_id), books.accounts.get(movement.destination_id)
    check = rules.refusal_of_ownership if movement.kind is Kind.TRANSFER else rules.refusal_at_counter
    refusal = check(movement, source, destination)
    if refusal is not None:
        return refusal
    assert source is not None  # the check has looked
    assert destination is not None
    amount_minor = movement.amount_minor
    assert amount_minor is not None  # "all" is said of holds and reversals only
    if movement.reference is not None and (
        context.reference_taken or (movement.user_id, movement.reference) in evaluation._references
    ):
        return DuplicateReference(movement.reference)
    refusal = (
        rules.refusal_of_states(source, destination)
        or rules.refusal_of_currencies(movement, source, destination)
        or rules.refusal_of_funds(source, amount_minor)
        or rules.refusal_of_overflow(source, destination, amount_minor)
    )
    if refusal is not None:
        return refusal
    return _post(movement, source, destination, amount_minor, context.now, evaluation)


def _decide_hold(movement: Movement, books: Books, context: Context, evaluation: Evaluation) -> Outcome:
    source, destination = books.accounts.get(movement.source_id), books.accounts.get(movement.destination_id)
    refusal = rules.refusal_of_ownership(movement, source, destination)
    if refusal is not None:
        return refusal
    assert source is not None  # the check has looked
    assert destination is not None
    assert movement.amount_minor is not None
    refusal = (
        rules.refusal_of_states(source, destination)
        or rules.refusal_of_currencies(movement, source, destination)
        or rules.refusal_of_expiry(movement, context)
        or rules.refusal_of_hold_count(source)
        or rules.refusal_of_funds(source, movement.amount_minor)
        or rules.refusal_of_held_overflow(source, movement.amount_minor)
    )
    if refusal is not None:
        return refusal
    hold = Hold(
        id=time_ordered_id(context.now, evaluation.count()),
        source_id=source.id,
        destination_id=destination.id,
        amount_minor=movement.amount_minor,
        currency_code=movement.currency_code,
        state=PENDING,
        expire_time=movement.expire_time or context.now + HOLD_TIME_DEFAULT,
        create_time=context.now,
        order_id=movement.order_id,
    )
    source.hold(hold.amount_minor)
    source.pending_hold_count += 1
    held = Held(movement, hold.id)
    books.holds[hold.id] = hold
    evaluation.placed.append((movement, hold))
    evaluation._requests[movement.user_id, movement.request_id] = held
    return held


def _decide_capture(movement: Movement, books: Books, context: Context, evaluation: Evaluation) -> Outcome:
    assert movement.subject_id is not None
    hold = books.holds.get(movement.subject_id)
    source, destination = _accounts(movement, books)
    amount_minor = movement.amount_minor or (hold.amount_minor if hold else 0)
    refusal = rules.refusal_of_hold_access(movement, hold, source, destination, context)
    if refusal is not None:
        return refusal
    assert hold is not None  # the check has looked
    refusal = rules.refusal_of_states(source, destination) or rules.refusal_of_hold_state(hold, amount_minor)
    if refusal is not None:
        return refusal
    source.hold(-hold.amount_minor)
    refusal = rules.refusal_of_funds(source, amount_minor) or rules.refusal_of_overflow(
        source, destination, amount_minor
    )
    if refusal is not None:
        source.hold(hold.amount_minor)
        return refusal
    posted = _post(movement, source, destination, amount_minor, context.now, evaluation)
    source.pending_hold_count -= 1
    hold.settle(CAPTURED, posted.create_time)
    hold.captured_amount_minor, hold.capture_transfer_id = amount_minor, posted.transfer_id
    return posted


def _decide_void(movement: Movement, books: Books, context: Context, evaluation: Evaluation) -> Outcome:
    assert movement.subject_id is not None
    hold = books.holds.get(movement.subject_id)
    source, destination = _accounts(movement, books)
    refusal = rules.refusal_of_hold_access(movement, hold, source, destination, context)
    if refusal is not None:
        return refusal
    assert hold is not None  # the check has looked
    if hold.state != VOIDED:
        refusal = rules.refusal_of_hold_state(hold, 0)
        if refusal is not None:
            return refusal
        hold.settle(VOIDED, context.now)
        source.hold(-hold.amount_minor)
        source.pending_hold_count -= 1
    return Held(movement, hold.id)


def _decide_reversal(movement: Movement, books: Books, context: Context, evaluation: Evaluation) -> Outcome:
    assert movement.subject_id is not None
    original = books.originals.get(movement.subject_id)
    source, destination = _accounts(movement, books)
    refusal = rules.refusal_of_reversal_access(movement, original, source, destination, context)
    if refusal is not None:
        return refusal
    assert original is not None  # the check has looked
    amount_minor = movement.amount_minor or original.remaining_minor
    refusal = (
        rules.refusal_of_states(source, destination)
        or rules.refusal_of_reversal(original, amount_minor)
        or rules.refusal_of_funds(source, amount_minor)
        or rules.refusal_of_overflow(source, destination, amount_minor)
    )
    if refusal is not None:
        return refusal
    original.reversed_minor += amount_minor
    original.changed = True
    return _post(movement, source, destination, amount_minor, context.now, evaluation)


_NOBODYS = Account(UUID(int=0), "", None, "", "", 0, 0, 0, 0, None)


def _accounts(movement: Movement, books: Books) -> tuple[Account, Account]:
    """Both accounts of what the movement names; nobody's where it names nothing that exists."""
    return books.accounts.get(movement.source_id, _NOBODYS), books.accounts.get(movement.destination_id, _NOBODYS)


def _post(
    movement: Movement,
    source: Account,
    destination: Account,
    amount_minor: int,
    now: datetime,
    evaluation: Evaluation,
) -> Posted:
    time = now
    for last in (source.last_entry_time, destination.last_entry_time):
        # A clock that was set back must not put an entry before the one it follows.
        if last is not None and last > time:
            time = last
    posted = Posted(
        movement=movement,
        transfer_id=time_ordered_id(time, evaluation.count()),
        amount_minor=amount_minor,
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


_DECISIONS = {
    Kind.TRANSFER: _decide_transfer,
    Kind.DEPOSIT: _decide_transfer,
    Kind.WITHDRAWAL: _decide_transfer,
    Kind.HOLD: _decide_hold,
    Kind.CAPTURE: _decide_capture,
    Kind.VOID: _decide_void,
    Kind.REVERSAL: _decide_reversal,
}
