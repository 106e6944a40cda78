"""A shop whose merchant sells to Alice, who has money."""

from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from server.caller import Caller, Role
from server.database import Database, open_pool
from server.errors import BankError
from server.ledger.movements import fingerprint_of
from server.orders.actors import Actor
from server.orders.operations import Orders, StoredOrder
from server.orders.placing import NewOrder
from server.orders.steps import Refund
from server.orders.transactions import ORDER_SETTINGS, ORDERS_AT_ONCE, OrderTransactions
from server.page_token import PageTokens
from server.products.operations import NewProduct, Products
from server.request_ids import Request
from tests.server.bank import Bank, Person, caller
from tests.server.identity import new_keys

KEYS = new_keys()
LIFETIME = timedelta(days=7)
TABLES = (
    "orders",
    "order_items",
    "products",
    "inventory_movements",
    "holds",
    "reversed_totals",
    "requests",
    "events",
    "accounts",
    "transfers",
    "entries",
)
PRICE = 5


def actor(person: Person) -> Actor:
    return Actor(person.user_id, person.session_id)


class Shop:
    """A merchant, an admin, and Alice with 100; every product costs 5."""

    def __init__(self, bank: Bank, database: Database) -> None:
        self.bank = bank
        self.database = database
        """For orders alone."""
        page_tokens = PageTokens(KEYS.page_token_key)
        self.products = Products(bank.database, page_tokens)
        self.orders = Orders(bank.database, OrderTransactions(database), page_tokens, LIFETIME)

    async def begin(self) -> "Shop":
        self.merchant = await self.bank.person(roles=("DEPOSITOR", "MERCHANT"))
        self.admin = await self.bank.person(roles=("DEPOSITOR", "ADMIN"))
        self.alice = await self.bank.person()
        self.payment = await self.bank.account(self.alice, 100)
        self.settlement = await self.bank.account(self.merchant)
        return self

    async def product(self, quantity: int = 10, **changes: object) -> UUID:
        values: dict[str, object] = {
            "request": Request(self.merchant.user_id, uuid4(), "test/CreateProduct", b""),
            "name": "Red kite",
            "description": "",
            "price_minor": PRICE,
            "currency_code": "USD",
            "settlement_account_id": self.settlement,
            "initial_quantity": quantity,
        }
        new = NewProduct(**{**values, **changes})  # type: ignore[arg-type]  # values by name
        created, _ = await self.products.create(new, Caller(self.merchant.user_id, uuid4(), frozenset(Role)))
        return created.id

    def new(
        self,
        quantities: Mapping[UUID, int],
        buyer: Person | None = None,
        payment: UUID | None = None,
        expected_total_minor: int = 0,
        request_id: UUID | None = None,
    ) -> NewOrder:
        buyer, payment = buyer or self.alice, payment or self.payment
        fingerprint = fingerprint_of(payment, sorted(quantities.items()), expected_total_minor)
        request = Request(buyer.user_id, request_id or uuid4(), "test/CreateOrder", fingerprint)
        return NewOrder(request, actor(buyer), payment, quantities, expected_total_minor)

    async def order(self, quantities: Mapping[UUID, int] | None = None) -> UUID:
        """Alice's, of two pieces of a new product unless said otherwise."""
        placed, _ = await self.orders.create(self.new(quantities or {await self.product(): 2}))
        return placed.row.id

    async def shipped(self, quantities: Mapping[UUID, int] | None = None) -> UUID:
        order_id = await self.order(quantities)
        await self.orders.ship(order_id, actor(self.merchant))
        return order_id

    def refund_of(
        self,
        order_id: UUID,
        amount_minor: int | None = None,
        restocked: Mapping[UUID, int] | None = None,
        by: Person | None = None,
        request_id: UUID | None = None,
    ) -> Refund:
        by = by or self.merchant
        fingerprint = fingerprint_of(order_id, amount_minor, sorted((restocked or {}).items()))
        request = Request(by.user_id, request_id or uuid4(), "test/RefundOrder", fingerprint)
        return Refund(request, actor(by), order_id, amount_minor, restocked or {})

    async def overdue(self, order_id: UUID) -> None:
        """Let the order's time run out, as the owner of the tables can."""
        for table, column in (("orders", "id"), ("holds", "order_id")):
            await self.bank.as_owner(
                f"UPDATE {table} SET expire_time = now() - interval '1 s' WHERE {column} = $1", order_id
            )

    async def get(self, order_id: UUID) -> StoredOrder:
        return await self.orders.get(order_id, caller(self.admin, Role.ADMIN))

    async def states(self, order_id: UUID) -> tuple[str, str, str]:
        """As stored."""
        row = (await self.get(order_id)).row
        return row.state, row.payment_state, row.fulfillment_state

    async def stock(self, product_id: UUID) -> tuple[int, int]:
        """On hand and reserved."""
        row = await self.products.get(product_id)
        return row.on_hand, row.reserved

    async def money(self) -> tuple[int, int, int]:
        """Posted and held of Alice, posted of the merchant."""
        payment = await self.bank.get(self.payment)
        return payment.posted_minor, payment.held_minor, await self.bank.posted_minor(self.settlement)

    async def events(self, order_id: UUID) -> list[str]:
        rows = await self.bank.pool.fetch("SELECT type FROM events WHERE subject_id = $1 ORDER BY id", order_id)
        return [row["type"] for row in rows]

    async def everything(self) -> list[object]:
        """All rows that a refused call must leave as they were."""
        return await self.bank.rows(TABLES)

    async def refused(self, attempt: Awaitable[object], error: type[BankError]) -> BankError:
        """The refusal; nothing was changed by it."""
        return await self.bank.refused(attempt, error, TABLES)


@pytest.fixture
async def shop(bank: Bank) -> AsyncIterator[Shop]:
    database = Database(await open_pool(bank.url, size=ORDERS_AT_ONCE, settings=ORDER_SETTINGS))
    yield await Shop(bank, database).begin()
    await database.close()


def with_account(new: NewOrder, account_id: UUID) -> NewOrder:
    return replace(new, payment_account_id=account_id)
