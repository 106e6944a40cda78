"""The service beside a plain model of stock, money and states: every answer and every number agree."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from server.caller import Caller, Role
from server.database import Database, open_pool
from server.errors import BankError
from server.ledger.verification import verify
from server.orders.expiry import expire_order
from server.orders.transactions import ORDER_SETTINGS, ORDERS_AT_ONCE
from server.products.operations import Adjustment
from server.request_ids import Request
from tests.conftest import CloneDatabase
from tests.conftest import Database as MigratedDatabase
from tests.server.bank import Bank, running_ledger
from tests.server.orders.conftest import PRICE, Shop, actor

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "12"))
STEPS = int(os.environ.get("MODEL_STEPS", "40"))
Result = TypeVar("Result")

products = st.sampled_from(["kite", "string"])
picks = st.integers(0, 1000)
people = st.sampled_from(["alice", "merchant", "admin", "stranger"])


@dataclass
class ModelOrder:
    """What is known of an order."""

    quantities: dict[str, int]
    total: int
    order: str = "PLACED"
    payment: str = "HELD"
    fulfillment: str = "RESERVED"
    refunded: int = 0
    restocked: dict[str, int] = field(default_factory=dict)
    overdue: bool = False

    def open(self) -> bool:
        return self.fulfillment == "RESERVED" and not self.overdue

    def sent(self) -> bool:
        return self.fulfillment in ("SHIPPED", "DELIVERED")


@dataclass
class Model:
    """Shop and bank in plain words: numbers, and what is done to them."""

    alice: int = 100
    held: int = 0
    merchant: int = 0
    on_hand: dict[str, int] = field(default_factory=lambda: {"kite": 6, "string": 4})
    reserved: dict[str, int] = field(default_factory=lambda: {"kite": 0, "string": 0})
    archived: set[str] = field(default_factory=set)
    orders: list[ModelOrder] = field(default_factory=list)

    def place(self, quantities: dict[str, int]) -> str:
        total = PRICE * sum(quantities.values())
        if self.archived & quantities.keys():
            return "PRODUCT_ARCHIVED"
        if any(count > self.on_hand[name] - self.reserved[name] for name, count in quantities.items()):
            return "OUT_OF_STOCK"
        if total > self.alice - self.held:
            return "INSUFFICIENT_FUNDS"
        for name, count in quantities.items():
            self.reserved[name] += count
        self.held += total
        self.orders.append(ModelOrder(dict(quantities), total))
        return "OK"

    def _release(self, order: ModelOrder) -> None:
        for name, count in order.quantities.items():
            self.reserved[name] -= count

    def cancel(self, order: ModelOrder, who: str) -> str:
        if who == "stranger":
            return "NOT_FOUND"
        if order.order == "CANCELED":
            return "OK"
        if not order.open():
            return "ORDER_STATE"
        self._release(order)
        self.held -= order.total
        order.order, order.payment, order.fulfillment = "CANCELED", "RELEASED", "RELEASED"
        return "OK"

    def _seller(self, who: str) -> str:
        return {"stranger": "NOT_FOUND", "alice": "PERMISSION_DENIED"}.get(who, "OK")

    def ship(self, order: ModelOrder, who: str) -> str:
        if (refusal := self._seller(who)) != "OK":
            return refusal
        if order.sent():
            return "OK"
        if not order.open():
            return "ORDER_STATE"
        for name, count in order.quantities.items():
            self.reserved[name] -= count
            self.on_hand[name] -= count
        self.held -= order.total
        self.alice -= order.total
        self.merchant += order.total
        order.payment, order.fulfillment = "PAID", "SHIPPED"
        return "OK"

    def deliver(self, order: ModelOrder, who: str) -> str:
        if (refusal := self._seller(who)) != "OK":
            return refusal
        if order.fulfillment == "DELIVERED":
            return "OK"
        if not order.sent():
            return "ORDER_STATE"
        order.order, order.fulfillment = "COMPLETED", "DELIVERED"
        return "OK"

    def refund(self, order: ModelOrder, who: str, amount: int | None, restocked: dict[str, int]) -> str:
        if (refusal := self._seller(who)) != "OK":
            return refusal
        if order.payment not in ("PAID", "PARTIALLY_REFUNDED"):
            return "ORDER_STATE"
        for name, count in restocked.items():
            if count > order.quantities.get(name, 0) - order.restocked.get(name, 0):
                return "INVALID_REQUEST"
        left = order.total - order.refunded
        amount = left if amount is None else amount
        if amount > left:
            return "REVERSAL_EXCEEDS_TRANSFER"
        order.refunded += amount
        order.payment = "REFUNDED" if order.refunded == order.total else "PARTIALLY_REFUNDED"
        self.merchant -= amount
        self.alice += amount
        for name, count in restocked.items():
            order.restocked[name] = order.restocked.get(name, 0) + count
            self.on_hand[name] += count
        return "OK"

    def expire(self, order: ModelOrder) -> bool:
        if not (order.overdue and order.fulfillment == "RESERVED"):
            return False
        self._release(order)
        order.order, order.payment, order.fulfillment = "EXPIRED", "RELEASED", "RELEASED"
        return True

    def adjust(self, name: str, delta: int | None) -> str:
        after = 0 if delta is None else self.on_hand[name] + delta
        if after < self.reserved[name]:
            return "OUT_OF_STOCK"
        self.on_hand[name] = after
        return "OK"


class ShopMachine(RuleBasedStateMachine):
    """One shop, a new merchant and buyer in every example."""

    bank: Bank
    order_database: Database
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.ids: list[UUID] = []
        self.replays: list[tuple[Any, str, Any]] = []
        self.run(self.begin())

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    async def begin(self) -> None:
        self.shop = await Shop(self.bank, self.order_database).begin()
        self.stranger = await self.bank.person(roles=("DEPOSITOR", "MERCHANT"))
        self.product_ids = {name: await self.shop.product(count) for name, count in self.model.on_hand.items()}
        self.names = {product_id: name for name, product_id in self.product_ids.items()}

    async def outcome(self, attempt: Coroutine[Any, Any, Any]) -> tuple[str, Any]:
        try:
            return "OK", await attempt
        except BankError as error:
            return error.reason, None

    def ids_of(self, quantities: dict[str, int]) -> dict[UUID, int]:
        return {self.product_ids[name]: count for name, count in quantities.items()}

    def person(self, who: str) -> Any:
        return self.stranger if who == "stranger" else getattr(self.shop, who)

    @rule(quantities=st.dictionaries(products, st.integers(1, 4), min_size=1))
    def place(self, quantities: dict[str, int]) -> None:
        new = self.shop.new(self.ids_of(quantities))
        reason, result = self.run(self.outcome(self.shop.orders.create(new)))
        assert reason == self.model.place(quantities)
        if result is not None:
            self.ids.append(result[0].row.id)
            self.replays.append((self.shop.orders.create, "create", new))

    @rule(pick=picks)
    def repeat(self, pick: int) -> None:
        if self.replays:
            call, kind, command = self.replays[pick % len(self.replays)]
            result = self.run(call(command))
            assert result[-1] is True, kind

    @rule(pick=picks, who=people, step=st.sampled_from(["cancel", "ship", "deliver"]))
    def take(self, pick: int, who: str, step: str) -> None:
        if self.ids:
            number = pick % len(self.ids)
            attempt = getattr(self.shop.orders, step)(self.ids[number], actor(self.person(who)))
            reason, _ = self.run(self.outcome(attempt))
            assert reason == getattr(self.model, step)(self.model.orders[number], who)

    @rule(
        pick=picks,
        who=people,
        amount=st.none() | st.integers(1, 30),
        restocked=st.dictionaries(products, st.integers(1, 3)),
    )
    def refund(self, pick: int, who: str, amount: int | None, restocked: dict[str, int]) -> None:
        if self.ids:
            number = pick % len(self.ids)
            command = self.shop.refund_of(self.ids[number], amount, self.ids_of(restocked), self.person(who))
            reason, _ = self.run(self.outcome(self.shop.orders.refund(command)))
            assert reason == self.model.refund(self.model.orders[number], who, amount, restocked)
            if reason == "OK":
                self.replays.append((self.shop.orders.refund, "refund", command))

    @rule(pick=picks)
    def run_out(self, pick: int) -> None:
        """The time of an order ends; what it held is free from then on."""
        if self.ids:
            order = self.model.orders[pick % len(self.ids)]
            if order.open():
                self.run(self.shop.overdue(self.ids[pick % len(self.ids)]))
                order.overdue = True
                self.model.held -= order.total

    @rule(pick=picks)
    def sweep(self, pick: int) -> None:
        if self.ids:
            number = pick % len(self.ids)
            work = self.bank.database.transaction(lambda connection: expire_order(connection, self.ids[number]))
            assert self.run(work) == self.model.expire(self.model.orders[number])

    @rule(name=products, delta=st.none() | st.integers(-4, 4).filter(bool))
    def adjust(self, name: str, delta: int | None) -> None:
        request = Request(self.shop.merchant.user_id, uuid4(), "test/AdjustInventory", b"")
        adjustment = Adjustment(request, self.product_ids[name], delta, "counted")
        seller = Caller(self.shop.merchant.user_id, uuid4(), frozenset(Role))
        reason, _ = self.run(self.outcome(self.shop.products.adjust(adjustment, seller)))
        assert reason == self.model.adjust(name, delta)

    @invariant()
    def everything_agrees(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        for name, product_id in self.product_ids.items():
            assert await self.shop.stock(product_id) == (self.model.on_hand[name], self.model.reserved[name])
        payment = await self.bank.get(self.shop.payment)
        held = payment.held_minor - payment.overdue_minor
        assert (payment.posted_minor, held) == (self.model.alice, self.model.held)
        assert await self.bank.posted_minor(self.shop.settlement) == self.model.merchant
        for order_id, order in zip(self.ids, self.model.orders, strict=True):
            row, items = await self.shop.get(order_id)
            assert (row.state, row.payment_state, row.fulfillment_state) == (
                order.order,
                order.payment,
                order.fulfillment,
            )
            assert row.overdue == (order.overdue and order.fulfillment == "RESERVED")
            assert row.refunded_minor == order.refunded
            restocked = {self.names[item.product_id]: item.restocked_quantity for item in items}
            assert restocked == {name: order.restocked.get(name, 0) for name in order.quantities}

    def teardown(self) -> None:
        assert self.run(verify(self.bank.database)).differences == []


@pytest.fixture
async def machine(clone_database: CloneDatabase) -> AsyncIterator[type[ShopMachine]]:
    async with AsyncExitStack() as stack:
        database: MigratedDatabase = await stack.enter_async_context(clone_database())
        reads = Database(await open_pool(database.app_url, size=8))
        stack.push_async_callback(reads.close)
        orders = Database(await open_pool(database.app_url, size=ORDERS_AT_ONCE, settings=ORDER_SETTINGS))
        stack.push_async_callback(orders.close)
        ledger = await stack.enter_async_context(running_ledger(database.app_url))
        bank = Bank(database.app_url, database, reads, ledger)
        await bank.reference.load(reads)
        attributes = {"bank": bank, "order_database": orders, "loop": asyncio.get_running_loop()}
        yield type("Machine", (ShopMachine,), attributes)


class TestModel:
    @pytest.mark.timeout(300)
    async def test_service_does_what_the_model_does(self, machine: type[ShopMachine]) -> None:
        chosen = settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)
