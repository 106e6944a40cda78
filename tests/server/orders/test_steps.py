"""What happens to placed orders on a real database: each step with its stock and money, or not at all."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest

from server.caller import Role
from server.errors import (
    AccountClosed,
    AccountFrozen,
    BankError,
    EmailNotVerified,
    Forbidden,
    InsufficientFunds,
    InvalidRequest,
    NotFound,
    RequestIdReused,
    SessionRevoked,
    Unauthenticated,
    WrongOrderState,
)
from server.ledger.errors import NotReversible, ReversalExceedsTransfer
from server.ledger.movements import UNRESOLVED, Kind
from server.orders.actors import Actor
from server.orders.expiry import expire_order
from server.orders.operations import OrderFilter
from tests.server.bank import Bank, Person, caller, movement
from tests.server.orders.conftest import Shop, actor

STEPS = ("cancel", "ship", "deliver")


async def take(shop: Shop, step: str, order_id: UUID, by: Actor) -> object:
    return await getattr(shop.orders, step)(order_id, by)


async def expire(shop: Shop, order_id: UUID) -> bool:
    return await shop.bank.database.transaction(lambda connection: expire_order(connection, order_id))


class TestCancel:
    @pytest.mark.parametrize("who", ["alice", "merchant", "admin"])
    async def test_pieces_and_money_are_free_again(self, shop: Shop, who: str) -> None:
        kite = await shop.product()
        order_id = await shop.order({kite: 2})
        by: Person = getattr(shop, who)
        row = (await shop.orders.cancel(order_id, actor(by))).row
        assert (row.state, row.payment_state, row.fulfillment_state) == ("CANCELED", "RELEASED", "RELEASED")
        assert (await shop.stock(kite), await shop.money()) == ((10, 0), (100, 0, 0))
        assert await shop.events(order_id) == ["order.created", "order.canceled"]
        assert await shop.bank.adds_up()

    async def test_canceled_order_stays_as_it_is(self, shop: Shop) -> None:
        order_id = await shop.order()
        first = await shop.orders.cancel(order_id, actor(shop.alice))
        before = await shop.everything()
        assert await shop.orders.cancel(order_id, actor(shop.merchant)) == first
        assert await shop.everything() == before

    async def test_frozen_account_gets_its_money_back(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.order()
        await bank.pool.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", shop.payment)
        await shop.orders.cancel(order_id, actor(shop.alice))
        assert await shop.money() == (100, 0, 0)

    @pytest.mark.parametrize("step", [None, "deliver"])
    async def test_shipped_order_is_not_called_off(self, shop: Shop, step: str | None) -> None:
        order_id = await shop.shipped()
        if step:
            await take(shop, step, order_id, actor(shop.merchant))
        refusal = await shop.refused(shop.orders.cancel(order_id, actor(shop.alice)), WrongOrderState)
        states = "PLACED,PAID,SHIPPED" if step is None else "COMPLETED,PAID,DELIVERED"
        assert refusal.metadata == {"order_id": str(order_id), "states": states}


class TestShip:
    @pytest.mark.parametrize("who", ["merchant", "admin"])
    async def test_pieces_leave_and_the_merchant_is_paid(self, bank: Bank, shop: Shop, who: str) -> None:
        kite = await shop.product()
        order_id = await shop.order({kite: 2})
        by: Person = getattr(shop, who)
        row = (await shop.orders.ship(order_id, actor(by))).row
        assert (row.state, row.payment_state, row.fulfillment_state) == ("PLACED", "PAID", "SHIPPED")
        assert (await shop.stock(kite), await shop.money()) == ((8, 0), (90, 0, 10))
        transfer = await bank.pool.fetchrow("SELECT * FROM transfers WHERE id = $1", row.transfer_id)
        assert transfer is not None
        assert (transfer["kind"], transfer["order_id"], transfer["hold_id"]) == ("CAPTURE", order_id, row.hold_id)
        assert (transfer["amount_minor"], transfer["initiator_user_id"]) == (10, by.user_id)
        assert await shop.events(order_id) == ["order.created", "order.shipped"]
        assert await bank.adds_up()

    @pytest.mark.parametrize("delivered", [False, True])
    async def test_shipped_order_stays_as_it_is(self, shop: Shop, delivered: bool) -> None:
        order_id = await shop.shipped()
        if delivered:
            await shop.orders.deliver(order_id, actor(shop.merchant))
        before = await shop.everything()
        await shop.orders.ship(order_id, actor(shop.merchant))
        assert await shop.everything() == before

    async def test_service_itself_ships_in_the_name_of_the_merchant(self, shop: Shop) -> None:
        order_id = await shop.order()
        row = (await shop.orders.ship(order_id, Actor(shop.merchant.user_id, None))).row
        assert row.fulfillment_state == "SHIPPED"

    async def test_what_the_ledger_refuses_ships_nothing(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.order()
        for account_id, state, error in (
            (shop.payment, "FROZEN", AccountFrozen),
            (shop.settlement, "CLOSED", AccountClosed),
        ):
            await bank.pool.execute("UPDATE accounts SET state = $2 WHERE id = $1", account_id, state)
            await shop.refused(shop.orders.ship(order_id, actor(shop.merchant)), error)
            await bank.pool.execute("UPDATE accounts SET state = 'OPEN' WHERE id = $1", account_id)
        # Where the merchant's money comes in is closed to debits only.
        await bank.pool.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", shop.settlement)
        await shop.orders.ship(order_id, actor(shop.merchant))

    async def test_canceled_order_is_not_shipped(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.orders.cancel(order_id, actor(shop.alice))
        refusal = await shop.refused(shop.orders.ship(order_id, actor(shop.merchant)), WrongOrderState)
        assert refusal.metadata["states"] == "CANCELED,RELEASED,RELEASED"


class TestDeliver:
    async def test_order_is_completed_once(self, shop: Shop) -> None:
        order_id = await shop.shipped()
        row = (await shop.orders.deliver(order_id, actor(shop.merchant))).row
        assert (row.state, row.payment_state, row.fulfillment_state) == ("COMPLETED", "PAID", "DELIVERED")
        before = await shop.everything()
        await shop.orders.deliver(order_id, actor(shop.admin))
        assert await shop.everything() == before
        assert (await shop.events(order_id))[2:] == ["order.delivered"]

    async def test_refunded_order_may_still_be_delivered(self, shop: Shop) -> None:
        order_id = await shop.shipped()
        await shop.orders.refund(shop.refund_of(order_id))
        row = (await shop.orders.deliver(order_id, actor(shop.merchant))).row
        assert (row.state, row.payment_state) == ("COMPLETED", "REFUNDED")

    async def test_unshipped_order_is_not_delivered(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.refused(shop.orders.deliver(order_id, actor(shop.merchant)), WrongOrderState)


class TestRefund:
    async def test_parts_add_up_to_the_total(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.shipped()
        stored, transfer, replayed = await shop.orders.refund(shop.refund_of(order_id, 3))
        assert (stored.row.payment_state, stored.row.refunded_minor, replayed) == ("PARTIALLY_REFUNDED", 3, False)
        assert (transfer.kind, transfer.amount_minor, transfer.order_id) == ("REVERSAL", 3, order_id)
        assert transfer.reverses_transfer_id == stored.row.transfer_id
        await shop.orders.deliver(order_id, actor(shop.merchant))
        stored, _, _ = await shop.orders.refund(shop.refund_of(order_id, by=shop.admin))
        assert (stored.row.state, stored.row.payment_state, stored.row.refunded_minor) == ("COMPLETED", "REFUNDED", 10)
        assert await shop.money() == (100, 0, 0)
        assert await shop.events(order_id) == [
            "order.created",
            "order.shipped",
            "order.partially_refunded",
            "order.delivered",
            "order.refunded",
        ]
        assert await bank.adds_up()

    async def test_event_tells_how_much(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.shipped()
        _, transfer, _ = await shop.orders.refund(shop.refund_of(order_id, 3))
        data = await bank.pool.fetchval(
            "SELECT data FROM events WHERE subject_id = $1 ORDER BY id DESC LIMIT 1", order_id
        )
        assert json.loads(data) == {
            "state": "PLACED",
            "payment_state": "PARTIALLY_REFUNDED",
            "fulfillment_state": "SHIPPED",
            "transfer_id": str(transfer.id),
            "amount_minor": 3,
        }

    async def test_pieces_come_back_if_asked(self, shop: Shop) -> None:
        kite, string = await shop.product(), await shop.product()
        order_id = await shop.shipped({kite: 2, string: 3})
        await shop.orders.refund(shop.refund_of(order_id, 5, {kite: 1}))
        assert (await shop.stock(kite), await shop.stock(string)) == ((9, 0), (7, 0))
        stored, _, _ = await shop.orders.refund(shop.refund_of(order_id, None, {string: 3, kite: 1}))
        assert [item.restocked_quantity for item in stored.items] == [2, 3]
        assert (await shop.stock(kite), await shop.stock(string)) == ((10, 0), (10, 0))
        assert await shop.bank.adds_up()

    async def test_repeated_request_id_refunds_once(self, shop: Shop) -> None:
        order_id = await shop.shipped()
        same = shop.refund_of(order_id)
        results = await asyncio.gather(*(shop.orders.refund(same) for _ in range(8)))
        assert len({transfer.id for _, transfer, _ in results}) == 1
        assert sorted(replayed for _, _, replayed in results) == [False] + [True] * 7
        assert await shop.money() == (100, 0, 0)
        before = await shop.everything()
        other = shop.refund_of(order_id, 1, request_id=same.request.request_id)
        await shop.refused(shop.orders.refund(other), RequestIdReused)
        assert await shop.everything() == before

    async def test_refusals_come_in_order(self, bank: Bank, shop: Shop) -> None:
        kite, stranger = await shop.product(), await shop.product()
        refund = shop.orders.refund
        unshipped = await shop.order({kite: 2})
        await shop.refused(refund(shop.refund_of(uuid4(), 99)), NotFound)
        await shop.refused(refund(shop.refund_of(unshipped, 99, by=await bank.person())), NotFound)
        await shop.refused(refund(shop.refund_of(unshipped, 99, by=shop.alice)), Forbidden)
        await shop.refused(refund(shop.refund_of(unshipped, 99, {stranger: 1})), WrongOrderState)
        order_id = await shop.shipped({kite: 2})
        await bank.pool.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", shop.settlement)
        for restocked in ({stranger: 1}, {kite: 3}):
            await shop.refused(refund(shop.refund_of(order_id, 99, restocked)), InvalidRequest)
        await shop.refused(refund(shop.refund_of(order_id, 99, {kite: 1})), AccountFrozen)
        await bank.pool.execute("UPDATE accounts SET state = 'OPEN' WHERE id = $1", shop.settlement)
        await shop.refused(refund(shop.refund_of(order_id, 11, {kite: 1})), ReversalExceedsTransfer)
        await bank.ledger.post(movement(shop.merchant, shop.settlement, shop.payment, 5))
        await shop.refused(refund(shop.refund_of(order_id, None, {kite: 1})), InsufficientFunds)
        await refund(shop.refund_of(order_id, 4, {kite: 2}))
        await shop.refused(refund(shop.refund_of(order_id, 1, {kite: 1})), InvalidRequest)
        await bank.ledger.post(movement(shop.alice, shop.payment, shop.settlement, 5))
        await refund(shop.refund_of(order_id))
        await shop.refused(refund(shop.refund_of(order_id, 1)), WrongOrderState)


class TestWho:
    @pytest.mark.parametrize("step", STEPS)
    async def test_stranger_is_told_what_an_absent_order_tells(self, bank: Bank, shop: Shop, step: str) -> None:
        order_id = await shop.order()
        for person in (await bank.person(), await bank.person(roles=("DEPOSITOR", "MERCHANT", "BANKER"))):
            await shop.refused(take(shop, step, order_id, actor(person)), NotFound)
        await shop.refused(take(shop, step, uuid4(), actor(shop.admin)), NotFound)

    @pytest.mark.parametrize("step", ["ship", "deliver"])
    async def test_buyer_does_not_do_the_merchants_part(self, shop: Shop, step: str) -> None:
        await shop.refused(take(shop, step, await shop.order(), actor(shop.alice)), Forbidden)

    async def test_admin_does_not_pay_themself_back(self, bank: Bank, shop: Shop) -> None:
        purse = await bank.account(shop.admin, 100)
        placed, _ = await shop.orders.create(shop.new({await shop.product(): 2}, shop.admin, purse))
        order_id = placed.row.id
        await shop.refused(shop.orders.ship(order_id, actor(shop.admin)), Forbidden)
        await shop.orders.ship(order_id, actor(shop.merchant))
        await shop.refused(shop.orders.refund(shop.refund_of(order_id, by=shop.admin)), Forbidden)
        await shop.refused(shop.orders.deliver(order_id, actor(shop.admin)), Forbidden)

    @pytest.mark.parametrize("step", ["ship", "deliver"])
    async def test_merchant_who_is_none_any_more_does_not_either(self, bank: Bank, shop: Shop, step: str) -> None:
        order_id = await shop.order()
        await bank.pool.execute("UPDATE users SET roles = '{DEPOSITOR}' WHERE id = $1", shop.merchant.user_id)
        await shop.refused(take(shop, step, order_id, actor(shop.merchant)), Forbidden)
        await shop.orders.cancel(order_id, actor(shop.merchant))

    @pytest.mark.parametrize("step", STEPS)
    async def test_caller_is_looked_at_first(self, bank: Bank, shop: Shop, step: str) -> None:
        order_id, merchant = uuid4(), shop.merchant
        cases: tuple[tuple[str, UUID, type[BankError]], ...] = (
            ("UPDATE users SET email_verified = false WHERE id = $1", merchant.user_id, EmailNotVerified),
            ("UPDATE users SET disabled = true WHERE id = $1", merchant.user_id, Unauthenticated),
            ("UPDATE sessions SET revoke_time = now() WHERE id = $1", merchant.session_id, SessionRevoked),
        )
        for statement, subject, error in cases:
            await bank.pool.execute(statement, subject)
            await shop.refused(take(shop, step, order_id, actor(merchant)), error)


class TestExpire:
    async def test_overdue_order_is_ended_with_its_hold(self, bank: Bank, shop: Shop) -> None:
        kite = await shop.product()
        order_id = await shop.order({kite: 2})
        assert not await expire(shop, order_id)
        await shop.overdue(order_id)
        assert await expire(shop, order_id)
        assert not await expire(shop, order_id)
        assert await shop.states(order_id) == ("EXPIRED", "RELEASED", "RELEASED")
        assert (await shop.stock(kite), await shop.money()) == ((10, 0), (100, 0, 0))
        assert await bank.pool.fetchval("SELECT state FROM holds WHERE order_id = $1", order_id) == "EXPIRED"
        assert await shop.events(order_id) == ["order.created", "order.expired"]
        assert await bank.adds_up()

    async def test_hold_that_the_ledger_let_go_before_changes_nothing(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.overdue(order_id)
        # Any movement on the account lets overdue holds go.
        await bank.ledger.post(movement(shop.alice, shop.payment, shop.settlement, 95))
        assert await bank.adds_up()
        assert await expire(shop, order_id)
        assert await shop.money() == (5, 0, 95)
        assert await bank.adds_up()

    @pytest.mark.parametrize("step", STEPS)
    async def test_overdue_order_takes_no_step_even_before_the_sweep(self, shop: Shop, step: str) -> None:
        order_id = await shop.order()
        await shop.overdue(order_id)
        refusal = await shop.refused(take(shop, step, order_id, actor(shop.merchant)), WrongOrderState)
        assert refusal.metadata["states"] == "EXPIRED,RELEASED,RELEASED"

    async def test_shipped_order_never_expires(self, shop: Shop) -> None:
        order_id = await shop.shipped()
        await shop.overdue(order_id)
        assert not await expire(shop, order_id)

    async def test_order_that_somebody_is_changing_is_left_alone(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.overdue(order_id)
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE", order_id)
            assert not await expire(shop, order_id)


class TestLedgerCalls:
    """What belongs to an order is not settled behind its back."""

    @pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID])
    async def test_hold_is_settled_by_the_order_only(self, bank: Bank, shop: Shop, kind: Kind) -> None:
        row = (await shop.get(await shop.order())).row
        for person, error in (
            (shop.merchant, WrongOrderState),
            (await bank.banker(), WrongOrderState),
            (shop.alice, Forbidden),
            (await bank.person(), NotFound),
        ):
            plain = movement(person, UNRESOLVED, UNRESOLVED, None, kind=kind, subject_id=row.hold_id)
            refusal = await shop.refused(bank.ledger.post(plain), error)
            if error is WrongOrderState:
                assert refusal.metadata["order_id"] == str(row.id)
            other = plain._replace(order_id=uuid4())
            await shop.refused(bank.ledger.post(other), error)

    async def test_payment_is_reversed_by_the_order_only(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.shipped()
        row = (await shop.get(order_id)).row
        for person, error in (
            (shop.merchant, NotReversible),
            (await bank.banker(), NotReversible),
            (shop.alice, NotReversible),
            (await bank.person(), NotFound),
        ):
            plain = movement(person, UNRESOLVED, UNRESOLVED, None, kind=Kind.REVERSAL, subject_id=row.transfer_id)
            await shop.refused(bank.ledger.post(plain), error)
        _, transfer, _ = await shop.orders.refund(shop.refund_of(order_id))
        again = movement(shop.merchant, UNRESOLVED, UNRESOLVED, None, kind=Kind.REVERSAL, subject_id=transfer.id)
        await shop.refused(bank.ledger.post(again), NotReversible)

    async def test_role_that_is_lost_in_between_is_noticed_under_the_locks(self, bank: Bank, shop: Shop) -> None:
        held = movement(shop.alice, shop.payment, shop.settlement, 5, kind=Kind.HOLD)
        await shop.refused(bank.ledger.post(held._replace(roles_any=frozenset({Role.MERCHANT}))), Forbidden)
        await bank.ledger.post(held._replace(roles_any=frozenset({Role.MERCHANT, Role.DEPOSITOR})))


class TestPage:
    def wanted(self, state: str | None = None, party: str | None = None, size: int = 50) -> OrderFilter:
        return OrderFilter(state, party, size, "")

    async def test_each_side_lists_its_own(self, bank: Bank, shop: Shop) -> None:
        first, second = await shop.order(), await shop.shipped()
        # The merchant buys too.
        other = await Shop(bank, shop.database).begin()
        purse = await bank.account(shop.merchant, 100)
        placed, _ = await shop.orders.create(shop.new({await other.product(): 1}, shop.merchant, purse))
        third = placed.row.id
        stranger = caller(await bank.person())
        for asker, wanted, expected in (
            (caller(shop.alice), self.wanted(), [second, first]),
            (caller(shop.alice), self.wanted("PLACED", "BUYER"), [second, first]),
            (caller(shop.alice), self.wanted(None, "MERCHANT"), []),
            (caller(shop.merchant), self.wanted(), [third, second, first]),
            (caller(shop.merchant), self.wanted(None, "MERCHANT"), [second, first]),
            (caller(shop.merchant), self.wanted(None, "BUYER"), [third]),
            (caller(shop.admin, Role.ADMIN), self.wanted(), [third, second, first]),
            (caller(shop.admin, Role.ADMIN), self.wanted(None, "BUYER"), []),
            (stranger, self.wanted(), []),
            (caller(shop.merchant, Role.BANKER), self.wanted(None, "BUYER"), [third]),
        ):
            rows, token = await shop.orders.page(wanted, asker)
            assert ([order.row.id for order in rows], token) == (expected, "")
            assert all(order.items for order in rows)

    async def test_overdue_order_is_listed_as_expired(self, shop: Shop) -> None:
        order_id = await shop.order()
        await shop.overdue(order_id)
        for asker in (caller(shop.alice), caller(shop.admin, Role.ADMIN)):
            for state, expected in (("PLACED", []), ("EXPIRED", [order_id])):
                rows, _ = await shop.orders.page(self.wanted(state), asker)
                assert [order.row.id for order in rows] == expected

    async def test_pages_show_nothing_twice(self, shop: Shop) -> None:
        kite = await shop.product()
        ids = [await shop.order({kite: 1}) for _ in range(5)]
        seen, token = [], ""
        while True:
            rows, token = await shop.orders.page(OrderFilter(None, None, 2, token), caller(shop.alice))
            seen += [order.row.id for order in rows]
            if not token:
                break
        assert seen == ids[::-1]

    async def test_order_is_read_by_its_parties_and_admins_only(self, bank: Bank, shop: Shop) -> None:
        order_id = await shop.order()
        for asker in (caller(shop.alice), caller(shop.merchant), caller(shop.admin, Role.ADMIN)):
            assert (await shop.orders.get(order_id, asker)).row.id == order_id
        for asker in (caller(await bank.person()), caller(await bank.banker(), Role.BANKER, Role.MERCHANT)):
            await shop.refused(shop.orders.get(order_id, asker), NotFound)
