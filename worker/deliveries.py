"""Ships and delivers orders by itself where no merchant does: a demo, in which orders shall be seen to move.

What is due is read from the orders, not followed in the feed: their states say what happened, so
there is no place in the feed to keep, and a worker that starts finds everything that is left to do.
"""

from functools import partial
from uuid import UUID

import structlog
from bankdb.orders import list_orders_to_deliver

from server.database import CONTENTION_ERRORS, Database
from server.errors import BankError
from server.orders.delivery import advance_order
from worker.metrics import ORDERS_ADVANCED
from worker.settings import ORDER_DELIVERY_BATCH, ORDER_DELIVERY_POLL_S
from worker.supervision import is_of_one, poll

_FIRST_ID = UUID(int=0)

log = structlog.get_logger()


class Deliveries:
    """Takes each order one step on, in a transaction of its own; several workers may do so at once.

    Args:
        database: Where the orders are.
        delay_s: How long an order rests before each step.
    """

    def __init__(self, database: Database, delay_s: float) -> None:
        self._database = database
        self._delay_s = delay_s
        self._refused: set[UUID] = set()

    async def run(self) -> None:
        """Deliver for ever."""
        await poll(self.advance_due, ORDER_DELIVERY_POLL_S)

    async def advance_due(self) -> int:
        """Take all that is due now one step on; what has to wait is passed over.

        Returns:
            How many steps that were.
        """
        advanced = 0
        after_account_id, after_id = _FIRST_ID, _FIRST_ID
        while True:
            async with self._database.connection() as connection:
                due = await list_orders_to_deliver(
                    connection,
                    delay_s=self._delay_s,
                    after_payment_account_id=after_account_id,
                    after_id=after_id,
                    most=ORDER_DELIVERY_BATCH,
                )
            if not due:
                return advanced
            for row in due:
                advanced += await self._advance(row.id)
            after_account_id, after_id = due[-1].payment_account_id, due[-1].id

    async def _advance(self, order_id: UUID) -> bool:
        try:
            step = await self._database.transaction(partial(advance_order, order_id=order_id, delay_s=self._delay_s))
        except CONTENTION_ERRORS:
            log.info("order_delivery_waits", order_id=str(order_id))
            return False
        except Exception as error:  # of this one; the others shall not wait for it
            if not is_of_one(error):
                raise
            self._report(order_id, error)
            return False
        self._refused.discard(order_id)
        if step is not None:
            ORDERS_ADVANCED.labels(step.partition(".")[2]).inc()
        return step is not None

    def _report(self, order_id: UUID, error: Exception) -> None:
        """Say once why an order does not move; it is tried again until it does."""
        if order_id in self._refused:
            return
        self._refused.add(order_id)
        if isinstance(error, BankError):
            log.info("order_delivery_refused", order_id=str(order_id), reason=error.reason)
        else:
            log.error("order_delivery_defect", order_id=str(order_id), exc_info=error)
