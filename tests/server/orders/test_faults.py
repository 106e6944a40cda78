"""Connections are lost at every point: orders end in legal states, go on, and nothing happens twice."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from server.accounts.errors import AccountNotEmpty
from server.accounts.standing import AccountStanding
from server.database import CONNECTION_ERRORS
from server.errors import Contended, Unavailable, WrongOrderState
from tests.server.bank import Bank, caller
from tests.server.orders.conftest import Shop, actor
from tests.server.orders.test_races import check

LOST = (*CONNECTION_ERRORS, Unavailable, Contended)


async def insist(call: Callable[[], Awaitable[Any]]) -> Any:
    """Make the same call until its outcome is known."""
    while True:
        try:
            return await call()
        except LOST:
            await asyncio.sleep(random.uniform(0.01, 0.05))


class TestLostConnections:
    async def test_every_order_ends_where_its_history_leads(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(40)
        ids: list[UUID] = []
        killed = 0

        async def live(number: int) -> None:
            new = shop.new({kite: 1})
            (row, _), _ = await insist(lambda: shop.orders.create(new))
            ids.append(row.id)
            try:
                if number % 3 == 0:
                    await insist(lambda: shop.orders.cancel(row.id, actor(shop.alice)))
                    return
                await insist(lambda: shop.orders.ship(row.id, actor(shop.merchant)))
                refund = shop.refund_of(row.id, 1 + number % 5, {kite: 1} if number % 2 else None)
                await insist(lambda: shop.orders.refund(refund))
                await insist(lambda: shop.orders.deliver(row.id, actor(shop.merchant)))
            except WrongOrderState as error:
                raise AssertionError(number) from error

        async def kill() -> None:
            nonlocal killed
            while True:
                await asyncio.sleep(0.03)
                killed += await bank.pool.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name = 'transactions'"
                    " AND state <> 'idle' AND random() < 0.3"
                )

        killer = asyncio.create_task(kill())
        await asyncio.gather(*(live(number) for number in range(15)))
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)

        assert killed > 0
        assert len(set(ids)) == 15
        assert await bank.pool.fetchval("SELECT count(*) FROM orders") == 15
        returned = sum(1 for number in range(15) if number % 3 and number % 2)
        await check(shop, ids, kite, 40 + returned)
        assert {(await shop.states(order_id))[0] for order_id in ids} == {"CANCELED", "COMPLETED"}


class TestOpenOrders:
    async def test_neither_account_is_closed_while_an_order_is_under_way(self, bank: Bank, shop: Shop) -> None:
        empty = await bank.account(shop.alice, 10)
        placed, _ = await shop.orders.create(shop.new({await shop.product(): 2}, payment=empty))
        order_id = placed.row.id
        standing = AccountStanding(bank.database)
        await shop.orders.ship(order_id, actor(shop.merchant))
        for account_id, person in ((empty, shop.alice), (shop.settlement, shop.merchant)):
            refusal = await shop.refused(standing.close(account_id, caller(person)), AccountNotEmpty)
            assert refusal.metadata["obligations"] == "order"
        await shop.orders.deliver(order_id, actor(shop.merchant))
        assert (await standing.close(empty, caller(shop.alice))).state == "CLOSED"
