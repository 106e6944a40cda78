"""The rules of money, one function each: the first one a movement breaks, or None.

`posting.py` asks them in the order that the contract states.
"""

from datetime import timedelta

from server.caller import Role
from server.errors import (
    AccountClosed,
    AccountFrozen,
    AmountOverflow,
    BankError,
    CurrencyMismatch,
    EmailNotVerified,
    FieldViolation,
    Forbidden,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    SessionRevoked,
    Unauthenticated,
    WrongOrderState,
)
from server.ledger.errors import (
    AlreadyReversed,
    CaptureExceedsHold,
    HoldExpired,
    HoldNotPending,
    NotReversible,
    ReversalExceedsTransfer,
    TooManyHolds,
)
from server.ledger.movements import Kind, Movement
from server.ledger.state import CLOSED, CUSTOMER, EXPIRED, FROZEN, PENDING, Account, Context, Hold, Original

POSTED_MINOR_MAX = 4 * 10**18
HOLD_TIME_MAX = timedelta(days=31)
PENDING_HOLDS_MAX = 1_000
_AT_COUNTER = (Kind.DEPOSIT, Kind.WITHDRAWAL)


def refusal_of_caller(movement: Movement, context: Context) -> BankError | None:
    """Session, user, address, role."""
    if movement.session_id is not None and not context.session_live:
        return SessionRevoked()
    if context.user_disabled:
        return Unauthenticated("this user is disabled")
    if not context.email_verified:
        return EmailNotVerified(movement.user_id)
    if movement.kind in _AT_COUNTER and Role.BANKER not in context.roles:
        return Forbidden()
    if movement.roles_any and movement.roles_any.isdisjoint(context.roles):
        return Forbidden()
    return None


def refusal_of_ownership(movement: Movement, source: Account | None, destination: Account | None) -> BankError | None:
    """For TRANSFER and HOLD: the caller's source, a customer's destination."""
    if source is None or source.owner_user_id != movement.user_id:
        return NotFound("account", movement.source_id)
    if destination is None or destination.kind != CUSTOMER:
        return NotFound("account", movement.destination_id)
    return None


def refusal_at_counter(movement: Movement, source: Account | None, destination: Account | None) -> BankError | None:
    """For DEPOSIT and WITHDRAWAL: a customer's account, and not the banker's own."""
    account, name = (
        (destination, movement.destination_id) if movement.kind is Kind.DEPOSIT else (source, movement.source_id)
    )
    if source is None or destination is None or account is None or account.kind != CUSTOMER:
        return NotFound("account", name)
    if account.owner_user_id == movement.user_id:
        return Forbidden("a banker may not pay in or out on their own account")
    return None


def refusal_of_hold_access(
    movement: Movement, hold: Hold | None, source: Account, destination: Account, context: Context
) -> BankError | None:
    """For CAPTURE and VOID: the owner of the destination, and bankers; the source's owner only looks on.

    The hold of an order is settled by the order, which has decided who may.
    """
    if hold is not None and hold.order_id is not None and movement.order_id == hold.order_id:
        return None
    if hold is not None and destination.owner_user_id == movement.user_id:
        return _refusal_beside_order(hold)
    banker, payer = Role.BANKER in context.roles, source.owner_user_id == movement.user_id
    if hold is None or not (banker or payer or Role.ADMIN in context.roles):
        return NotFound("hold", str(movement.subject_id))
    if payer or not banker:
        return Forbidden("only the owner of the destination account and bankers who did not place it settle a hold")
    return _refusal_beside_order(hold)


def _refusal_beside_order(hold: Hold) -> BankError | None:
    if hold.order_id is None:
        return None
    return WrongOrderState(
        hold.order_id, f"hold {hold.id} belongs to order {hold.order_id}: ship or cancel the order instead"
    )


def refusal_of_reversal_access(
    movement: Movement, original: Original | None, source: Account, destination: Account, context: Context
) -> BankError | None:
    """For REVERSAL, whose source is the original's destination: who got the money gives it back.

    What paid an order is reversed by the order, which has decided who may.
    """
    if original is not None and original.order_id is not None and movement.order_id == original.order_id:
        return None
    banker = Role.BANKER in context.roles
    parties = (source.owner_user_id, destination.owner_user_id)
    if original is None or not (banker or movement.user_id in parties or Role.ADMIN in context.roles):
        return NotFound("transfer", str(movement.subject_id))
    if original.kind == Kind.REVERSAL:
        return NotReversible(original.id)
    if original.order_id is not None:
        return NotReversible(original.id, original.order_id)
    if original.kind in _AT_COUNTER:
        if not banker or movement.user_id in parties:
            return Forbidden("only a banker reverses what was paid in or out, and not on their own account")
        return None
    payer = destination.owner_user_id == movement.user_id
    if source.owner_user_id != movement.user_id and (payer or not banker):
        return Forbidden("only who received a transfer and bankers who did not pay it reverse it")
    return None


def refusal_of_states(source: Account, destination: Account) -> BankError | None:
    """Nothing happens on a closed account, no debit on a frozen one."""
    if source.state == CLOSED:
        return AccountClosed(source.id)
    if destination.state == CLOSED:
        return AccountClosed(destination.id)
    if source.state == FROZEN:
        return AccountFrozen(source.id)
    return None


def refusal_of_currencies(movement: Movement, source: Account, destination: Account) -> BankError | None:
    """Both accounts are in the currency of the call."""
    for account in (source, destination):
        if account.currency_code != movement.currency_code:
            return CurrencyMismatch(account.id, movement.currency_code)
    return None


def refusal_of_hold_state(hold: Hold, amount_minor: int) -> BankError | None:
    """Only a pending hold is settled, and not above what it holds."""
    if hold.state == EXPIRED:
        return HoldExpired(hold.id)
    if hold.state != PENDING:
        return HoldNotPending(hold.id, hold.state)
    if amount_minor > hold.amount_minor:
        return CaptureExceedsHold(hold.id, wanted_minor=amount_minor, held_minor=hold.amount_minor)
    return None


def refusal_of_expiry(movement: Movement, context: Context) -> BankError | None:
    """A hold ends after now and within 31 days, by the database's clock."""
    if movement.expire_time is not None and not (context.now < movement.expire_time <= context.now + HOLD_TIME_MAX):
        return InvalidRequest([FieldViolation("expire_time", "must be after now and within 31 days")])
    return None


def refusal_of_hold_count(source: Account) -> BankError | None:
    """So many holds are pending on an account that one posting can let all of them go."""
    if source.pending_hold_count >= PENDING_HOLDS_MAX:
        return TooManyHolds(source.id, PENDING_HOLDS_MAX)
    return None


def refusal_of_reversal(original: Original, amount_minor: int) -> BankError | None:
    """All reversals together move back at most what was moved."""
    if original.remaining_minor == 0:
        return AlreadyReversed(original.id)
    if amount_minor > original.remaining_minor:
        return ReversalExceedsTransfer(original.id, amount_minor, original.remaining_minor)
    return None


def refusal_of_funds(source: Account, amount_minor: int) -> BankError | None:
    """A customer spends or holds at most what is available."""
    if source.kind == CUSTOMER and amount_minor > source.available_minor:
        return InsufficientFunds(source.id, needed_minor=amount_minor, available_minor=source.available_minor)
    return None


def refusal_of_overflow(source: Account, destination: Account, amount_minor: int) -> BankError | None:
    """Balances stay within what can be stored."""
    if source.posted_minor - amount_minor < -POSTED_MINOR_MAX:
        return AmountOverflow(source.id)
    if destination.posted_minor + amount_minor > POSTED_MINOR_MAX:
        return AmountOverflow(destination.id)
    return None


def refusal_of_held_overflow(source: Account, amount_minor: int) -> BankError | None:
    """What is held stays within what can be stored; with an overdraft it may be more than the balance."""
    if source.held_minor + amount_minor > POSTED_MINOR_MAX:
        return AmountOverflow(source.id)
    return None
