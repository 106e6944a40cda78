"""Pieces of products: locked, counted, moved. Every change leaves a row that tells why."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from bankdb import products as queries
from bankdb.models import Product
from bankdb.products import InsertInventoryMovementsRow

from server.database import Connection
from server.products.errors import OutOfStock, Shortage

ON_HAND_MAX = 10**12
QUANTITY_MAX = 10**9

MovedProduct = InsertInventoryMovementsRow


class Kind(StrEnum):
    """Why a stock changed; as stored in inventory_movements.kind."""

    ADJUSTED = "ADJUSTED"
    RESERVED = "RESERVED"
    RELEASED = "RELEASED"
    SHIPPED = "SHIPPED"
    RESTOCKED = "RESTOCKED"


class Change(NamedTuple):
    """By how many pieces a stock changes."""

    on_hand: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """Why stock changes.

    Attributes:
        user_id: Who asks for it; None for what the service does by itself.
        order_id: The order it happens for; None for ADJUSTED.
        reason: What the caller says about it.
    """

    kind: Kind
    user_id: UUID | None
    order_id: UUID | None = None
    reason: str = ""


async def lock_products(connection: Connection, ids: Collection[UUID]) -> dict[UUID, Product]:
    """Lock products in id order and return their fresh state; unknown ids are left out.

    Orders are locked before, accounts after.

    Raises:
        asyncpg.LockNotAvailableError: One stayed locked for longer than lock_timeout.
    """
    return {row.id: row for row in await queries.lock_products(connection, ids=list(ids))}


def check_available(products: Mapping[UUID, Product], wanted: Mapping[UUID, int]) -> None:
    """Refuse if of any product fewer pieces are available than wanted.

    Raises:
        OutOfStock: With every product that is short, by id.
    """
    shortages = [
        Shortage(product_id, quantity, available)
        for product_id, quantity in sorted(wanted.items())
        if quantity > (available := products[product_id].on_hand - products[product_id].reserved)
    ]
    if shortages:
        raise OutOfStock(shortages)


async def move_stock(connection: Connection, changes: Mapping[UUID, Change], cause: Cause) -> list[MovedProduct]:
    """Change the stock of locked products, of each once.

    Returns:
        The products as they are now, by id.
    """
    return await queries.insert_inventory_movements(
        connection,
        product_ids=list(changes),
        on_hand_changes=[change.on_hand for change in changes.values()],
        reserved_changes=[change.reserved for change in changes.values()],
        kind=cause.kind,
        user_id=cause.user_id,
        order_id=cause.order_id,
        reason=cause.reason,
    )
