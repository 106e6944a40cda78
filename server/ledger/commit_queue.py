"""Gathers concurrent movements into transactions and answers each caller.

One transaction at a time runs in the writer's slot; the next batch is whatever arrived meanwhile,
so an idle service adds no wait and a busy one commits many movements at the price of one.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from time import monotonic, time_ns
from uuid import UUID

import asyncpg
import structlog
from bankdb.accounts import lock_account

from server.database import CONNECTION_ERRORS, CONTENTION_ERRORS, RELEASE_TIMEOUT_S, Connection
from server.errors import BankError, CommitUnknown, Contended, DatabaseUnavailable, Overloaded
from server.ledger.measuring import count_money
from server.ledger.movements import Done, Held, Movement, Posted, Replay
from server.ledger.posting import Evaluation
from server.ledger.reading import account_ids, lock_accounts, lock_free_accounts, resolve
from server.ledger.state import Books
from server.ledger.waiting_line import Waiting, WaitingLine
from server.ledger.writing import decide, write
from server.metrics import (
    LEDGER_BATCH_SIZE,
    LEDGER_COMMIT_SECONDS,
    LEDGER_DEFECTS,
    LEDGER_REFUSALS,
    LEDGER_RETRIES,
    LEDGER_WAITING,
)

BATCH_SIZE_MAX = 256
BATCH_LOCK_TIMEOUT_S = 0.1
BLOCKED_TIMEOUT_S = 2.0
BATCH_TIMEOUT_S = 5.0
TRIES_MAX = 3
RECONNECT_PAUSE_S = 0.2

# A request id or reference that is being written elsewhere is waited for in the write statement,
# by the unique index, and so may also run into lock_timeout.
_LOST_RACES = (*CONTENTION_ERRORS, asyncpg.UniqueViolationError)
_log = structlog.get_logger()

# The money path knows its keys: it never wants a plan that reads whole tables, however small
# they are when the plan is made.
LEDGER_SETTINGS = {
    "lock_timeout": f"{BATCH_LOCK_TIMEOUT_S}s",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class CommitQueue:
    """The door to the ledger for independent calls.

    Args:
        pool: Opened with LEDGER_SETTINGS; one connection for the writer, the rest for waiting
            for locked accounts.
        side_connections: How many that rest is.
    """

    def __init__(self, pool: asyncpg.Pool, side_connections: int) -> None:
        self._pool = pool
        self._line = WaitingLine()
        self._blocked: dict[UUID, list[Waiting]] = {}
        self._side_slots = asyncio.Semaphore(side_connections)
        self._side_tasks: set[asyncio.Task[None]] = set()
        self._open = True
        self._settling = False
        self._writer = asyncio.create_task(self._write_batches(), name="ledger writer")

    async def post(self, movement: Movement) -> Done:
        """Post one movement, together with its neighbours, in a committed transaction.

        A caller that goes away before the writing began leaves nothing behind; afterwards the
        movement is posted all the same, and the request id finds it.

        Raises:
            Overloaded: Too many movements wait; not tried.
            BankError: The first rule that the movement breaks, in the order of `posting`.
            Contended: An account stayed locked for two seconds.
            DatabaseUnavailable: Nothing was written.
            CommitUnknown: The database was lost while it committed, and did not come back.
        """
        if not self._open:
            raise Overloaded
        waiting = Waiting(movement)
        self._line.add(waiting)
        LEDGER_WAITING.set(len(self._line))
        return await waiting.future

    async def close(self) -> None:
        """Refuse new movements, post those that wait, end."""
        self._open = False
        while len(self._line) or self._blocked or self._settling:  # noqa: ASYNC110 - once, at the end
            await asyncio.sleep(0.01)
        self._writer.cancel()
        await asyncio.gather(self._writer, *self._side_tasks, return_exceptions=True)

    async def _write_batches(self) -> None:
        while True:
            await self._line.wait()
            batch = self._line.take(BATCH_SIZE_MAX)
            if self._blocked:
                batch = [waiting for waiting in batch if not self._set_aside(waiting, waiting.movement, self._blocked)]
            LEDGER_WAITING.set(len(self._line))
            if batch:
                self._settling = True
                await self._settle(batch)
                self._settling = False

    async def _settle(self, batch: list[Waiting], tries: int = 1) -> None:
        """Post a batch, again or by halves if it fails; every caller is answered or set aside."""
        batch = [waiting for waiting in batch if not waiting.parked]
        try:
            if batch:
                await self._post(batch)
        except _LOST_RACES as error:
            # Lost against another transaction, whose result the next run sees.
            LEDGER_RETRIES.labels(type(error).__name__).inc()
            if tries < TRIES_MAX and (tries == 1 or len(batch) == 1):
                await self._settle(batch, tries + 1)
            else:
                await self._settle_halves(batch, error)
        except CONNECTION_ERRORS as error:
            _log.warning("ledger_lost_the_database", cause=type(error).__name__, movements=len(batch))
            if tries < TRIES_MAX and any(waiting.committing for waiting in batch):
                LEDGER_RETRIES.labels("CommitUnknown").inc()
                await self._resolve(batch)
            else:
                _refuse_all(batch)
        except Exception as error:  # bad data or a defect: find the movement it belongs to
            LEDGER_RETRIES.labels(type(error).__name__).inc()
            await self._settle_halves(batch, error)

    async def _settle_halves(self, batch: list[Waiting], error: Exception) -> None:
        if len(batch) == 1:
            if isinstance(error, CONTENTION_ERRORS):
                batch[0].refuse(Contended())
            else:
                LEDGER_DEFECTS.inc()
                batch[0].refuse(error)
            return
        middle = len(batch) // 2
        await self._settle(batch[:middle], TRIES_MAX - 1)
        await self._settle(batch[middle:], TRIES_MAX - 1)

    async def _resolve(self, batch: list[Waiting]) -> None:
        """Find out what became of a COMMIT that was never answered.

        The batch is run again: its locks wait for the old transaction, and then its request ids
        are there, or it was rolled back and is posted now.
        """
        give_up = monotonic() + BATCH_TIMEOUT_S
        while monotonic() < give_up:
            await asyncio.sleep(RECONNECT_PAUSE_S)
            with contextlib.suppress(*CONNECTION_ERRORS):
                async with self._connection() as connection:
                    await connection.execute("SELECT")
                await self._settle(batch, TRIES_MAX)
                return
        _refuse_all(batch)

    async def _post(self, batch: list[Waiting]) -> None:
        """Run the batch as one transaction; callers are answered after the COMMIT."""
        started, started_ns = monotonic(), time_ns()
        async with self._connection() as connection:
            try:
                batch, movements, books = await self._lock(connection, batch)
                evaluation = await decide(connection, movements, books)
                await write(connection, evaluation, books)
                await _commit(connection, batch, evaluation)
            except CONNECTION_ERRORS:
                raise
            except Exception:
                await connection.execute("ROLLBACK")
                raise
        LEDGER_COMMIT_SECONDS.observe(monotonic() - started)
        LEDGER_BATCH_SIZE.observe(evaluation.count())
        count_money(evaluation.posted)
        for waiting, outcome in zip(batch, evaluation.outcomes, strict=True):
            if waiting.trace is not None:
                waiting.trace.add_batch(started_ns, len(batch))
            if isinstance(outcome, BankError):
                LEDGER_REFUSALS.labels(outcome.reason).inc()
                waiting.refuse(outcome)
            elif (
                isinstance(outcome, Replay) and waiting.committing and outcome.result_id == waiting.committing.result_id
            ):
                # What is replayed is what this very call committed without being told.
                waiting.answer(waiting.committing)
            else:
                waiting.answer(outcome)

    async def _lock(self, connection: Connection, batch: list[Waiting]) -> tuple[list[Waiting], list[Movement], Books]:
        """Begin, and lock the accounts; movements whose account is blocked or whose caller has gone drop out."""
        await connection.execute("BEGIN")
        movements, books = await resolve(connection, [waiting.movement for waiting in batch])
        ids = account_ids(movements)
        blocked: Collection[UUID] = ()
        try:
            books.accounts = await lock_accounts(connection, ids)
        except asyncpg.LockNotAvailableError:
            await connection.execute("ROLLBACK; BEGIN")
            books.accounts, blocked = await lock_free_accounts(connection, ids)
        kept = [
            (waiting, movement)
            for waiting, movement in zip(batch, movements, strict=True)
            if not waiting.future.done() and not self._set_aside(waiting, movement, blocked)
        ]
        return [waiting for waiting, _ in kept], [movement for _, movement in kept], books

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection for one transaction, within BATCH_TIMEOUT_S; ended if it did not finish."""
        async with asyncio.timeout(BATCH_TIMEOUT_S):
            connection = await self._pool.acquire()
            try:
                yield connection
            finally:
                if connection.is_in_transaction():
                    connection.terminate()
                await self._pool.release(connection, timeout=RELEASE_TIMEOUT_S)

    def _set_aside(self, waiting: Waiting, movement: Movement, blocked: Collection[UUID]) -> bool:
        """Let a movement wait outside the writer's slot if it names a blocked account."""
        for account_id in (movement.source_id, movement.destination_id):
            if account_id in blocked:
                self._park(waiting, account_id)
                return True
        return False

    def _park(self, waiting: Waiting, account_id: UUID) -> None:
        if waiting.blocked_until is None:
            waiting.blocked_until = monotonic() + BLOCKED_TIMEOUT_S
        waiting.parked = True
        parked = self._blocked.get(account_id)
        if parked is not None:
            parked.append(waiting)
            return
        self._blocked[account_id] = [waiting]
        task = asyncio.create_task(self._wait_until_free(account_id), name="ledger waits for an account")
        self._side_tasks.add(task)
        task.add_done_callback(self._side_tasks.discard)

    async def _wait_until_free(self, account_id: UUID) -> None:
        """Wait for one locked account, holding no other; then its movements join the line again."""
        try:
            while self._refuse_overdue(account_id):
                if await self._is_free(account_id, min(_until(each) for each in self._blocked[account_id])):
                    break
        except CONNECTION_ERRORS:
            _refuse_all(self._blocked[account_id])
        finally:
            for waiting in reversed(self._blocked.pop(account_id)):
                waiting.parked = False
                self._line.put_back(waiting)

    def _refuse_overdue(self, account_id: UUID) -> bool:
        """Refuse what has waited for too long; whether anything is left."""
        now = monotonic()
        for waiting in self._blocked[account_id]:
            if now >= _until(waiting):
                waiting.refuse(CommitUnknown() if waiting.committing else Contended())
        self._blocked[account_id] = [each for each in self._blocked[account_id] if not each.future.done()]
        return bool(self._blocked[account_id])

    async def _is_free(self, account_id: UUID, until: float) -> bool:
        """Wait for the account's lock until the given monotonic time; whether it was had."""
        left_s = max(0.001, until - monotonic())
        try:
            async with asyncio.timeout(left_s), self._side_slots, self._connection() as connection:
                await connection.execute(f"BEGIN; SET LOCAL lock_timeout = {int(left_s * 1000) + 1}")
                await lock_account(connection, id=account_id)
                await connection.execute("ROLLBACK")
        except (TimeoutError, asyncpg.LockNotAvailableError):
            return False
        return True


def _until(waiting: Waiting) -> float:
    assert waiting.blocked_until is not None  # set when it was parked
    return waiting.blocked_until


def _refuse_all(batch: Sequence[Waiting]) -> None:
    for waiting in batch:
        waiting.refuse(CommitUnknown() if waiting.committing else DatabaseUnavailable())


async def _commit(connection: Connection, batch: Sequence[Waiting], evaluation: Evaluation) -> None:
    if not any(isinstance(outcome, Posted | Held) for outcome in evaluation.outcomes):
        await connection.execute("ROLLBACK")
        return
    for waiting, outcome in zip(batch, evaluation.outcomes, strict=True):
        if isinstance(outcome, Posted | Held):
            waiting.committing = outcome
    # From here on an error of the connection, or our own timeout, says nothing about the outcome.
    await connection.execute("COMMIT")
