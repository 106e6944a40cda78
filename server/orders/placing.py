"""Placing an order: stock, hold and order in one transaction, or nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from bankdb import orders as queries
from bankdb.models import Product
from bankdb.requests import get_clock
from uuid_utils.compat import uuid7

from server.database import Connection
from server.errors import AmountOverflow, BankError, FieldViolation, InvalidRequest, NotFound
from server.ledger.movements import Held, Kind, Movement, fingerprint_of
from server.ledger.writing import post
from server.orders.actors import Actor, roles_of
from server.orders.errors import PriceChanged
from server.products import stock
from server.products.errors import ProductArchived
from server.products.stock import Cause, Change, check_available, lock_products, move_stock
from server.request_ids import Request, claim

TOTAL_MINOR_MAX = 10**17


@dataclass(frozen=True, slots=True)
class NewOrder:
    """An order to place, already parsed.

    Attributes:
        quantities: Pieces by product, in the order in which the products were named.
        expected_total_minor: What the buyer has seen; 0: whatever it is.
    """

    request: Request
    actor: Actor
    payment_account_id: UUID
    quantities: Mapping[UUID, int]
    expected_total_minor: int


async def place_order(connection: Connection, new: NewOrder, lifetime: timedelta) -> tuple[UUID, bool]:
    """Place an order within the caller's transaction, at most once per request id.

    Products are locked before accounts, each kind in id order.

    Args:
        connection: In a transaction.
        new: What to order.
        lifetime: When the order and its hold end if it is not shipped.

    Returns:
        The order's id, and whether an earlier call had placed it.

    Raises:
        SessionRevoked, Unauthenticated, EmailNotVerified: The actor moves no money now.
        RequestIdReused: The request id stands for another call.
        NotFound: There is no such product.
        ProductArchived: One is not sold any more.
        InvalidRequest: They are not of one merchant, currency and account, or that account is to pay.
        AmountOverflow: The total is more than can be paid at once.
        PriceChanged: It is not what was expected.
        OutOfStock: Of one or more there are not enough.
        BankError: What the ledger refuses a hold for.
    """
    await roles_of(connection, new.actor)
    order_id = uuid7()
    earlier_id = await claim(connection, new.request, order_id)
    if earlier_id is not None:
        return earlier_id, True
    products = await lock_products(connection, new.quantities.keys())
    seller = _check_products(products, new)
    total_minor = _check_total(products, new)
    check_available(products, new.quantities)
    # Before the accounts are locked, so that those are held for as short as can be.
    cause = Cause(stock.Kind.RESERVED, new.actor.user_id, order_id)
    changes = {product_id: Change(reserved=quantity) for product_id, quantity in new.quantities.items()}
    await move_stock(connection, changes, cause)
    now = await get_clock(connection)
    assert now is not None  # a clock always tells
    hold = _hold(order_id, new, seller, total_minor)._replace(expire_time=now + lifetime)
    [outcome] = (await post(connection, [hold])).outcomes
    if isinstance(outcome, BankError):
        raise outcome
    assert isinstance(outcome, Held)  # its request id is the order's own
    await _insert(connection, order_id, hold, outcome.hold_id, products, new, now)
    return order_id, False


def _check_products(products: Mapping[UUID, Product], new: NewOrder) -> Product:
    """Whether they can be sold together; any of them, for what they have in common."""
    for product_id in new.quantities:
        if product_id not in products:
            raise NotFound("product", product_id)
    for product in products.values():
        if product.state != "ACTIVE":
            raise ProductArchived(product.id)
    first, *others = products.values()
    for name, field in (
        ("merchant", "merchant_user_id"),
        ("currency", "currency_code"),
        ("settlement account", "settlement_account_id"),
    ):
        if any(getattr(other, field) != getattr(first, field) for other in others):
            raise InvalidRequest([FieldViolation("items", f"must all have one {name}: order them apart")])
    if new.payment_account_id == first.settlement_account_id:
        raise InvalidRequest([FieldViolation("payment_account_id", "must not be the account that is paid")])
    return first


def _check_total(products: Mapping[UUID, Product], new: NewOrder) -> int:
    total_minor = sum(products[product_id].price_minor * quantity for product_id, quantity in new.quantities.items())
    if total_minor > TOTAL_MINOR_MAX:
        raise AmountOverflow(
            new.payment_account_id,
            f"account {new.payment_account_id} cannot pay more than 10^17 minor units at once: order less",
        )
    if new.expected_total_minor not in (0, total_minor):
        raise PriceChanged(new.expected_total_minor, total_minor)
    return total_minor


def _hold(order_id: UUID, new: NewOrder, seller: Product, total_minor: int) -> Movement:
    return Movement(
        kind=Kind.HOLD,
        user_id=new.actor.user_id,
        session_id=new.actor.session_id,
        request_id=uuid5(order_id, "hold"),
        rpc=new.request.rpc,
        fingerprint=fingerprint_of(order_id),
        source_id=new.payment_account_id,
        destination_id=seller.settlement_account_id,
        amount_minor=total_minor,
        currency_code=seller.currency_code,
        order_id=order_id,
    )


async def _insert(
    connection: Connection,
    order_id: UUID,
    hold: Movement,
    hold_id: UUID,
    products: Mapping[UUID, Product],
    new: NewOrder,
    now: datetime,
) -> None:
    """Store the order for which the hold was placed."""
    assert hold.amount_minor is not None  # a hold says how much
    assert hold.expire_time is not None  # and of an order, until when
    await queries.insert_order(
        connection,
        id=order_id,
        buyer_user_id=new.actor.user_id,
        merchant_user_id=next(iter(products.values())).merchant_user_id,
        payment_account_id=hold.source_id,
        settlement_account_id=hold.destination_id,
        total_minor=hold.amount_minor,
        currency_code=hold.currency_code,
        hold_id=hold_id,
        expire_time=hold.expire_time,
        create_time=now,
        product_ids=list(new.quantities),
        lines=range(1, len(new.quantities) + 1),
        product_names=[products[product_id].name for product_id in new.quantities],
        quantities=list(new.quantities.values()),
        unit_prices_minor=[products[product_id].price_minor for product_id in new.quantities],
    )
