"""Connections: how they are opened, bounded, given back and, when lost, reported."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import asyncpg
import pytest

from local.ports import free_ports
from server.database import (
    ACQUIRE_TIMEOUT_S,
    CONNECTION_ERRORS,
    LOCK_TIMEOUT_S,
    STATEMENT_TIMEOUT_S,
    TRIES_MAX,
    Connection,
    Database,
    as_bank_error,
    open_pool,
)
from server.errors import BankError, CommitUnknown, Contended, DatabaseUnavailable, NotFound
from tests.conftest import Database as MigratedDatabase
from tests.worker.surroundings import eventually, link_to


@pytest.fixture
async def two(database: MigratedDatabase) -> AsyncIterator[Database]:
    """At most two connections."""
    opened = Database(await open_pool(database.app_url, size=2, settings={"work_mem": "5MB"}))
    yield opened
    await opened.close()


async def insert_event(connection: Connection) -> None:
    await connection.execute("INSERT INTO events (type, subject_id) VALUES ('test', gen_random_uuid())")


async def backend(connection: Connection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


class TestOpenPool:
    async def test_connections_act_as_the_application_with_every_bound_set(self, two: Database) -> None:
        expected = {
            "role": "bank_app",
            "application_name": "transactions",
            "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
            "lock_timeout": f"{LOCK_TIMEOUT_S:.0f}s",
            "idle_in_transaction_session_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
            "jit": "off",
            "work_mem": "5MB",
        }
        async with two.connection() as connection:
            assert {
                name: await connection.fetchval("SELECT current_setting($1)", name) for name in expected
            } == expected
            assert await connection.fetchval("SELECT current_user") == "bank_app"

    async def test_server_that_is_away_does_not_hinder_it(self) -> None:
        url = f"postgresql://bank_app@127.0.0.1:{free_ports(1)}/bank"
        database = Database(await open_pool(url, size=1))
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            async with database.connection():
                pass
        await database.close()


class TestConnection:
    async def test_no_free_connection_is_told_soon(self, two: Database) -> None:
        async with two.connection(), two.connection():
            started = monotonic()
            with pytest.raises(DatabaseUnavailable):
                async with two.connection():
                    pass
            assert ACQUIRE_TIMEOUT_S - 0.1 < monotonic() - started < ACQUIRE_TIMEOUT_S + 5
        async with two.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1

    async def test_given_back_connection_is_lent_again(self, two: Database) -> None:
        async with two.connection() as connection:
            first = await backend(connection)
        async with two.connection() as connection:
            assert await backend(connection) == first

    async def test_failed_statement_keeps_the_connection(self, two: Database) -> None:
        async with two.connection() as connection:
            first = await backend(connection)

        async def fail() -> None:
            async with two.connection() as connection:
                await connection.execute("SELECT 1 / 0")

        with pytest.raises(asyncpg.DivisionByZeroError):
            await fail()
        async with two.connection() as connection:
            assert await backend(connection) == first

    async def test_cut_off_statement_ends_its_connection(self, two: Database, database: MigratedDatabase) -> None:
        async with two.connection() as connection:
            first = await backend(connection)

        async def sleep() -> None:
            async with two.connection() as connection:
                await connection.execute("SELECT pg_sleep(60)")

        sleeping = asyncio.create_task(sleep())
        runs = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
        await eventually(lambda: database.pool.fetchval(runs))
        sleeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sleeping

        async with two.connection() as connection:
            assert await backend(connection) != first

    async def test_connections_that_the_server_ended_are_replaced(
        self, two: Database, database: MigratedDatabase
    ) -> None:
        async with two.connection() as first, two.connection() as second:
            pids = [await backend(first), await backend(second)]
        await database.pool.fetch("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)
        await eventually(lambda: two._pool.get_size() == 0)
        async with two.connection() as first, two.connection() as second:
            assert await first.fetchval("SELECT 1") == await second.fetchval("SELECT 1") == 1

    async def test_connection_lost_in_the_middle_is_reported_as_unavailable(
        self, two: Database, database: MigratedDatabase
    ) -> None:
        async def lose() -> None:
            async with two.connection() as connection:
                pid = await backend(connection)
                await database.pool.fetch("SELECT pg_terminate_backend($1)", pid)
                await connection.execute("SELECT pg_sleep(1)")

        with pytest.raises(Exception) as lost:  # noqa: PT011 - which one is the driver's choice
            await lose()
        assert isinstance(as_bank_error(lost.value), DatabaseUnavailable)


class TestTransaction:
    async def test_work_is_committed_and_its_result_returned(self, two: Database, database: MigratedDatabase) -> None:
        async def work(connection: Connection) -> int:
            await connection.execute("INSERT INTO events (type, subject_id) VALUES ('test', gen_random_uuid())")
            return 7

        assert await two.transaction(work) == 7
        assert await database.pool.fetchval("SELECT count(*) FROM events") == 1

    async def test_failed_work_leaves_nothing(self, two: Database, database: MigratedDatabase) -> None:
        async def work(connection: Connection) -> None:
            await connection.execute("INSERT INTO events (type, subject_id) VALUES ('test', gen_random_uuid())")
            raise NotFound("account", "x")

        with pytest.raises(NotFound):
            await two.transaction(work)
        assert await database.pool.fetchval("SELECT count(*) FROM events") == 0

    @pytest.mark.parametrize("error", [asyncpg.SerializationError, asyncpg.DeadlockDetectedError])
    async def test_work_that_lost_to_others_runs_again(
        self, two: Database, database: MigratedDatabase, error: type[Exception]
    ) -> None:
        runs = 0

        async def work(connection: Connection) -> int:
            nonlocal runs
            runs += 1
            await connection.execute("INSERT INTO events (type, subject_id) VALUES ('test', gen_random_uuid())")
            if runs < TRIES_MAX:
                raise error
            return runs

        assert await two.transaction(work) == TRIES_MAX
        assert await database.pool.fetchval("SELECT count(*) FROM events") == 1

    async def test_work_that_always_loses_is_given_up(self, two: Database) -> None:
        runs = 0

        async def work(_: Connection) -> None:
            nonlocal runs
            runs += 1
            raise asyncpg.DeadlockDetectedError

        with pytest.raises(asyncpg.DeadlockDetectedError):
            await two.transaction(work)
        assert runs == TRIES_MAX

    async def test_other_failures_are_not_repeated(self, two: Database) -> None:
        runs = 0

        async def work(_: Connection) -> None:
            nonlocal runs
            runs += 1
            raise asyncpg.UniqueViolationError

        with pytest.raises(asyncpg.UniqueViolationError):
            await two.transaction(work)
        assert runs == 1

    async def test_real_deadlock_is_survived_by_both(self, two: Database, database: MigratedDatabase) -> None:
        rows = [
            await database.pool.fetchval("SELECT min(id::text)::uuid FROM accounts"),
            await database.pool.fetchval("SELECT max(id::text)::uuid FROM accounts"),
        ]
        both = asyncio.Barrier(2)
        met = 0

        async def cross(first: int) -> None:
            async def work(connection: Connection) -> None:
                nonlocal met
                await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", rows[first])
                met += 1
                if met <= 2:
                    await both.wait()
                await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", rows[1 - first])

            await two.transaction(work)

        async with asyncio.timeout(10):
            await asyncio.gather(cross(0), cross(1))
        assert met > 2


class TestLostCommit:
    """A COMMIT without an answer is told as what it is, whatever became of it."""

    @pytest.fixture
    async def committing(self, database: MigratedDatabase) -> Callable[[], Awaitable[int]]:
        """Lets every COMMIT of an event take a second, and waits for one; its backend."""
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1); RETURN NULL; END';"
            "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED"
            " FOR EACH ROW EXECUTE FUNCTION wait()"
        )
        await owner.close()

        async def one() -> int:
            query = (
                "SELECT pid FROM pg_stat_activity"
                " WHERE datname = current_database() AND query = 'COMMIT;' AND state = 'active'"
            )
            async with asyncio.timeout(5):
                while not (pid := await database.pool.fetchval(query)):
                    await asyncio.sleep(0.02)
            return int(pid)

        return one

    async def test_way_to_the_database_lost_is_unknown_though_it_was_written(
        self, database: MigratedDatabase, committing: Callable[[], Awaitable[int]]
    ) -> None:
        async with link_to(database.app_url) as (link, url):
            far = Database(await open_pool(url, size=1))
            call = asyncio.create_task(far.transaction(insert_event))
            await committing()
            await link.cut()
            with pytest.raises(CommitUnknown):
                await call
            assert await database.pool.fetchval("SELECT count(*) FROM events") == 0
            async with asyncio.timeout(5):
                while not await database.pool.fetchval("SELECT count(*) FROM events"):
                    await asyncio.sleep(0.05)
            await far.close()

    async def test_backend_that_ended_is_unknown_though_nothing_was_written(
        self, two: Database, database: MigratedDatabase, committing: Callable[[], Awaitable[int]]
    ) -> None:
        call = asyncio.create_task(two.transaction(insert_event))
        await database.pool.fetch("SELECT pg_terminate_backend($1)", await committing())
        with pytest.raises(CommitUnknown):
            await call
        await asyncio.sleep(1)
        assert await database.pool.fetchval("SELECT count(*) FROM events") == 0

    async def test_loss_before_it_is_no_unknown_outcome(self, two: Database, database: MigratedDatabase) -> None:
        async def lose(connection: Connection) -> None:
            await insert_event(connection)
            await database.pool.fetch("SELECT pg_terminate_backend($1)", await backend(connection))
            await connection.execute("SELECT 1")

        with pytest.raises(CONNECTION_ERRORS) as lost:
            await two.transaction(lose)
        assert isinstance(as_bank_error(lost.value), DatabaseUnavailable)
        assert await database.pool.fetchval("SELECT count(*) FROM events") == 0


class TestAsBankError:
    @pytest.mark.parametrize("error", [CommitUnknown(), NotFound("account", "x")])
    def test_expected_failure_is_itself(self, error: BankError) -> None:
        assert as_bank_error(error) is error

    @pytest.mark.parametrize(
        "error", [asyncpg.SerializationError(), asyncpg.DeadlockDetectedError(), asyncpg.LockNotAvailableError()]
    )
    def test_lost_against_others_is_contention(self, error: Exception) -> None:
        assert isinstance(as_bank_error(error), Contended)

    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.ConnectionDoesNotExistError(),
            asyncpg.ConnectionFailureError(),
            asyncpg.CannotConnectNowError(),
            asyncpg.AdminShutdownError(),
            asyncpg.CrashShutdownError(),
            asyncpg.TooManyConnectionsError(),
            asyncpg.DiskFullError(),
            asyncpg.OutOfMemoryError(),
            asyncpg.PostgresIOError(),
            asyncpg.InterfaceError("closed"),
            ConnectionResetError(),
            TimeoutError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_what_is_gone_or_full_is_unavailable(self, error: Exception) -> None:
        assert isinstance(as_bank_error(error), DatabaseUnavailable)

    @pytest.mark.parametrize(
        "error",
        [
            asyncpg.CheckViolationError(),
            asyncpg.UniqueViolationError(),
            asyncpg.InsufficientPrivilegeError(),
            asyncpg.UndefinedTableError(),
            asyncpg.DataError(),
            ValueError(),
            AssertionError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_everything_else_is_a_defect(self, error: Exception) -> None:
        assert as_bank_error(error) is None


class TestStatementLimit:
    async def test_statement_is_cut_off_by_the_server(self, database: MigratedDatabase) -> None:
        pool = await open_pool(database.app_url, size=1, statement_timeout_s=0.2)
        with pytest.raises(asyncpg.QueryCanceledError):
            await pool.execute("SELECT pg_sleep(5)")
        await pool.close()

    async def test_longer_limit_is_not_cut_off_by_the_client(self, database: MigratedDatabase) -> None:
        pool = await open_pool(database.app_url, size=1, statement_timeout_s=STATEMENT_TIMEOUT_S + 5)
        # Beyond what both sides allow a statement of an ordinary call.
        await pool.execute("SELECT pg_sleep($1)", STATEMENT_TIMEOUT_S + 1.5)
        await pool.close()
