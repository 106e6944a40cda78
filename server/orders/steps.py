"""What happens to a placed order: stock and money move together with its states, or nothing does.

Each step locks the order first, then products, then accounts. The hold of an order and what paid
it are settled here only, so under the order's lock its states tell what the ledger has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid5

from bankdb import orders as queries
from bankdb.models import Order, OrderItem
from bankdb.requests import get_clock, get_request
from bankdb.transfers import list_reversed_totals

from server.caller import Role
from server.database import Connection, after_commit
from server.errors import BankError, FieldViolation, InvalidRequest, WrongOrderState
from server.ledger.errors import HoldExpired
from server.ledger.measuring import count_money
from server.ledger.movements import UNRESOLVED, Kind, Movement, Posted, fingerprint_of
from server.ledger.writing import post
from server.orders.actors import Actor, check_sees, roles_of, seller_roles
from server.orders.transitions import EXPIRED, PLACED, States, Step, after, is_reached
from server.products import stock
from server.products.stock import ON_HAND_MAX, Cause, Change, lock_products, move_stock
from server.request_ids import Request, claim

SHIP_ORDER = "bank.v1.OrderService/ShipOrder"
CANCEL_ORDER = "bank.v1.OrderService/CancelOrder"
REFUND_ORDER = "bank.v1.OrderService/RefundOrder"


@dataclass(frozen=True, slots=True)
class Refund:
    """What shall be paid back of an order, already parsed.

    Attributes:
        amount_minor: None: all that is left.
        restocked: Pieces to put back into the stock, by product.
    """

    request: Request
    actor: Actor
    order_id: UUID
    amount_minor: int | None
    restocked: Mapping[UUID, int]


async def cancel_order(connection: Connection, order_id: UUID, actor: Actor) -> None:
    """Let pieces and money of an unshipped order go, within the caller's transaction.

    Raises:
        SessionRevoked, Unauthenticated, EmailNotVerified: The actor moves no money now.
        NotFound: There is no such order, or it is not the actor's to see.
        WrongOrderState: It is shipped or has expired.
    """
    roles = await roles_of(connection, actor)
    order = check_sees(await queries.lock_order(connection, id=order_id), order_id, actor, roles)
    then = await _next(connection, order, Step.CANCEL)
    if then is None:
        return
    await _move_items(connection, order, actor, stock.Kind.RELEASED)
    await _post(connection, _of_hold(Kind.VOID, CANCEL_ORDER, order, actor, frozenset()))
    await _update(connection, order, Step.CANCEL, then)


async def ship_order(connection: Connection, order_id: UUID, actor: Actor) -> None:
    """Take the pieces out of the stock and capture the hold, within the caller's transaction.

    Raises:
        SessionRevoked, Unauthenticated, EmailNotVerified: The actor moves no money now.
        NotFound: There is no such order, or it is not the actor's to see.
        Forbidden: The actor does not sell it.
        WrongOrderState: It is canceled or has expired.
        AccountClosed, AccountFrozen, AmountOverflow: What the ledger refuses a capture for.
    """
    order, wanted_roles = await _locked_for_seller(connection, order_id, actor)
    then = await _next(connection, order, Step.SHIP)
    if then is None:
        return
    await _move_items(connection, order, actor, stock.Kind.SHIPPED)
    posted = await _post(connection, _of_hold(Kind.CAPTURE, SHIP_ORDER, order, actor, wanted_roles))
    assert isinstance(posted, Posted)  # captures happen under the order's lock only
    await _update(connection, order, Step.SHIP, then, posted)


async def deliver_order(connection: Connection, order_id: UUID, actor: Actor) -> None:
    """Complete a shipped order, within the caller's transaction.

    Raises:
        SessionRevoked, Unauthenticated, EmailNotVerified: As for all steps.
        NotFound: There is no such order, or it is not the actor's to see.
        Forbidden: The actor does not sell it.
        WrongOrderState: It is not shipped.
    """
    order, _ = await _locked_for_seller(connection, order_id, actor)
    then = await _next(connection, order, Step.DELIVER)
    if then is not None:
        await _update(connection, order, Step.DELIVER, then)


async def refund_order(connection: Connection, refund: Refund) -> tuple[UUID, bool]:
    """Pay an order back and put pieces back, within the caller's transaction, once per request id.

    Returns:
        The transfer that paid it back, and whether an earlier call had made it.

    Raises:
        SessionRevoked, Unauthenticated, EmailNotVerified: The actor moves no money now.
        RequestIdReused: The request id stands for another call.
        NotFound: There is no such order, or it is not the actor's to see.
        Forbidden: The actor does not sell it.
        WrongOrderState: It is not paid, or all was paid back.
        InvalidRequest: What shall be put back was not ordered, is back already, or is too much.
        BankError: What the ledger refuses a reversal for.
    """
    roles = await roles_of(connection, refund.actor)
    # The reversal has a request id of its own, by which it is found again.
    reversal_request_id = uuid5(refund.request.request_id, "reversal")
    if await claim(connection, refund.request, refund.order_id) is not None:
        made = await get_request(connection, user_id=refund.actor.user_id, request_id=reversal_request_id)
        assert made is not None  # it was written with the request
        return made.result_id, True
    order, wanted_roles = await _locked_for_seller(connection, refund.order_id, refund.actor, roles)
    states = _states(order)
    if after(Step.REFUND_PART, states) is None:
        raise _refusal(order, states, "can be refunded once it is shipped, and until all is paid back")
    await _restock(connection, order, refund)
    assert order.transfer_id is not None  # such states are paid
    posted = await _post(
        connection,
        Movement(
            kind=Kind.REVERSAL,
            user_id=refund.actor.user_id,
            session_id=refund.actor.session_id,
            request_id=reversal_request_id,
            rpc=REFUND_ORDER,
            fingerprint=refund.request.fingerprint,
            source_id=UNRESOLVED,
            destination_id=UNRESOLVED,
            amount_minor=refund.amount_minor,
            currency_code="",
            subject_id=order.transfer_id,
            order_id=order.id,
            roles_any=wanted_roles,
        ),
    )
    assert isinstance(posted, Posted)  # its request id was claimed just now
    [total] = await list_reversed_totals(connection, ids=[order.transfer_id])
    step = Step.REFUND_REST if total.amount_minor == order.total_minor else Step.REFUND_PART
    then = after(step, states)
    assert then is not None  # both refunds begin in the same states
    await _update(connection, order, step, then, posted)
    return posted.transfer_id, False


async def release_items(connection: Connection, order: Order) -> None:
    """Give back what a locked order has reserved, in the name of the service."""
    await _move_items(connection, order, None, stock.Kind.RELEASED)


async def _locked_for_seller(
    connection: Connection, order_id: UUID, actor: Actor, roles: frozenset[Role] | None = None
) -> tuple[Order, frozenset[Role]]:
    """The locked order, and the roles the ledger shall ask for again."""
    if roles is None:
        roles = await roles_of(connection, actor)
    order = check_sees(await queries.lock_order(connection, id=order_id), order_id, actor, roles)
    return order, seller_roles(order, actor, roles)


def _states(order: Order) -> States:
    return States(order.state, order.payment_state, order.fulfillment_state)


async def _next(connection: Connection, order: Order, step: Step) -> States | None:
    """Where the step leads a locked order; None if it was taken before."""
    states = _states(order)
    if is_reached(step, states):
        return None
    if states == PLACED:
        now = await get_clock(connection)
        assert now is not None  # a clock always tells
        if order.expire_time <= now:
            states = EXPIRED  # for everybody, even before the sweep writes it down
    then = after(step, states)
    if then is None:
        raise _refusal(order, states, f"cannot be {step.removeprefix('order.')}")
    return then


def _refusal(order: Order, states: States, rule: str) -> WrongOrderState:
    told = ", ".join(states).lower().replace("_", " ")
    return WrongOrderState(order.id, f"order {order.id} is {told}: it {rule}", states)


async def _items(connection: Connection, order: Order) -> list[OrderItem]:
    return await queries.list_order_items(connection, order_ids=[order.id])


_CHANGE_SIGNS = {stock.Kind.RELEASED: (0, -1), stock.Kind.SHIPPED: (-1, -1)}


async def _move_items(connection: Connection, order: Order, actor: Actor | None, kind: stock.Kind) -> None:
    """Release or ship everything that a locked order has reserved."""
    on_hand_sign, reserved_sign = _CHANGE_SIGNS[kind]
    items = await _items(connection, order)
    await lock_products(connection, [item.product_id for item in items])
    changes = {item.product_id: Change(on_hand_sign * item.quantity, reserved_sign * item.quantity) for item in items}
    await move_stock(connection, changes, Cause(kind, actor.user_id if actor else None, order.id))


async def _restock(connection: Connection, order: Order, refund: Refund) -> None:
    if not refund.restocked:
        return
    left = {item.product_id: item.quantity - item.restocked_quantity for item in await _items(connection, order)}
    violations = [
        FieldViolation("restock_items", f"of product {product_id} at most {left.get(product_id, 0)} can come back")
        for product_id, quantity in refund.restocked.items()
        if quantity > left.get(product_id, 0)
    ]
    if violations:
        raise InvalidRequest(violations)
    products = await lock_products(connection, refund.restocked.keys())
    violations = [
        FieldViolation("restock_items", f"must leave at most {ON_HAND_MAX} pieces of product {product_id}")
        for product_id, quantity in refund.restocked.items()
        if products[product_id].on_hand + quantity > ON_HAND_MAX
    ]
    if violations:
        raise InvalidRequest(violations)
    changes = {product_id: Change(on_hand=quantity) for product_id, quantity in refund.restocked.items()}
    await move_stock(connection, changes, Cause(stock.Kind.RESTOCKED, refund.actor.user_id, order.id))
    await queries.add_restocked_quantities(
        connection,
        order_id=order.id,
        product_ids=list(refund.restocked),
        quantities=list(refund.restocked.values()),
    )


def _of_hold(kind: Kind, rpc: str, order: Order, actor: Actor, roles_any: frozenset[Role]) -> Movement:
    return Movement(
        kind=kind,
        user_id=actor.user_id,
        session_id=actor.session_id,
        request_id=uuid5(order.id, kind),
        rpc=rpc,
        fingerprint=fingerprint_of(order.id),
        source_id=UNRESOLVED,
        destination_id=UNRESOLVED,
        amount_minor=None,
        currency_code="",
        subject_id=order.hold_id,
        order_id=order.id,
        roles_any=roles_any,
    )


async def _post(connection: Connection, movement: Movement) -> object:
    """Post one movement of a locked order; what the ledger refuses is raised."""
    evaluation = await post(connection, [movement])
    after_commit(partial(count_money, evaluation.posted))
    [outcome] = evaluation.outcomes
    if isinstance(outcome, HoldExpired):
        # Its time ran out between the look at the clock and the ledger's own.
        raise WrongOrderState(str(movement.order_id), f"order {movement.order_id} has expired", EXPIRED)
    if isinstance(outcome, BankError):
        raise outcome
    return outcome


async def _update(connection: Connection, order: Order, step: Step, then: States, posted: Posted | None = None) -> None:
    await queries.update_order_states(
        connection,
        id=order.id,
        state=then.order,
        payment_state=then.payment,
        fulfillment_state=then.fulfillment,
        transfer_id=posted.transfer_id if posted and step is Step.SHIP else None,
        event_type=step,
        event_transfer_id=posted.transfer_id if posted else None,
        event_amount_minor=posted.amount_minor if posted else None,
    )
