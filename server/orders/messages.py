"""Orders between the wire and the operations: requests to commands, rows to messages."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from bank.v1.order_service_pb2 import (
    CancelOrderRequest,
    CreateOrderRequest,
    CreateOrderResponse,
    DeliverOrderRequest,
    GetOrderRequest,
    ListOrdersRequest,
    ListOrdersResponse,
    OrderParty,
    OrderState,
    ProductQuantity,
    RefundOrderRequest,
    RefundOrderResponse,
    ShipOrderRequest,
)
from bank.v1.order_service_pb2 import Order as OrderMessage
from bank.v1.order_service_pb2 import OrderItem as OrderItemMessage
from bankdb.transfers import GetTransferRow

from server.caller import Caller
from server.ledger.movements import fingerprint_of
from server.orders.actors import Actor
from server.orders.operations import OrderFilter, StoredOrder
from server.orders.placing import NewOrder
from server.orders.steps import REFUND_ORDER, Refund
from server.orders.transitions import EXPIRED, States
from server.products.stock import QUANTITY_MAX
from server.request_ids import Request
from server.timestamps import to_proto
from server.transfer_messages import render_stored
from server.violations import AMOUNT_MINOR_MAX, Violations

CREATE_ORDER = "bank.v1.OrderService/CreateOrder"
ITEMS_MAX = 50

NamesOrder = GetOrderRequest | CancelOrderRequest | ShipOrderRequest | DeliverOrderRequest


def actor_of(caller: Caller) -> Actor:
    """Who acts, when it is the caller."""
    return Actor(caller.user_id, caller.session_id)


def parse_create_order(request: CreateOrderRequest, caller: Caller, idempotency_key: str) -> NewOrder:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    request_id = check.request_id(request.request_id, idempotency_key)
    account_id = check.uuid("payment_account_id", request.payment_account_id)
    if not 1 <= len(request.items) <= ITEMS_MAX:
        check.add("items", f"must have 1 to {ITEMS_MAX} lines")
    quantities = _quantities(check, "items", request.items)
    total_minor = request.expected_total_minor
    if not 0 <= total_minor <= AMOUNT_MINOR_MAX:
        check.add("expected_total_minor", f"must be 0 to {AMOUNT_MINOR_MAX} minor units")
    check.raise_if_any()
    fingerprint = fingerprint_of(account_id, sorted(quantities.items()), total_minor)
    return NewOrder(
        request=Request(caller.user_id, request_id, CREATE_ORDER, fingerprint),
        actor=actor_of(caller),
        payment_account_id=account_id,
        quantities=quantities,
        expected_total_minor=total_minor,
    )


def _quantities(check: Violations, field: str, items: Iterable[ProductQuantity]) -> dict[UUID, int]:
    """Pieces by product, summed over its lines, in the order in which the products are named."""
    quantities: dict[UUID, int] = {}
    for index, item in enumerate(items):
        product_id = check.uuid(f"{field}[{index}].product_id", item.product_id)
        if not 1 <= item.quantity <= QUANTITY_MAX:
            check.add(f"{field}[{index}].quantity", f"must be 1 to {QUANTITY_MAX} pieces")
        quantities[product_id] = quantities.get(product_id, 0) + item.quantity
    return quantities


def parse_order_id(request: NamesOrder) -> UUID:
    """The id asked for.

    Raises:
        InvalidRequest: It is no UUID.
    """
    check = Violations()
    order_id = check.uuid("order_id", request.order_id)
    check.raise_if_any()
    return order_id


def parse_list_orders(request: ListOrdersRequest) -> OrderFilter:
    """Check all filters.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    state = check.enum("state", request.state, OrderState.items(), "ORDER_STATE_")
    party = check.enum("party", request.party, OrderParty.items(), "ORDER_PARTY_")
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return OrderFilter(state, party, page_size, request.page_token)


def parse_refund_order(request: RefundOrderRequest, caller: Caller, idempotency_key: str) -> Refund:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    order_id = check.uuid("order_id", request.order_id)
    request_id = check.request_id(request.request_id, idempotency_key)
    amount_minor = check.amount_or_full(request.amount_minor, request.full)
    if len(request.restock_items) > ITEMS_MAX:
        check.add("restock_items", f"must have at most {ITEMS_MAX} lines")
    restocked = _quantities(check, "restock_items", request.restock_items)
    check.raise_if_any()
    fingerprint = fingerprint_of(order_id, amount_minor, sorted(restocked.items()))
    return Refund(
        request=Request(caller.user_id, request_id, REFUND_ORDER, fingerprint),
        actor=actor_of(caller),
        order_id=order_id,
        amount_minor=amount_minor,
        restocked=restocked,
    )


def render_order(order: StoredOrder) -> OrderMessage:
    """An order as both parties see it; one whose time ran out is EXPIRED even before the sweep."""
    row = order.row
    states = EXPIRED if row.overdue else States(row.state, row.payment_state, row.fulfillment_state)
    return OrderMessage(
        id=str(row.id),
        buyer_user_id=str(row.buyer_user_id),
        merchant_user_id=str(row.merchant_user_id),
        payment_account_id=str(row.payment_account_id),
        settlement_account_id=str(row.settlement_account_id),
        items=[
            OrderItemMessage(
                product_id=str(item.product_id),
                product_name=item.product_name,
                quantity=item.quantity,
                unit_price_minor=item.unit_price_minor,
                restocked_quantity=item.restocked_quantity,
            )
            for item in order.items
        ],
        total_minor=row.total_minor,
        refunded_minor=row.refunded_minor,
        currency_code=row.currency_code,
        state=f"ORDER_STATE_{states.order}",
        payment_state=f"PAYMENT_STATE_{states.payment}",
        fulfillment_state=f"FULFILLMENT_STATE_{states.fulfillment}",
        hold_id=str(row.hold_id),
        transfer_id=str(row.transfer_id or ""),
        expire_time=to_proto(row.expire_time),
        create_time=to_proto(row.create_time),
        update_time=to_proto(row.expire_time if row.overdue else row.update_time),
    )


def render_created(order: StoredOrder, replayed: bool) -> CreateOrderResponse:
    """The answer to CreateOrder."""
    return CreateOrderResponse(order=render_order(order), replayed=replayed)


def render_refunded(
    order: StoredOrder, transfer: GetTransferRow, replayed: bool, caller: Caller
) -> RefundOrderResponse:
    """The answer to RefundOrder."""
    return RefundOrderResponse(order=render_order(order), transfer=render_stored(transfer, caller), replayed=replayed)


def render_listed(orders: Sequence[StoredOrder], next_page_token: str) -> ListOrdersResponse:
    """One page."""
    return ListOrdersResponse(orders=[render_order(order) for order in orders], next_page_token=next_page_token)
