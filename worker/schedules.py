"""Makes the transfers that were scheduled, each once, when they are due."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid5

import asyncpg
import structlog
from bankdb import scheduled_transfers as queries
from bankdb.models import ScheduledTransfer

from server.database import SERIALIZATION_ERRORS, Connection, Database, after_commit
from server.errors import BankError
from server.ledger.measuring import count_money
from server.ledger.movements import Kind, Movement, fingerprint_of
from server.ledger.writing import RowsChanged, post
from worker.metrics import SCHEDULES_EXECUTED
from worker.settings import SCHEDULE_BATCH, SCHEDULE_LOCK_TIMEOUT_S, SCHEDULE_POLL_S
from worker.supervision import is_of_one, poll

EXECUTE = "scheduled_transfer/execute"
"""What the requests of these transfers are stored under; no RPC."""

_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
_FIRST_ID = UUID(int=0)
# Others were first: the same transfer may be made soon.
_CONTENTION = (asyncpg.LockNotAvailableError, asyncpg.UniqueViolationError, *SERIALIZATION_ERRORS)

log = structlog.get_logger()


class Schedules:
    """Executes what is due; several workers may do so at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Execute for ever."""
        await poll(self.execute_due, SCHEDULE_POLL_S)

    async def execute_due(self) -> int:
        """Execute all that is due now, in order of time; what has to wait is passed over.

        Returns:
            How many were brought to their end, posted or failed.
        """
        executed = 0
        after_time, after_id = _EARLIEST, _FIRST_ID
        while True:
            async with self._database.connection() as connection:
                due = await queries.list_due_scheduled_transfers(
                    connection, after_time=after_time, after_id=after_id, most=SCHEDULE_BATCH
                )
            if not due:
                return executed
            executed += await self._execute_together([row.id for row in due])
            after_time, after_id = due[-1].execute_time, due[-1].id

    async def _execute_together(self, ids: Sequence[UUID]) -> int:
        """Execute some in one transaction, or where that fails each in its own."""
        try:
            ends = await self._database.transaction(partial(execute, ids=ids))
        except Exception as error:  # of one of them; the others shall not wait for it
            if not is_of_one(error):
                raise
            if len(ids) == 1:
                if isinstance(error, _CONTENTION):
                    log.info("scheduled_transfer_waits", scheduled_transfer_id=str(ids[0]))
                else:
                    log.error("scheduled_transfer_defect", scheduled_transfer_id=str(ids[0]), exc_info=error)
                return 0
        else:
            for end in ends:
                SCHEDULES_EXECUTED.labels(end.lower()).inc()
            return len(ends)
        return sum([await self._execute_together([each]) for each in ids])


async def execute(connection: Connection, ids: Sequence[UUID]) -> list[str]:
    """Post what is scheduled and write down what came of it, within the caller's transaction.

    So both happen or neither, wherever the worker dies. Schedules are locked before accounts;
    those that another worker has locked are left to it.

    Returns:
        POSTED or FAILED for each that was brought to its end.
    """
    await connection.execute(f"SET LOCAL lock_timeout = '{SCHEDULE_LOCK_TIMEOUT_S}s'")
    rows = await queries.lock_scheduled_transfers_to_execute(connection, ids=ids)
    if not rows:
        return []
    evaluation = await post(connection, [movement_of(row) for row in rows])
    after_commit(partial(count_money, evaluation.posted))
    ends = [
        ("FAILED", None, outcome.reason) if isinstance(outcome, BankError) else ("POSTED", outcome.result_id, None)
        for outcome in evaluation.outcomes
    ]
    marked = await queries.mark_scheduled_transfers_executed(
        connection,
        ids=[row.id for row in rows],
        states=[state for state, _, _ in ends],
        transfer_ids=[transfer_id for _, transfer_id, _ in ends],
        failure_reasons=[reason for _, _, reason in ends],
    )
    if marked != len(rows):
        raise RowsChanged(f"{marked} of {len(rows)} scheduled transfers were marked")
    return [state for state, _, _ in ends]


def movement_of(row: ScheduledTransfer) -> Movement:
    """The transfer that was scheduled; no session asks for it, its owner must still be allowed to."""
    return Movement(
        kind=Kind.TRANSFER,
        user_id=row.creator_user_id,
        session_id=None,
        # The same however often it is tried.
        request_id=uuid5(row.id, "execute"),
        rpc=EXECUTE,
        fingerprint=fingerprint_of(row.id),
        source_id=row.source_account_id,
        destination_id=row.destination_account_id,
        amount_minor=row.amount_minor,
        currency_code=row.currency_code,
        description=row.description,
        reference=row.reference,
    )
