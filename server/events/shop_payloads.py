"""What events tell of products, stocks and orders."""

from typing import Any

from bank.v1.event_service_pb2 import InventoryFacts, OrderFacts, ProductFacts
from bankdb.orders import ListOrderTotalsRow

from server.events.operations import EventRow


def product_facts(event: EventRow, facts: dict[str, Any]) -> ProductFacts:
    """A product as it was after the event."""
    return ProductFacts(
        product_id=str(event.subject_id),
        merchant_user_id=str(event.user_id),
        name=facts.get("name", ""),
        price_minor=facts.get("price_minor", 0),
        currency_code=facts.get("currency_code", ""),
        state="PRODUCT_STATE_ARCHIVED" if event.type == "product.archived" else "PRODUCT_STATE_ACTIVE",
        version=facts.get("version", 1),
        changed_fields=facts.get("fields", ()),
        initial_quantity=facts.get("initial_quantity", 0),
    )


def inventory_facts(event: EventRow, facts: dict[str, Any]) -> InventoryFacts:
    """A stock as it was after the event."""
    return InventoryFacts(
        product_id=str(event.subject_id),
        merchant_user_id=str(event.user_id),
        delta=facts["delta"],
        on_hand=facts["on_hand"],
        reserved=facts["reserved"],
        available=facts["on_hand"] - facts["reserved"],
        reason=facts["reason"],
    )


def order_facts(order: ListOrderTotalsRow, event: EventRow, facts: dict[str, Any]) -> OrderFacts:
    """An order as it was after the event."""
    return OrderFacts(
        order_id=str(order.id),
        buyer_user_id=str(event.user_id),
        merchant_user_id=str(event.counterparty_user_id),
        total_minor=order.total_minor,
        currency_code=order.currency_code,
        state=f"ORDER_STATE_{facts['state']}",
        payment_state=f"PAYMENT_STATE_{facts['payment_state']}",
        fulfillment_state=f"FULFILLMENT_STATE_{facts['fulfillment_state']}",
        transfer_id=facts.get("transfer_id", ""),
        amount_minor=facts.get("amount_minor", 0),
    )
