"""Orders that were not shipped in time are ended by the worker."""

import asyncio

from tests.server.bank import Bank
from tests.server.orders.conftest import Shop, actor
from worker.orders import OrderSweep


class TestOrderSweep:
    async def test_overdue_orders_are_ended_and_others_left(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        overdue, other, shipped = (
            await shop.order({kite: 1}),
            await shop.order({kite: 2}),
            await shop.shipped({kite: 1}),
        )
        for order_id in (overdue, shipped):
            await shop.overdue(order_id)
        sweep = OrderSweep(bank.database)
        assert [await sweep.sweep() for _ in range(2)] == [1, 0]
        assert (await shop.states(overdue))[0] == "EXPIRED"
        assert (await shop.states(other), (await shop.states(shipped))[2]) == (
            ("PLACED", "HELD", "RESERVED"),
            "SHIPPED",
        )
        assert await shop.stock(kite) == (9, 2)
        assert await bank.adds_up()

    async def test_sweeps_at_once_share_the_work(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(20)
        ids = [await shop.order({kite: 1}) for _ in range(12)]
        for order_id in ids:
            await shop.overdue(order_id)
        counts = await asyncio.gather(*(OrderSweep(bank.database).sweep() for _ in range(3)))
        assert sum(counts) == 12
        assert (await shop.stock(kite), await shop.money()) == ((20, 0), (100, 0, 0))
        events = "SELECT count(*) FROM events WHERE type = 'order.expired'"
        assert await bank.pool.fetchval(events) == 12
        assert await bank.adds_up()

    async def test_locked_product_delays_its_own_only(self, bank: Bank, shop: Shop) -> None:
        blocked_kite, kite = await shop.product(), await shop.product()
        blocked, free = await shop.order({blocked_kite: 1}), await shop.order({kite: 1})
        for order_id in (blocked, free):
            await shop.overdue(order_id)
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM products WHERE id = $1 FOR UPDATE", blocked_kite)
            assert await OrderSweep(bank.database).sweep() == 1
            assert (await shop.states(free))[0] == "EXPIRED"
        assert await OrderSweep(bank.database).sweep() == 1
        assert (await shop.states(blocked))[0] == "EXPIRED"

    async def test_order_that_cannot_be_ended_hinders_no_other(self, bank: Bank, shop: Shop) -> None:
        broken_kite, kite = await shop.product(), await shop.product()
        broken = await shop.order({broken_kite: 1})
        others = [await shop.order({kite: 1}) for _ in range(2)]
        for order_id in (broken, *others):
            await shop.overdue(order_id)
        await bank.as_owner("UPDATE products SET reserved = 0 WHERE id = $1", broken_kite)
        assert await OrderSweep(bank.database).sweep() == 2
        assert (await shop.states(broken))[0] == "PLACED"
        await bank.as_owner("UPDATE products SET reserved = 1 WHERE id = $1", broken_kite)
        assert await OrderSweep(bank.database).sweep() == 1
        assert await bank.adds_up()

    async def test_pieces_can_be_ordered_again(self, shop: Shop) -> None:
        kite = await shop.product(2)
        await shop.overdue(await shop.order({kite: 2}))
        await OrderSweep(shop.bank.database).sweep()
        again = await shop.order({kite: 2})
        await shop.orders.ship(again, actor(shop.merchant))
        assert await shop.stock(kite) == (0, 0)
