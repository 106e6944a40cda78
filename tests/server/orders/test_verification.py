"""The proof that paid orders are paid once and reserved pieces are ordered notices when they are not."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from server.ledger.verification import Difference, Rule, verify
from tests.conftest import Database, PostgresServer
from tests.db.migrations import superuser_url
from tests.server.bank import Bank
from tests.server.orders.conftest import Shop, actor

Break = Callable[..., Awaitable[Any]]


@pytest.fixture
async def break_by(shop: Shop, database: Database, postgres: PostgresServer) -> AsyncIterator[Break]:
    """Runs SQL that no constraint, key or privilege stops."""
    superuser = await asyncpg.connect(superuser_url(postgres, database.owner_url))
    await superuser.execute("SET session_replication_role = replica")
    await superuser.execute("DROP INDEX transfers_order_id_key")
    await superuser.execute("ALTER TABLE orders DROP CONSTRAINT orders_states_legal")
    await superuser.execute("ALTER TABLE orders DROP CONSTRAINT orders_paid_with_transfer")
    yield superuser.execute
    await superuser.close()


async def differences(bank: Bank, *rules: Rule) -> set[Difference]:
    """What breaks these rules; without any, whatever breaks."""
    found = (await verify(bank.database)).differences
    return {difference for difference in found if not rules or difference.rule in rules}


class TestPayment:
    async def test_orders_in_every_state_add_up(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        await shop.order({kite: 1})
        canceled, shipped, refunded = await shop.order({kite: 1}), await shop.shipped({kite: 1}), await shop.shipped()
        await shop.orders.cancel(canceled, actor(shop.alice))
        await shop.orders.refund(shop.refund_of(shipped, 1))
        await shop.orders.refund(shop.refund_of(refunded))
        await shop.overdue(await shop.order({kite: 1}))
        assert await differences(bank) == set()

    async def test_paid_order_without_its_capture(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        order_id = await shop.shipped()
        await break_by("UPDATE transfers SET order_id = NULL WHERE order_id = $1", order_id)
        assert await differences(bank) == {
            Difference(Rule.PAYMENT, str(order_id), 1, 0),
            Difference(Rule.PAYMENT, str(order_id), 10, 0),
        }

    async def test_capture_of_an_order_that_is_not_paid(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        order_id = await shop.shipped()
        await break_by("UPDATE orders SET transfer_id = NULL, payment_state = 'HELD' WHERE id = $1", order_id)
        assert await differences(bank, Rule.PAYMENT) == {
            Difference(Rule.PAYMENT, str(order_id), 0, 1),
            Difference(Rule.PAYMENT, str(order_id), 10, 10),  # its hold is not pending
        }

    async def test_order_that_was_captured_twice(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        order_id, other = await shop.shipped(), await shop.shipped()
        await break_by("UPDATE transfers SET order_id = $1 WHERE order_id = $2", order_id, other)
        assert Difference(Rule.PAYMENT, str(order_id), 1, 2) in await differences(bank)

    async def test_capture_of_an_order_that_does_not_exist(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        order_id = await shop.shipped()
        await break_by("DELETE FROM orders WHERE id = $1", order_id)
        assert await differences(bank) == {
            Difference(Rule.PAYMENT, str(order_id), 0, 1),
            Difference(Rule.PAYMENT, str(order_id), 0, 10),
        }

    async def test_capture_of_another_amount(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        order_id = await shop.shipped()
        await break_by("UPDATE orders SET total_minor = 11 WHERE id = $1", order_id)
        assert await differences(bank) == {Difference(Rule.PAYMENT, str(order_id), 11, 10)}

    @pytest.mark.parametrize(
        ("state", "refunded", "expected"), [("PAID", 4, 0), ("PARTIALLY_REFUNDED", 10, 1), ("REFUNDED", 4, 10)]
    )
    async def test_state_that_tells_another_refund(
        self, bank: Bank, shop: Shop, break_by: Break, state: str, refunded: int, expected: int
    ) -> None:
        order_id = await shop.shipped()
        await shop.orders.refund(shop.refund_of(order_id, refunded))
        await break_by("UPDATE orders SET payment_state = $2 WHERE id = $1", order_id, state)
        assert await differences(bank) == {Difference(Rule.PAYMENT, str(order_id), expected, refunded)}

    async def test_hold_that_went_without_its_order(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        order_id = await shop.order()
        await break_by("UPDATE holds SET state = 'VOIDED' WHERE order_id = $1", order_id)
        await break_by("UPDATE accounts SET held_minor = 0 WHERE id = $1", shop.payment)
        assert await differences(bank) == {Difference(Rule.PAYMENT, str(order_id), 10, 10)}

    async def test_hold_of_no_order(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        row = (await shop.get(await shop.order())).row
        stray = uuid4()
        await break_by("UPDATE holds SET order_id = $2 WHERE id = $1", row.hold_id, stray)
        assert await differences(bank) == {
            Difference(Rule.PAYMENT, str(row.id), 10, 0),
            Difference(Rule.PAYMENT, str(stray), 0, 10),
        }


class TestStock:
    async def test_reserved_pieces_that_nobody_ordered(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        kite = await shop.product()
        await shop.order({kite: 2})
        await break_by("UPDATE products SET reserved = 3 WHERE id = $1", kite)
        assert await differences(bank) == {
            Difference(Rule.STOCK, str(kite), 2, 3),
            Difference(Rule.STOCK, str(kite), 10, 10),  # the movements tell another number too
        }

    async def test_pieces_that_no_movement_brought(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        kite = await shop.product()
        await break_by("UPDATE products SET on_hand = 11 WHERE id = $1", kite)
        assert await differences(bank) == {Difference(Rule.STOCK, str(kite), 10, 11)}

    async def test_movement_that_is_gone(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        kite = await shop.product()
        await shop.orders.cancel(await shop.order({kite: 2}), actor(shop.alice))
        await break_by("DELETE FROM inventory_movements WHERE product_id = $1 AND sequence > 1", kite)
        assert await differences(bank) == {Difference(Rule.STOCK, str(kite), 10, 10)}

    async def test_order_that_was_ended_without_its_pieces(self, bank: Bank, shop: Shop, break_by: Break) -> None:
        kite = await shop.product()
        order_id = await shop.order({kite: 2})
        await break_by("UPDATE orders SET fulfillment_state = 'RELEASED' WHERE id = $1", order_id)
        assert await differences(bank, Rule.STOCK) == {Difference(Rule.STOCK, str(kite), 0, 2)}
