"""A bank with a merchant who sells."""

from collections.abc import Awaitable
from uuid import UUID, uuid4

import pytest
from bankdb.models import Product
from bankdb.products import get_product

from server.caller import Role
from server.errors import BankError
from server.page_token import PageTokens
from server.products.operations import NewProduct, Products
from server.request_ids import Request
from tests.server.bank import Bank, caller
from tests.server.identity import new_keys

KEYS = new_keys()
TABLES = ("products", "inventory_movements", "requests", "events", "accounts", "transfers", "entries", "holds")


class Shop:
    """A merchant with a settlement account in USD."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.products = Products(bank.database, PageTokens(KEYS.page_token_key))

    async def begin(self) -> "Shop":
        self.merchant = await self.bank.person(roles=("DEPOSITOR", "MERCHANT"))
        self.caller = caller(self.merchant, Role.MERCHANT)
        self.account_id = await self.bank.account(self.merchant)
        return self

    def new(self, name: str = "Red kite", **changes: object) -> NewProduct:
        values: dict[str, object] = {
            "request": Request(self.merchant.user_id, uuid4(), "test/CreateProduct", b""),
            "name": name,
            "description": "",
            "price_minor": 250,
            "currency_code": "USD",
            "settlement_account_id": self.account_id,
            "initial_quantity": 0,
        }
        return NewProduct(**{**values, **changes})  # type: ignore[arg-type]  # values by name

    async def product(self, quantity: int = 0, **changes: object) -> UUID:
        created, _ = await self.products.create(self.new(initial_quantity=quantity, **changes), self.caller)
        return created.id

    async def everything(self) -> list[object]:
        """All rows that a refused call must leave as they were."""
        return await self.bank.rows(TABLES)

    async def refused(self, attempt: Awaitable[object], error: type[BankError]) -> BankError:
        """The refusal; nothing was changed by it."""
        return await self.bank.refused(attempt, error, TABLES)

    async def stored(self, product_id: UUID) -> Product:
        row = await get_product(self.bank.pool, id=product_id)
        assert row is not None
        return row

    async def stock(self, product_id: UUID) -> tuple[int, int]:
        """On hand and reserved."""
        row = await self.stored(product_id)
        return row.on_hand, row.reserved


@pytest.fixture
async def shop(bank: Bank) -> Shop:
    return await Shop(bank).begin()
