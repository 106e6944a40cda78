"""The second door to the ledger: many movements of one caller in a transaction of their own."""

import asyncio
import random
from collections.abc import Sequence

import asyncpg

from server.admission import Admission
from server.database import CONNECTION_ERRORS, RELEASE_TIMEOUT_S, SERIALIZATION_ERRORS
from server.errors import BankError, CommitUnknown, Contended, DatabaseUnavailable
from server.ledger.measuring import count_money
from server.ledger.movements import Done, Held, Movement, Outcome, Posted, Replay
from server.ledger.posting import Evaluation
from server.ledger.writing import post
from server.metrics import LEDGER_BATCH_SIZE, LEDGER_REFUSALS, LEDGER_RETRIES
from server.tracing import traced

BATCHES_AT_ONCE = 2
BATCHES_WAITING_MAX = 8
BATCHES_PER_USER_MAX = 2
BATCH_LOCK_TIMEOUT_S = 2.0
BATCH_TIMEOUT_S = 10.0
TRIES_MAX = 3


class Batches:
    """Posts batches, two at a time; a few more may wait, of one user two altogether.

    Args:
        pool: Opened with LEDGER_SETTINGS.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._slots = asyncio.Semaphore(BATCHES_AT_ONCE)
        self._admission = Admission(BATCHES_AT_ONCE + BATCHES_WAITING_MAX, BATCHES_PER_USER_MAX)

    async def post(self, movements: Sequence[Movement], *, atomic: bool) -> list[Outcome]:
        """Post movements in order, in one transaction.

        Args:
            movements: At least one, all of one user; decided in this order.
            atomic: All or nothing: one refusal refuses everything.

        Returns:
            One outcome for each movement; of an atomic batch none is a refusal.

        Raises:
            BankError: The batch is atomic and this is what the item `item_index` was refused for;
                nothing was written.
            Overloaded: Too many batches wait, or the user has two already; not tried.
            Contended: An account stayed locked for too long, or others always came first.
            DatabaseUnavailable: Nothing was written.
            CommitUnknown: The database was lost while it committed, and did not come back.
        """
        with self._admission.admitted(movements[0].user_id):
            async with self._slots:
                # Once begun it is finished, whatever the caller does, and takes its place until then.
                posting = asyncio.ensure_future(self._try(list(movements), atomic))
                try:
                    return await asyncio.shield(posting)
                finally:
                    await asyncio.wait([posting])

    async def _try(self, movements: list[Movement], atomic: bool) -> list[Outcome]:
        committing: dict[int, Done] = {}
        for tries_left in range(TRIES_MAX - 1, -1, -1):
            try:
                with traced("ledger transaction"):
                    evaluation = await self._run(movements, atomic, committing)
            except asyncpg.LockNotAvailableError:
                raise (CommitUnknown() if committing else Contended()) from None
            except (*SERIALIZATION_ERRORS, asyncpg.UniqueViolationError) as error:
                LEDGER_RETRIES.labels(type(error).__name__).inc()
                if tries_left == 0:
                    raise (CommitUnknown() if committing else Contended()) from error
            except CONNECTION_ERRORS as error:
                if not committing:
                    raise DatabaseUnavailable from error
                LEDGER_RETRIES.labels("CommitUnknown").inc()
                if tries_left == 0:
                    raise CommitUnknown from error
            else:
                LEDGER_BATCH_SIZE.observe(evaluation.count())
                count_money(evaluation.posted)
                for outcome in evaluation.outcomes:
                    if isinstance(outcome, BankError):
                        LEDGER_REFUSALS.labels(outcome.reason).inc()
                return [_own(outcome, committing.get(index)) for index, outcome in enumerate(evaluation.outcomes)]
            await asyncio.sleep(random.uniform(0.05, 0.25))  # noqa: S311 - spreads tries, keeps no secret
        raise AssertionError("unreachable")

    async def _run(self, movements: list[Movement], atomic: bool, committing: dict[int, Done]) -> Evaluation:
        """Run the batch once; `committing` keeps what was being committed, by index."""
        async with asyncio.timeout(BATCH_TIMEOUT_S):
            connection = await self._pool.acquire()
            try:
                await connection.execute(f"BEGIN; SET LOCAL lock_timeout = '{BATCH_LOCK_TIMEOUT_S}s'")
                evaluation = await post(connection, movements)
                if atomic:
                    _refuse_if_any(evaluation)
                committing |= {
                    index: outcome
                    for index, outcome in enumerate(evaluation.outcomes)
                    if isinstance(outcome, Posted | Held)
                }
                await connection.execute("COMMIT")
            except CONNECTION_ERRORS:
                raise
            except Exception:
                await connection.execute("ROLLBACK")
                raise
            finally:
                if connection.is_in_transaction():
                    connection.terminate()
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT_S)
        return evaluation


def _refuse_if_any(evaluation: Evaluation) -> None:
    for index, outcome in enumerate(evaluation.outcomes):
        if isinstance(outcome, BankError):
            outcome.item_index = index
            raise outcome


def _own(outcome: Outcome, committed: Done | None) -> Outcome:
    """What is replayed may be what this very item committed without being told."""
    return committed if committed and outcome == Replay(committed.result_id) else outcome
