"""Orders that nobody but the service ships and delivers, for the worker's demo."""

from uuid import UUID

from bankdb import orders as queries

from server.database import Connection
from server.orders.actors import Actor
from server.orders.steps import deliver_order, ship_order
from server.orders.transitions import Step


async def advance_order(connection: Connection, order_id: UUID, delay_s: float) -> Step | None:
    """Ship an order, or deliver a shipped one, in its merchant's name and within the caller's transaction.

    Args:
        connection: In a transaction.
        order_id: Which.
        delay_s: How long nothing must have happened to it.

    Returns:
        What was done; None if it is not time, nothing is left to do, or somebody is changing the order.

    Raises:
        BankError: See `ship_order`.
    """
    order = await queries.lock_order_to_deliver(connection, id=order_id, delay_s=delay_s)
    if order is None:
        return None
    merchant = Actor(order.merchant_user_id, None)
    if order.fulfillment_state == "RESERVED":
        await ship_order(connection, order_id, merchant)
        return Step.SHIP
    await deliver_order(connection, order_id, merchant)
    return Step.DELIVER
