"""The transactions of orders: so many at a time, so that waiting for a product or an account that
many want keeps nobody else's call from the database.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from server.admission import Admission
from server.database import LOCK_TIMEOUT_S, Connection, Database
from server.ledger.commit_queue import LEDGER_SETTINGS

ORDERS_AT_ONCE = 8
ORDERS_WAITING_MAX = 512
ORDERS_PER_USER_MAX = 32

ORDER_SETTINGS = {**LEDGER_SETTINGS, "lock_timeout": f"{LOCK_TIMEOUT_S}s"}
"""Settings of the connections: plans as on the path of the money, and the usual patience."""

Result = TypeVar("Result")


class OrderTransactions:
    """Runs transactions, ORDERS_AT_ONCE at a time; a bounded number may wait, of one user
    ORDERS_PER_USER_MAX altogether.

    Args:
        database: Of ORDERS_AT_ONCE connections, opened with ORDER_SETTINGS, for nothing else.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(ORDERS_AT_ONCE)
        self._admission = Admission(ORDERS_AT_ONCE + ORDERS_WAITING_MAX, ORDERS_PER_USER_MAX)

    async def run(self, user_id: UUID, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run `work` for a user in a transaction, see `Database.transaction`.

        Raises:
            Overloaded: Too many wait, or too many of this user; not tried.
        """
        with self._admission.admitted(user_id):
            async with self._slots:
                return await self._database.transaction(work)
