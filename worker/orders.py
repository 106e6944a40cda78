"""Ends orders that were not shipped in time, so that their pieces can be ordered again.

Nobody depends on how soon for the money: an overdue order is expired for every reader, and the
ledger lets its hold go before it looks at funds.
"""

from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import structlog
from bankdb.orders import list_overdue_orders

from server.database import CONTENTION_ERRORS, Database
from server.orders.expiry import expire_order
from worker.metrics import ORDERS_EXPIRED
from worker.settings import ORDER_SWEEP_BATCH, ORDER_SWEEP_POLL_S
from worker.supervision import is_of_one, poll

_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_FIRST_ID = UUID(int=0)

log = structlog.get_logger()


class OrderSweep:
    """Ends overdue orders, each in a transaction of its own; several workers may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Sweep for ever."""
        await poll(self.sweep, ORDER_SWEEP_POLL_S)

    async def sweep(self) -> int:
        """End all that is overdue now; what has to wait is passed over.

        Returns:
            How many orders that were.
        """
        expired = 0
        after_time, after_id = _EARLIEST, _FIRST_ID
        while True:
            async with self._database.connection() as connection:
                overdue = await list_overdue_orders(
                    connection, after_time=after_time, after_id=after_id, most=ORDER_SWEEP_BATCH
                )
            if not overdue:
                return expired
            for row in overdue:
                expired += await self._expire(row.id)
            after_time, after_id = overdue[-1].expire_time, overdue[-1].id

    async def _expire(self, order_id: UUID) -> bool:
        try:
            expired = await self._database.transaction(partial(expire_order, order_id=order_id))
        except CONTENTION_ERRORS:
            log.info("order_sweep_waits", order_id=str(order_id))
            return False
        except Exception as error:  # of this one; the others shall not wait for it
            if not is_of_one(error):
                raise
            log.error("order_sweep_defect", order_id=str(order_id), exc_info=error)
            return False
        ORDERS_EXPIRED.inc(expired)
        return expired
