"""Everything at once: whoever wins, only legal histories are left, and money equals stock."""

import asyncio
import random
from collections.abc import Awaitable
from uuid import UUID

import pytest

from server.errors import BankError, Contended, WrongOrderState
from server.ledger.errors import ReversalExceedsTransfer
from server.ledger.movements import Kind
from server.orders.expiry import expire_order
from server.orders.transitions import PLACED, States, Step, after
from tests.server.bank import Bank, movement
from tests.server.orders.conftest import PRICE, Shop, actor

ROUNDS = 6
EXPECTED = (WrongOrderState, ReversalExceedsTransfer, Contended)


def legal(history: list[str]) -> States | None:
    """Where a history of events leads; None if a step in it is none."""
    created, *steps = history
    assert created == "order.created"
    states: States | None = PLACED
    for step in steps:
        if states is None:
            return None
        states = after(Step(step), states)
    return states


async def settle(attempts: list[Awaitable[object]]) -> list[object]:
    """What came of attempts that ran at once; only refusals of the contract may be among it."""
    random.shuffle(attempts)
    results = await asyncio.gather(*attempts, return_exceptions=True)
    for result in results:
        assert not isinstance(result, BaseException) or isinstance(result, EXPECTED), result
    return list(results)


async def expire(shop: Shop, order_id: UUID) -> bool:
    return await shop.bank.database.transaction(lambda connection: expire_order(connection, order_id))


async def check(shop: Shop, order_ids: list[UUID], kite: UUID, on_hand: int) -> None:
    """Each history is legal and ends where the order is; what was paid is what has left the stock."""
    sold = reserved = paid = refunded = 0
    for order_id in order_ids:
        row = (await shop.get(order_id)).row
        assert legal(await shop.events(order_id)) == (row.state, row.payment_state, row.fulfillment_state)
        pieces = row.total_minor // PRICE
        sold += pieces if row.fulfillment_state in ("SHIPPED", "DELIVERED") else 0
        reserved += pieces if row.fulfillment_state == "RESERVED" else 0
        paid += row.total_minor if row.transfer_id else 0
        refunded += row.refunded_minor
        captures = "SELECT count(*) FROM transfers WHERE order_id = $1 AND kind = 'CAPTURE'"
        assert await shop.bank.pool.fetchval(captures, order_id) == (1 if row.transfer_id else 0)
    assert await shop.stock(kite) == (on_hand - sold, reserved)
    assert paid == sold * PRICE
    posted, held, earned = await shop.money()
    assert (posted, held, earned) == (100 - paid + refunded, reserved * PRICE, paid - refunded)
    assert await shop.bank.adds_up()


class TestOneOrder:
    async def test_ship_and_cancel_race(self, shop: Shop) -> None:
        kite, ids = await shop.product(100), []
        for _ in range(ROUNDS):
            order_id = await shop.order({kite: 1})
            ids.append(order_id)
            await settle(
                [shop.orders.ship(order_id, actor(by)) for by in (shop.merchant, shop.admin)]
                + [shop.orders.cancel(order_id, actor(by)) for by in (shop.alice, shop.merchant)]
            )
            assert (await shop.states(order_id))[2] in ("SHIPPED", "RELEASED")
        await check(shop, ids, kite, 100)

    async def test_everything_races_at_the_end_of_its_time(self, shop: Shop) -> None:
        kite, ids = await shop.product(100), []
        bob = await shop.bank.person()
        purse = await shop.bank.account(bob, 100)
        for _ in range(ROUNDS):
            order_id = await shop.order({kite: 1})
            ids.append(order_id)
            moment = await shop.bank.pool.fetchval("SELECT clock_timestamp() + interval '30 ms'")
            for table, column in (("orders", "id"), ("holds", "order_id")):
                await shop.bank.as_owner(f"UPDATE {table} SET expire_time = $2 WHERE {column} = $1", order_id, moment)
            await settle(
                [
                    shop.orders.ship(order_id, actor(shop.merchant)),
                    shop.orders.cancel(order_id, actor(shop.alice)),
                    shop.orders.deliver(order_id, actor(shop.merchant)),
                    shop.orders.refund(shop.refund_of(order_id)),
                    *(expire(shop, order_id) for _ in range(3)),
                    # Any movement on the account lets overdue holds go.
                    shop.bank.ledger.post(movement(shop.alice, shop.payment, purse, 1)),
                    shop.bank.ledger.post(movement(bob, purse, shop.payment, 1)),
                ]
            )
            await asyncio.sleep(0.05)
            await expire(shop, order_id)
        await check(shop, ids, kite, 100)

    async def test_refunds_race_to_at_most_the_total(self, shop: Shop) -> None:
        kite = await shop.product(100)
        order_id = await shop.shipped({kite: 4})
        results = await settle(
            [shop.orders.refund(shop.refund_of(order_id, 3, {kite: 1} if n < 4 else None)) for n in range(12)]
            + [shop.orders.deliver(order_id, actor(shop.merchant))]
        )
        assert sum(isinstance(result, ReversalExceedsTransfer) for result in results) == 6
        row = (await shop.get(order_id)).row
        assert (row.refunded_minor, row.payment_state, row.state) == (18, "PARTIALLY_REFUNDED", "COMPLETED")
        await shop.orders.refund(shop.refund_of(order_id))
        assert await shop.money() == (100, 0, 0)
        assert await shop.bank.adds_up()


class TestManyOrders:
    @pytest.mark.parametrize("seed", range(3))
    async def test_stock_and_money_agree_whatever_happens(self, shop: Shop, seed: int) -> None:
        dice = random.Random(seed)
        kite = await shop.product(12)
        ids: list[UUID] = []

        async def live() -> None:
            try:
                placed, _ = await shop.orders.create(shop.new({kite: dice.randint(1, 3)}))
            except BankError:
                return  # sold out, or Alice has no more
            order_id = placed.row.id
            ids.append(order_id)
            steps: list[Awaitable[object]] = [
                shop.orders.ship(order_id, actor(shop.merchant)),
                shop.orders.cancel(order_id, actor(shop.alice)),
                shop.orders.deliver(order_id, actor(shop.merchant)),
                shop.orders.refund(shop.refund_of(order_id, dice.choice([None, 1, 5]))),
            ]
            await settle(steps)

        await asyncio.gather(*(live() for _ in range(16)))
        assert ids
        await check(shop, ids, kite, 12)

    async def test_orders_and_plain_transfers_share_an_account_without_loss(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(100)
        ids = []

        async def buy() -> None:
            placed, _ = await shop.orders.create(shop.new({kite: 1}))
            await shop.orders.ship(placed.row.id, actor(shop.merchant))
            ids.append(placed.row.id)

        payments = [
            bank.ledger.post(movement(shop.alice, shop.payment, shop.settlement, 1)),
            bank.ledger.post(movement(shop.alice, shop.payment, shop.settlement, 1, kind=Kind.HOLD)),
        ]
        await asyncio.gather(*(buy() for _ in range(10)), *payments)
        assert await shop.money() == (100 - 50 - 1, 1, 51)
        assert await bank.adds_up()
