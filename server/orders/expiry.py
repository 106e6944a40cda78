"""The end of orders that were not shipped in time, for the worker's sweep."""

from uuid import UUID

from bankdb import orders as queries

from server.database import Connection
from server.ledger.writing import release_overdue_holds
from server.orders.steps import release_items
from server.orders.transitions import EXPIRED, Step


async def expire_order(connection: Connection, order_id: UUID) -> bool:
    """Let pieces and money of an overdue order go, within the caller's transaction.

    The ledger may have let the money go before: whoever meets an overdue hold does.

    Returns:
        Whether it was done: an order that is not overdue, or that somebody is changing, is left alone.
    """
    order = await queries.lock_overdue_order(connection, id=order_id)
    if order is None:
        return False
    await release_items(connection, order)
    await release_overdue_holds(connection, [order.payment_account_id])
    await queries.update_order_states(
        connection,
        id=order.id,
        state=EXPIRED.order,
        payment_state=EXPIRED.payment,
        fulfillment_state=EXPIRED.fulfillment,
        transfer_id=None,
        event_type=Step.EXPIRE,
        event_transfer_id=None,
        event_amount_minor=None,
    )
    return True
