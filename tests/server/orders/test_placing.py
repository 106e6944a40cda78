"""Orders placed on a real database: stock, hold and order together, or nothing."""

import asyncio
import json
from datetime import timedelta
from uuid import uuid4

import pytest

from server.errors import (
    AccountClosed,
    AccountFrozen,
    AmountOverflow,
    BankError,
    CurrencyMismatch,
    EmailNotVerified,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    RequestIdReused,
    SessionRevoked,
    Unauthenticated,
)
from server.ledger.errors import TooManyHolds
from server.ledger.rules import PENDING_HOLDS_MAX
from server.orders.errors import PriceChanged
from server.products.errors import OutOfStock, ProductArchived
from tests.server.bank import Bank, caller
from tests.server.orders.conftest import LIFETIME, Shop, with_account


class TestCreate:
    async def test_pieces_and_money_are_reserved_together(self, shop: Shop) -> None:
        kite, string = await shop.product(name="Kite"), await shop.product(3, name="String", price_minor=7)
        (row, items), replayed = await shop.orders.create(shop.new({string: 3, kite: 2}))
        assert (row.total_minor, row.refunded_minor, row.currency_code, replayed) == (31, 0, "USD", False)
        assert (row.state, row.payment_state, row.fulfillment_state) == ("PLACED", "HELD", "RESERVED")
        assert (row.buyer_user_id, row.merchant_user_id) == (shop.alice.user_id, shop.merchant.user_id)
        assert (row.payment_account_id, row.settlement_account_id) == (shop.payment, shop.settlement)
        assert [(item.product_id, item.product_name, item.quantity, item.unit_price_minor) for item in items] == [
            (string, "String", 3, 7),
            (kite, "Kite", 2, 5),
        ]
        assert (await shop.stock(kite), await shop.stock(string)) == ((10, 2), (3, 3))
        assert await shop.money() == (100, 31, 0)
        assert await shop.bank.adds_up()

    async def test_hold_and_order_name_each_other_and_end_together(self, shop: Shop) -> None:
        order = (await shop.get(await shop.order())).row
        hold = await shop.bank.pool.fetchrow("SELECT * FROM holds WHERE id = $1", order.hold_id)
        assert hold is not None
        assert (hold["order_id"], hold["amount_minor"], hold["state"]) == (order.id, order.total_minor, "PENDING")
        assert hold["expire_time"] == order.expire_time == order.create_time + LIFETIME

    async def test_event_tells_both_sides(self, shop: Shop) -> None:
        order_id = await shop.order()
        event = await shop.bank.pool.fetchrow("SELECT * FROM events WHERE subject_id = $1", order_id)
        assert event is not None
        assert (event["type"], event["user_id"], event["counterparty_user_id"]) == (
            "order.created",
            shop.alice.user_id,
            shop.merchant.user_id,
        )
        assert json.loads(event["data"]) == {
            "state": "PLACED",
            "payment_state": "HELD",
            "fulfillment_state": "RESERVED",
            "total_minor": 10,
            "currency_code": "USD",
        }

    async def test_later_price_changes_no_order(self, shop: Shop) -> None:
        kite = await shop.product()
        order_id = await shop.order({kite: 2})
        await shop.bank.pool.execute("UPDATE products SET price_minor = 50, name = 'New' WHERE id = $1", kite)
        row, [item] = await shop.get(order_id)
        assert (row.total_minor, item.unit_price_minor, item.product_name) == (10, 5, "Red kite")

    async def test_expected_total_that_is_right_is_taken(self, shop: Shop) -> None:
        placed, _ = await shop.orders.create(shop.new({await shop.product(): 2}, expected_total_minor=10))
        assert placed.row.total_minor == 10

    async def test_repeated_request_id_returns_the_first_as_it_is_now(self, shop: Shop) -> None:
        new = shop.new({await shop.product(): 2})
        first, _ = await shop.orders.create(new)
        await shop.orders.cancel(first.row.id, new.actor)
        before = await shop.everything()
        again, replayed = await shop.orders.create(new)
        assert (again.row.id, again.row.state, replayed) == (first.row.id, "CANCELED", True)
        assert await shop.everything() == before

    async def test_of_equal_calls_at_once_one_orders(self, shop: Shop) -> None:
        kite = await shop.product()
        new = shop.new({kite: 2})
        results = await asyncio.gather(*(shop.orders.create(new) for _ in range(8)))
        assert len({order.row.id for order, _ in results}) == 1
        assert sorted(replayed for _, replayed in results) == [False] + [True] * 7
        assert (await shop.stock(kite), await shop.money()) == ((10, 2), (100, 10, 0))

    async def test_refused_call_leaves_its_request_id_usable(self, shop: Shop) -> None:
        kite, request_id = await shop.product(), uuid4()
        await shop.refused(shop.orders.create(shop.new({kite: 11}, request_id=request_id)), OutOfStock)
        _, replayed = await shop.orders.create(shop.new({kite: 10}, request_id=request_id))
        assert not replayed


class TestRefusals:
    """In the order of the checks: each case is wrong in all that comes after, too."""

    async def test_caller_comes_first(self, bank: Bank, shop: Shop) -> None:
        unknown = {uuid4(): 1}
        signed_out, disabled, unverified = await bank.person(), await bank.person(), await bank.person(verified=False)
        await bank.pool.execute("UPDATE sessions SET revoke_time = now() WHERE id = $1", signed_out.session_id)
        await bank.pool.execute("UPDATE users SET disabled = true WHERE id = $1", disabled.user_id)
        cases = ((signed_out, SessionRevoked), (disabled, Unauthenticated), (unverified, EmailNotVerified))
        for person, error in cases:
            await shop.refused(shop.orders.create(shop.new(unknown, person)), error)

    async def test_request_id_comes_before_the_products(self, shop: Shop) -> None:
        request_id = uuid4()
        await shop.orders.create(shop.new({await shop.product(): 1}, request_id=request_id))
        await shop.refused(shop.orders.create(shop.new({uuid4(): 1}, request_id=request_id)), RequestIdReused)

    async def test_products_are_looked_at_in_order(self, bank: Bank, shop: Shop) -> None:
        kite, archived = await shop.product(), await shop.product()
        await shop.products.archive(archived, caller(shop.merchant))
        other = await Shop(bank, shop.database).begin()
        foreign = await other.product()
        elsewhere = await shop.product(settlement_account_id=await bank.account(shop.merchant))
        euros = await bank.account(shop.merchant, currency_code="EUR")
        in_euros = await shop.product(settlement_account_id=euros, currency_code="EUR")
        dear = await shop.product(price_minor=10**17)
        create = shop.orders.create
        missing = await shop.refused(create(shop.new({archived: 1, uuid4(): 1})), NotFound)
        assert missing.metadata["resource"] == "product"
        gone = await shop.refused(create(shop.new({archived: 1, foreign: 1})), ProductArchived)
        assert gone.metadata == {"product_id": str(archived)}
        for item, word in ((foreign, "merchant"), (in_euros, "currency"), (elsewhere, "settlement account")):
            mixed = await shop.refused(create(shop.new({dear: 9, item: 1})), InvalidRequest)
            assert f"one {word}" in mixed.message
        self_paid = shop.new({dear: 2}, shop.merchant, shop.settlement)
        assert "payment_account_id" in (await shop.refused(create(self_paid), InvalidRequest)).message
        for quantities in ({dear: 2}, {dear: 1, kite: 1}, {kite: 10**17}):
            await shop.refused(create(shop.new(quantities, expected_total_minor=1)), AmountOverflow)
        changed = await shop.refused(create(shop.new({kite: 11}, expected_total_minor=54)), PriceChanged)
        assert changed.metadata == {"total_minor": "55", "expected_total_minor": "54"}
        await shop.refused(create(shop.new({kite: 11}, payment=uuid4())), OutOfStock)

    async def test_every_short_line_is_named(self, shop: Shop) -> None:
        plenty, some, few = await shop.product(100), await shop.product(3), await shop.product(1)
        await shop.order({some: 1})
        short = await shop.refused(shop.orders.create(shop.new({few: 5, plenty: 1, some: 3})), OutOfStock)
        assert isinstance(short, OutOfStock)
        found = dict(zip(short.subject.split(","), zip(short.wanted, short.available, strict=True), strict=True))
        assert found == {str(few): ("5", "1"), str(some): ("3", "2")}

    async def test_ledger_comes_last(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(price_minor=101)
        foreign = await bank.account(await bank.person(), 1000)
        closed, frozen = await bank.account(shop.alice), await bank.account(shop.alice)
        euros = await bank.account(shop.alice, currency_code="EUR")
        await bank.pool.execute("UPDATE accounts SET state = 'CLOSED' WHERE id = $1", closed)
        await bank.pool.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", frozen)
        cases: tuple[tuple[object, type[BankError]], ...] = (
            (uuid4(), NotFound),
            (foreign, NotFound),
            (closed, AccountClosed),
            (frozen, AccountFrozen),
            (euros, CurrencyMismatch),
            (shop.payment, InsufficientFunds),
        )
        for account_id, error in cases:
            new = with_account(shop.new({kite: 1}), account_id)  # type: ignore[arg-type]  # ids all
            await shop.refused(shop.orders.create(new), error)
        await bank.pool.execute("UPDATE accounts SET state = 'CLOSED' WHERE id = $1", shop.settlement)
        await shop.refused(shop.orders.create(shop.new({kite: 1})), AccountClosed)

    async def test_order_on_an_account_with_too_many_holds_is_refused(self, bank: Bank, shop: Shop) -> None:
        payment = await bank.account(shop.alice, 10_000)
        await bank.place_holds(shop.alice, payment, shop.settlement, PENDING_HOLDS_MAX - 1)
        kite = await shop.product()
        await shop.orders.create(shop.new({kite: 1}, payment=payment))
        await shop.refused(shop.orders.create(shop.new({kite: 1}, payment=payment)), TooManyHolds)

    async def test_total_at_the_bound_is_no_overflow(self, shop: Shop) -> None:
        dear = await shop.product(price_minor=10**17)
        await shop.refused(shop.orders.create(shop.new({dear: 1})), InsufficientFunds)


class TestManyAtOnce:
    async def test_of_a_hundred_orders_for_the_last_ten_pieces_ten_succeed(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product(10)
        buyers = [await bank.person() for _ in range(10)]
        accounts = [await bank.account(buyer, 1000) for buyer in buyers]
        results = await asyncio.gather(
            *(shop.orders.create(shop.new({kite: 1}, buyers[n % 10], accounts[n % 10])) for n in range(100)),
            return_exceptions=True,
        )
        assert sum(isinstance(result, tuple) for result in results) == 10
        assert [type(result) for result in results if not isinstance(result, tuple)] == [OutOfStock] * 90
        assert await shop.stock(kite) == (10, 10)
        assert await bank.pool.fetchval("SELECT count(*) FROM holds WHERE state = 'PENDING'") == 10
        assert await bank.pool.fetchval("SELECT count(*) FROM orders") == 10
        assert await bank.pool.fetchval("SELECT sum(held_minor) FROM accounts") == 10 * 5
        assert await bank.adds_up()

    async def test_orders_that_name_products_in_opposite_order_do_not_block_each_other(
        self, bank: Bank, shop: Shop
    ) -> None:
        one, two = await shop.product(1000, price_minor=1), await shop.product(1000, price_minor=1)
        results = await asyncio.gather(
            *(shop.orders.create(shop.new({one: 1, two: 1} if n % 2 else {two: 1, one: 1})) for n in range(30))
        )
        assert len(results) == 30
        assert (await shop.stock(one), await shop.stock(two)) == ((1000, 30), (1000, 30))
        assert await bank.adds_up()


class TestLifetime:
    @pytest.mark.parametrize("lifetime", [timedelta(days=1), timedelta(days=31)])
    async def test_it_is_what_was_set(self, shop: Shop, lifetime: timedelta) -> None:
        shop.orders._lifetime = lifetime
        row = (await shop.get(await shop.order())).row
        assert row.expire_time == row.create_time + lifetime
