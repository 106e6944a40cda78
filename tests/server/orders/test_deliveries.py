"""Orders that the worker ships and delivers by itself, once each, whatever happens meanwhile."""

import asyncio
import random
from contextlib import suppress
from uuid import UUID

import asyncpg
import pytest
from structlog.testing import capture_logs

from server.database import CONNECTION_ERRORS, Database, open_pool
from server.errors import Unavailable
from tests.server.bank import Bank
from tests.server.orders.conftest import PRICE, Shop, actor
from worker.deliveries import Deliveries

PLACED, SHIPPED = ("PLACED", "HELD", "RESERVED"), ("PLACED", "PAID", "SHIPPED")
DELIVERED = ("COMPLETED", "PAID", "DELIVERED")
WHOLE_STORY = ["order.created", "order.shipped", "order.delivered"]
DELAY_S = 60.0


@pytest.fixture
def deliveries(bank: Bank) -> Deliveries:
    return Deliveries(bank.database, DELAY_S)


async def rest(shop: Shop, *order_ids: UUID, seconds: float = DELAY_S) -> None:
    """Let nothing have happened to orders for so long, to all of them if none is named."""
    await shop.bank.as_owner(
        "UPDATE orders SET update_time = clock_timestamp() - make_interval(secs => $1)"
        " WHERE cardinality($2::uuid[]) = 0 OR id = ANY($2)",
        seconds,
        list(order_ids),
    )


class TestAdvanceDue:
    async def test_order_is_shipped_and_then_delivered_each_when_it_has_rested(
        self, bank: Bank, shop: Shop, deliveries: Deliveries
    ) -> None:
        kite = await shop.product()
        order_id = await shop.order({kite: 2})
        await rest(shop, seconds=DELAY_S - 5)
        assert (await deliveries.advance_due(), await shop.states(order_id)) == (0, PLACED)
        await rest(shop)
        assert (await deliveries.advance_due(), await shop.states(order_id)) == (1, SHIPPED)
        assert (await shop.stock(kite), await shop.money()) == ((8, 0), (90, 0, 10))
        assert (await deliveries.advance_due(), await shop.states(order_id)) == (0, SHIPPED)
        await rest(shop)
        assert (await deliveries.advance_due(), await shop.states(order_id)) == (1, DELIVERED)
        await rest(shop)
        assert await deliveries.advance_due() == 0
        assert await shop.events(order_id) == WHOLE_STORY
        assert await bank.adds_up()

    async def test_refund_of_a_shipped_order_lets_it_rest_anew(self, shop: Shop, deliveries: Deliveries) -> None:
        order_id = await shop.shipped()
        await rest(shop)
        await shop.orders.refund(shop.refund_of(order_id, 4))
        assert await deliveries.advance_due() == 0
        await rest(shop)
        assert await deliveries.advance_due() == 1
        assert await shop.states(order_id) == ("COMPLETED", "PARTIALLY_REFUNDED", "DELIVERED")

    async def test_orders_that_have_ended_are_left_as_they_are(
        self, bank: Bank, shop: Shop, deliveries: Deliveries
    ) -> None:
        canceled, overdue = await shop.order(), await shop.order()
        await shop.orders.cancel(canceled, actor(shop.alice))
        await shop.overdue(overdue)
        await rest(shop)
        before = await shop.everything()
        assert await deliveries.advance_due() == 0
        assert await shop.everything() == before

    async def test_more_than_one_batch_is_advanced_in_one_round(
        self, shop: Shop, deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.deliveries.ORDER_DELIVERY_BATCH", 3)
        kite = await shop.product(20)
        for _ in range(8):
            await shop.order({kite: 1})
        await rest(shop)
        assert await deliveries.advance_due() == 8

    async def test_locked_order_is_passed_over(self, bank: Bank, shop: Shop, deliveries: Deliveries) -> None:
        locked, free = await shop.order(), await shop.order()
        await rest(shop)
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE", locked)
            with capture_logs() as logs:
                assert await deliveries.advance_due() == 1
            # To wait for its lock would have been told of.
            assert logs == []
            assert await shop.states(free) == SHIPPED
        assert await deliveries.advance_due() == 1
        assert await shop.states(locked) == SHIPPED

    async def test_refused_order_is_told_once_and_goes_on_when_it_can(
        self, bank: Bank, shop: Shop, deliveries: Deliveries
    ) -> None:
        order_id = await shop.order()
        await rest(shop)
        await bank.as_owner("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", shop.payment)
        before = await shop.everything()
        with capture_logs() as logs:
            assert [await deliveries.advance_due() for _ in range(3)] == [0, 0, 0]
        assert [(line["event"], line["order_id"], line["reason"]) for line in logs] == [
            ("order_delivery_refused", str(order_id), "ACCOUNT_FROZEN")
        ]
        assert await shop.everything() == before
        await bank.as_owner("UPDATE accounts SET state = 'OPEN' WHERE id = $1", shop.payment)
        assert await deliveries.advance_due() == 1

    async def test_order_that_cannot_go_on_hinders_no_other(
        self, bank: Bank, shop: Shop, deliveries: Deliveries
    ) -> None:
        kite = await shop.product()
        broken = await shop.order({kite: 1})
        others = [await shop.order() for _ in range(2)]
        await rest(shop)
        await bank.as_owner("UPDATE products SET reserved = 0 WHERE id = $1", kite)
        assert await deliveries.advance_due() == 2
        assert await shop.states(broken) == PLACED
        assert {await shop.states(other) for other in others} == {SHIPPED}


class TestExactlyOnce:
    async def test_workers_at_once_share_the_work(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(20)
        ids = [await shop.order({kite: 1}) for _ in range(12)]
        await rest(shop)
        counts = await asyncio.gather(*(Deliveries(bank.database, DELAY_S).advance_due() for _ in range(4)))
        assert sum(counts) == 12
        # None of them has delivered what another one had just shipped.
        assert {await shop.states(order_id) for order_id in ids} == {SHIPPED}
        await rest(shop)
        counts = await asyncio.gather(*(Deliveries(bank.database, DELAY_S).advance_due() for _ in range(4)))
        assert sum(counts) == 12
        assert [await shop.events(order_id) for order_id in ids] == [WHOLE_STORY] * 12
        assert (await shop.stock(kite), await shop.money()) == ((8, 0), (100 - 12 * PRICE, 0, 12 * PRICE))
        assert await bank.adds_up()

    async def test_buyers_who_cancel_meanwhile_leave_legal_orders(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(20)
        ids = [await shop.order({kite: 1}) for _ in range(12)]
        await rest(shop)
        deliveries = Deliveries(bank.database, DELAY_S)
        cancels = [shop.orders.cancel(order_id, actor(shop.alice)) for order_id in ids]
        await asyncio.gather(deliveries.advance_due(), *cancels, return_exceptions=True)
        await deliveries.advance_due()
        shipped = [order_id for order_id in ids if await shop.states(order_id) == SHIPPED]
        canceled = [order_id for order_id in ids if (await shop.states(order_id))[0] == "CANCELED"]
        assert len(shipped) + len(canceled) == 12
        assert await shop.money() == (100 - len(shipped) * PRICE, 0, len(shipped) * PRICE)
        assert await shop.stock(kite) == (20 - len(shipped), 0)
        assert await bank.adds_up()

    async def test_connections_killed_at_any_moment_lose_and_repeat_nothing(self, bank: Bank, shop: Shop) -> None:
        choice = random.Random(5)
        kite = await shop.product(20)
        ids = [await shop.order({kite: 1}) for _ in range(15)]
        open_orders = "SELECT count(*) FROM orders WHERE state = 'PLACED'"
        kills = 0

        async def kill() -> None:
            nonlocal kills
            while kills < 40 and await bank.pool.fetchval(open_orders):
                await asyncio.sleep(choice.random() * 0.03)
                kills += await bank.pool.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE application_name = 'doomed' AND datname = current_database()"
                )

        async def work() -> None:
            pool = await open_pool(bank.url, size=1, settings={"application_name": "doomed"})
            while await bank.pool.fetchval(open_orders):
                with suppress(*CONNECTION_ERRORS, asyncpg.PostgresError, Unavailable):
                    await Deliveries(Database(pool), 0).advance_due()
            pool.terminate()

        with capture_logs() as logs:
            await asyncio.gather(kill(), work(), work())
        assert kills > 5
        # A lost connection is not the fault of an order.
        assert {line["event"] for line in logs} <= {"order_delivery_waits"}
        assert [await shop.events(order_id) for order_id in ids] == [WHOLE_STORY] * 15
        assert await shop.money() == (100 - 15 * PRICE, 0, 15 * PRICE)
        assert await bank.adds_up()
