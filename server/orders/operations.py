"""Orders as the service offers them: each call one transaction, and what can be read."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeVar
from uuid import UUID

from bankdb import orders as queries
from bankdb import requests as request_queries
from bankdb import transfers as transfer_queries
from bankdb.models import OrderItem
from bankdb.orders import GetOrderRow, ListAllOrdersRow, ListOrdersOfUserRow
from bankdb.transfers import GetTransferRow

from server.caller import Caller, Role
from server.database import Connection, Database
from server.errors import NotFound
from server.orders.actors import Actor
from server.orders.placing import NewOrder, place_order
from server.orders.steps import Refund, cancel_order, deliver_order, refund_order, ship_order
from server.orders.transactions import OrderTransactions
from server.page_token import PageTokens

OrderRow = GetOrderRow | ListAllOrdersRow | ListOrdersOfUserRow
Row = TypeVar("Row", GetOrderRow, ListAllOrdersRow, ListOrdersOfUserRow)
Step = Callable[[Connection, UUID, Actor], Awaitable[None]]


class StoredOrder(NamedTuple):
    """An order and its items."""

    row: OrderRow
    items: list[OrderItem]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """What ListOrders is asked for.

    Attributes:
        state: As readers see it; None: any.
        party: BUYER or MERCHANT, the side the caller is on; None: either, for admins anybody's.
    """

    state: str | None
    party: str | None
    page_size: int
    page_token: str


class Orders:
    """Places, changes and reads orders as far as a caller may.

    Args:
        database: For reading.
        transactions: For everything else.
        page_tokens: For lists.
        lifetime: After which an order ends that was not shipped.
    """

    def __init__(
        self,
        database: Database,
        transactions: OrderTransactions,
        page_tokens: PageTokens,
        lifetime: timedelta,
    ) -> None:
        self._database = database
        self._transactions = transactions
        self._page_tokens = page_tokens
        self._lifetime = lifetime

    async def create(self, new: NewOrder) -> tuple[StoredOrder, bool]:
        """Place an order, at most once per request id.

        Returns:
            The order as it is now, and whether an earlier call had placed it.

        Raises:
            BankError: See `place_order`.
        """

        async def work(connection: Connection) -> tuple[StoredOrder, bool]:
            order_id, replayed = await place_order(connection, new, self._lifetime)
            return await _stored(connection, order_id), replayed

        return await self._transactions.run(new.actor.user_id, work)

    async def cancel(self, order_id: UUID, actor: Actor) -> StoredOrder:
        """Call off an order that is not shipped.

        Raises:
            BankError: See `cancel_order`.
        """
        return await self._take(cancel_order, order_id, actor)

    async def ship(self, order_id: UUID, actor: Actor) -> StoredOrder:
        """Send an order off and be paid.

        Raises:
            BankError: See `ship_order`.
        """
        return await self._take(ship_order, order_id, actor)

    async def deliver(self, order_id: UUID, actor: Actor) -> StoredOrder:
        """Complete a shipped order.

        Raises:
            BankError: See `deliver_order`.
        """
        return await self._take(deliver_order, order_id, actor)

    async def refund(self, refund: Refund) -> tuple[StoredOrder, GetTransferRow, bool]:
        """Pay an order back, at most once per request id.

        Returns:
            The order as it is now, the transfer that paid back, and whether an earlier call had made it.

        Raises:
            BankError: See `refund_order`.
        """

        async def work(connection: Connection) -> tuple[StoredOrder, GetTransferRow, bool]:
            transfer_id, replayed = await refund_order(connection, refund)
            transfer = await transfer_queries.get_transfer(connection, id=transfer_id)
            assert transfer is not None  # transfers are never deleted
            return await _stored(connection, refund.order_id), transfer, replayed

        return await self._transactions.run(refund.actor.user_id, work)

    async def get(self, order_id: UUID, caller: Caller) -> StoredOrder:
        """One order.

        Raises:
            NotFound: Absent, or the caller is neither its buyer, its merchant nor an admin.
        """
        async with self._database.connection() as connection:
            row = await queries.get_order(connection, id=order_id)
            if row is None or not (
                caller.user_id in (row.buyer_user_id, row.merchant_user_id) or caller.has_any(Role.ADMIN)
            ):
                raise NotFound("order", order_id)
            return StoredOrder(row, await queries.list_order_items(connection, order_ids=[order_id]))

    async def page(self, wanted: OrderFilter, caller: Caller) -> tuple[list[StoredOrder], str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list, filter and caller.
        """
        scope = ("orders", str(caller.user_id), str(wanted.state), str(wanted.party))
        before_id = self._page_tokens.before_id(scope, wanted.page_token)
        async with self._database.connection() as connection:
            now = await request_queries.get_clock(connection)
            assert now is not None  # a clock always tells
            size = wanted.page_size + 1
            if wanted.party is None and caller.has_any(Role.ADMIN):
                everyones = await queries.list_all_orders(
                    connection, now=now, before_id=before_id, state=wanted.state, page_size=size
                )
                return await self._with_items(connection, scope, everyones, wanted.page_size)
            rows = await queries.list_orders_of_user(
                connection,
                now=now,
                user_id=caller.user_id,
                as_buyer=wanted.party in (None, "BUYER"),
                as_merchant=wanted.party in (None, "MERCHANT"),
                before_id=before_id,
                state=wanted.state,
                page_size=size,
            )
            return await self._with_items(connection, scope, rows, wanted.page_size)

    async def _with_items(
        self, connection: Connection, scope: tuple[str, ...], rows: list[Row], page_size: int
    ) -> tuple[list[StoredOrder], str]:
        kept, token = self._page_tokens.cut(scope, rows, page_size, lambda row: [str(row.id)])
        items = await queries.list_order_items(connection, order_ids=[row.id for row in kept])
        return [StoredOrder(row, _of(row.id, items)) for row in kept], token

    async def _take(self, step: Step, order_id: UUID, actor: Actor) -> StoredOrder:
        async def work(connection: Connection) -> StoredOrder:
            await step(connection, order_id, actor)
            return await _stored(connection, order_id)

        return await self._transactions.run(actor.user_id, work)


async def _stored(connection: Connection, order_id: UUID) -> StoredOrder:
    row = await queries.get_order(connection, id=order_id)
    assert row is not None  # orders are never deleted
    return StoredOrder(row, await queries.list_order_items(connection, order_ids=[order_id]))


def _of(order_id: UUID, items: Sequence[OrderItem]) -> list[OrderItem]:
    return [item for item in items if item.order_id == order_id]
