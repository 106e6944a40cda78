"""Ends orders that were not shipped in time, so that their pieces can be ordered again.

Nobody depends on how soon for the money: an overdue order is expired for every reader, and the
ledger lets its hold go before it looks at funds.
"""

import asyncio
from functools import partial

import asyncpg
import structlog
from bankdb.orders import list_overdue_orders

from server.database import Database
from server.orders.expiry import expire_order
from worker.metrics import ORDERS_EXPIRED
from worker.settings import ORDER_SWEEP_BATCH, ORDER_SWEEP_POLL_S

log = structlog.get_logger()


class OrderSweep:
    """Ends overdue orders, each in a transaction of its own; several workers may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            if not await self.sweep():
                await asyncio.sleep(ORDER_SWEEP_POLL_S)

    async def sweep(self) -> int:
        """End what is overdue now.

        Returns:
            How many orders that were.
        """
        async with self._database.connection() as connection:
            order_ids = await list_overdue_orders(connection, most=ORDER_SWEEP_BATCH)
        expired = 0
        for order_id in order_ids:
            try:
                expired += await self._database.transaction(partial(expire_order, order_id=order_id))
            except asyncpg.LockNotAvailableError:
                log.info("order_sweep_waits", order_id=str(order_id))
        ORDERS_EXPIRED.inc(expired)
        return expired
