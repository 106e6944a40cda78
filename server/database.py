"""PostgreSQL: how connections are opened, bounded, given back and, when lost, reported."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from server.errors import BankError, CommitUnknown, Contended, DatabaseUnavailable
from server.metrics import POOL_CONNECTIONS, POOL_CONNECTIONS_MAX, POOL_TIMEOUTS, POOL_WAITING
from server.tracing import current_trace, traced

Connection = asyncpg.Connection | PoolConnectionProxy
Result = TypeVar("Result")

CONNECT_TIMEOUT_S = 3.0
ACQUIRE_TIMEOUT_S = 1.0
RELEASE_TIMEOUT_S = 1.0
STATEMENT_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 2.0
TRIES_MAX = 3

# Bad luck against other transactions: the same work may succeed at once.
SERIALIZATION_ERRORS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
CONTENTION_ERRORS = (*SERIALIZATION_ERRORS, asyncpg.LockNotAvailableError)
"""Others were first: the same transaction may succeed soon."""
# The server, or the way to it, is gone or has no room; TimeoutError is ours, see `connection`.
CONNECTION_ERRORS = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
# A statement was cut off, by the server's limit or by ours.
TIMEOUT_ERRORS = (TimeoutError, asyncpg.QueryCanceledError)

_after_commit: ContextVar[list[Callable[[], None]]] = ContextVar("after_commit")


async def open_pool(
    url: str, *, size: int, settings: dict[str, str] | None = None, statement_timeout_s: float = STATEMENT_TIMEOUT_S
) -> asyncpg.Pool:
    """Open a pool whose connections act as the role bank_app.

    Args:
        url: PostgreSQL URL of a login that is bank_app or may become it.
        size: Most connections at once; they are opened when needed, so the server may be away now.
        settings: Server settings on top of the timeouts.
        statement_timeout_s: How long one statement may take.
    """
    return await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=statement_timeout_s + 1,
        max_inactive_connection_lifetime=0,
        # Nothing here outlives its transaction, so a connection needs no clean-up between users.
        reset=_keep,
        server_settings={
            "role": "bank_app",
            "application_name": "transactions",
            "jit": "off",
            "statement_timeout": f"{statement_timeout_s}s",
            "lock_timeout": f"{LOCK_TIMEOUT_S}s",
            "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_S}s",
            **(settings or {}),
        },
    )


def show_pool(name: str, pool: asyncpg.Pool) -> None:
    """Have the metrics show how many connections of the pool are used."""
    POOL_CONNECTIONS.labels(name, "used").set_function(lambda: pool.get_size() - pool.get_idle_size())
    POOL_CONNECTIONS.labels(name, "idle").set_function(pool.get_idle_size)
    POOL_CONNECTIONS_MAX.labels(name).set(pool.get_max_size())


async def _keep(_: Connection) -> None:
    return None


class Database:
    """The connections that everything but the posting of money shares.

    Args:
        pool: Opened by `open_pool`.
        name: What the metrics call it; empty: they do not show it.
    """

    def __init__(self, pool: asyncpg.Pool, name: str = "") -> None:
        self._pool = pool
        self._name = name
        self._waiting = 0
        if name:
            show_pool(name, pool)
            POOL_WAITING.labels(name).set_function(lambda: self._waiting)
            POOL_TIMEOUTS.labels(name)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection for single statements.

        A connection whose statement was cut off is ended, not given back: the server may still be
        busy with it, or be frozen, and waiting for it would hold the caller.

        Raises:
            DatabaseUnavailable: No connection was free within ACQUIRE_TIMEOUT_S.
        """
        self._waiting += 1
        try:
            connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        except TimeoutError:
            POOL_TIMEOUTS.labels(self._name).inc()
            raise DatabaseUnavailable from None
        finally:
            self._waiting -= 1
        trace = current_trace()
        try:
            if trace is None:
                yield connection
            else:
                with connection.query_logger(trace.add_statement):
                    yield connection
        except (asyncio.CancelledError, TimeoutError):
            with suppress(asyncpg.InterfaceError):  # it was lost already
                connection.terminate()
            raise
        finally:
            await self._pool.release(connection, timeout=RELEASE_TIMEOUT_S)

    async def transaction(self, work: Callable[[Connection], Awaitable[Result]]) -> Result:
        """Run `work` in one READ COMMITTED transaction, up to three times if it loses to others.

        Args:
            work: Does everything on the connection it is given and nothing outside the database:
                it may run again. It must let database errors pass: one that is caught inside
                turns the commit into a rollback without a word.

        Returns:
            What `work` returned in the run that was committed.

        Raises:
            CommitUnknown: The connection was lost while it committed.
        """
        for tries_left in range(TRIES_MAX - 1, -1, -1):
            committing = False
            told: list[Callable[[], None]] = []
            _after_commit.set(told)
            try:
                with traced("transaction"):
                    async with self.connection() as connection, connection.transaction():
                        result = await work(connection)
                        committing = True
                for tell in told:
                    tell()
                return result
            except SERIALIZATION_ERRORS:
                if tries_left == 0:
                    raise
            except CONNECTION_ERRORS as error:
                if committing:
                    raise CommitUnknown from error
                raise
            await asyncio.sleep(random.uniform(0.005, 0.05))  # noqa: S311 - spreads tries, keeps no secret
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Close every connection, the lent ones after they are given back."""
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT_S):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()


def after_commit(tell: Callable[[], None]) -> None:
    """Have something done when the present `Database.transaction` is committed, and not if it is rolled back.

    In a transaction that was begun by other means nothing is done: whoever commits that one knows.
    """
    told = _after_commit.get(None)
    if told is not None:
        told.append(tell)


async def close_all(*databases: Database) -> None:
    """Close several at once, as each may have to wait for a server that does not answer."""
    await asyncio.gather(*(database.close() for database in databases))


def as_bank_error(error: Exception) -> BankError | None:
    """The expected failure that an error is or stands for; None if it is a defect of ours."""
    if isinstance(error, BankError):
        return error
    if isinstance(error, CONTENTION_ERRORS):
        return Contended()
    if isinstance(error, CONNECTION_ERRORS):
        return DatabaseUnavailable()
    return None
