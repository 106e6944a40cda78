"""Expires holds whose time has run out, so that what they held is booked as free again.

Nobody depends on how soon: an overdue hold is expired for every reader, and the ledger lets it go
before it looks at funds.
"""

import asyncpg
import structlog
from bankdb.holds import list_accounts_with_overdue_holds

from server.database import Database
from server.ledger.writing import release_overdue_holds
from worker.metrics import HOLDS_EXPIRED
from worker.settings import SWEEP_BATCH, SWEEP_POLL_S
from worker.supervision import is_of_one, poll

log = structlog.get_logger()


class HoldSweep:
    """Expires overdue holds, account by account; several workers may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Sweep for ever."""
        await poll(self.sweep, SWEEP_POLL_S)

    async def sweep(self) -> int:
        """Expire what is overdue now.

        Returns:
            How many holds that were.
        """
        async with self._database.connection() as connection:
            account_ids = await list_accounts_with_overdue_holds(connection, most=SWEEP_BATCH)
        expired = 0
        for account_id in account_ids:
            try:
                expired += await self._database.transaction(
                    lambda connection, account_id=account_id: release_overdue_holds(  # type: ignore[misc]  # default
                        connection, [account_id]
                    )
                )
            except asyncpg.LockNotAvailableError:
                log.info("hold_sweep_waits", account_id=str(account_id))
            except Exception as error:  # of this account; the others shall not wait for it
                if not is_of_one(error):
                    raise
                log.error("hold_sweep_defect", account_id=str(account_id), exc_info=error)
        HOLDS_EXPIRED.inc(expired)
        return expired
