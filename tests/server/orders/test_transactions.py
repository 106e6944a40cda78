"""Orders wait among themselves, within bounds, and a COMMIT that is never answered is no refusal."""

import asyncio
from uuid import UUID, uuid4

import pytest

from server.database import Connection
from server.errors import CommitUnknown, DatabaseUnavailable, Overloaded
from server.orders.transactions import ORDERS_AT_ONCE, ORDERS_PER_USER_MAX, ORDERS_WAITING_MAX, OrderTransactions
from tests.server.bank import Bank
from tests.server.orders.conftest import Shop, actor


async def slow_down_commits(bank: Bank, seconds: float) -> None:
    """Let every COMMIT of an order take its time, when all is written."""
    await bank.as_owner(
        f"CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
        f" 'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END'"
    )
    await bank.as_owner(
        "CREATE CONSTRAINT TRIGGER slow AFTER INSERT OR UPDATE ON orders DEFERRABLE INITIALLY DEFERRED"
        " FOR EACH ROW EXECUTE FUNCTION wait()"
    )


async def end_committing(bank: Bank) -> None:
    """End the backend that is committing an order."""
    ended = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND query = 'COMMIT;' AND state = 'active'"
    )
    async with asyncio.timeout(5):
        while not await bank.pool.fetchval(ended):
            await asyncio.sleep(0.02)


class TestRun:
    async def test_more_than_may_wait_are_refused_at_once(self, shop: Shop) -> None:
        transactions, gate = OrderTransactions(shop.database), asyncio.Event()

        async def wait(connection: Connection) -> None:
            await gate.wait()

        calls = [
            asyncio.create_task(transactions.run(uuid4(), wait)) for _ in range(ORDERS_AT_ONCE + ORDERS_WAITING_MAX)
        ]
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded):
            await transactions.run(uuid4(), wait)
        gate.set()
        await asyncio.gather(*calls)
        await transactions.run(uuid4(), wait)

    async def test_one_user_leaves_places_to_others(self, shop: Shop) -> None:
        transactions, gate, greedy = OrderTransactions(shop.database), asyncio.Event(), uuid4()

        async def wait(connection: Connection) -> None:
            await gate.wait()

        calls = [asyncio.create_task(transactions.run(greedy, wait)) for _ in range(ORDERS_PER_USER_MAX)]
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded):
            await transactions.run(greedy, wait)
        other = asyncio.create_task(transactions.run(uuid4(), wait))
        gate.set()
        await asyncio.gather(*calls, other)
        await transactions.run(greedy, wait)

    async def test_caller_who_gives_up_leaves_a_place(self, shop: Shop) -> None:
        transactions, gate = OrderTransactions(shop.database), asyncio.Event()

        async def wait(connection: Connection) -> None:
            await gate.wait()

        calls = [asyncio.create_task(transactions.run(uuid4(), wait)) for _ in range(ORDERS_AT_ONCE + 5)]
        await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        gate.set()
        await asyncio.gather(*(transactions.run(uuid4(), wait) for _ in range(ORDERS_AT_ONCE)))

    async def test_many_who_wait_for_one_product_keep_no_reader_waiting(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM products WHERE id = $1 FOR UPDATE", kite)
            calls = [asyncio.create_task(shop.orders.create(shop.new({kite: 1}))) for _ in range(50)]
            await bank.waits_for_locks(ORDERS_AT_ONCE)
            # To wait for a connection would soon be refused.
            assert (await shop.products.get(kite)).reserved == 0
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


class TestLostCommit:
    async def test_it_is_unknown_and_the_same_call_finds_out(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        new = shop.new({kite: 2})
        await slow_down_commits(bank, 2)
        before = await shop.everything()
        call = asyncio.create_task(shop.orders.create(new))
        await end_committing(bank)
        with pytest.raises(CommitUnknown):
            await call
        assert await shop.everything() == before
        await bank.as_owner("DROP TRIGGER slow ON orders")
        (row, _), replayed = await shop.orders.create(new)
        assert (replayed, row.state, await shop.stock(kite)) == (False, "PLACED", (10, 2))
        assert await bank.adds_up()

    async def test_step_is_taken_once_however_often_it_is_lost(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        order_id: UUID = await shop.order({kite: 2})
        await slow_down_commits(bank, 2)
        call = asyncio.create_task(shop.orders.ship(order_id, actor(shop.merchant)))
        await end_committing(bank)
        with pytest.raises(CommitUnknown):
            await call
        await bank.as_owner("DROP TRIGGER slow ON orders")
        for _ in range(2):
            await shop.orders.ship(order_id, actor(shop.merchant))
        assert (await shop.stock(kite), await shop.money()) == ((8, 0), (90, 0, 10))
        assert await bank.adds_up()

    async def test_loss_before_the_commit_is_a_refusal(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        before = await shop.everything()

        async def lost(connection: Connection) -> None:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")

        with pytest.raises(Exception, match=r"terminat|closed") as failed:
            await OrderTransactions(shop.database).run(uuid4(), lost)
        assert not isinstance(failed.value, CommitUnknown | DatabaseUnavailable)
        assert await shop.everything() == before
        await shop.order({kite: 1})
