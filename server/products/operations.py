"""What happens to products: offered, changed, archived, counted, found."""

import json
from dataclasses import dataclass
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import events as event_queries
from bankdb import products as queries
from bankdb import users as user_queries
from bankdb.accounts import GetAccountRow
from bankdb.models import InventoryMovement, Product
from uuid_utils.compat import uuid7

from server.caller import Caller, Role
from server.database import Connection, Database
from server.errors import (
    AccountClosed,
    CurrencyMismatch,
    FieldViolation,
    Forbidden,
    InvalidRequest,
    NotFound,
    StaleVersion,
)
from server.page_token import PageTokens
from server.products.errors import OutOfStock, ProductArchived, Shortage
from server.products.search import tsquery_of, words_of
from server.products.stock import ON_HAND_MAX, Cause, Change, Kind, MovedProduct, lock_products, move_stock
from server.request_ids import Request, claim

ACTIVE, ARCHIVED = "ACTIVE", "ARCHIVED"
_SEQUENCE_MAX = 2**63 - 1

StoredProduct = Product | MovedProduct


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A product to offer, already parsed."""

    request: Request
    name: str
    description: str
    price_minor: int
    currency_code: str
    settlement_account_id: UUID
    initial_quantity: int


@dataclass(frozen=True, slots=True)
class ProductChange:
    """New values of a product; None leaves one as it is.

    Attributes:
        version: The version that the change was made from; 0: any.
    """

    product_id: UUID
    version: int
    name: str | None = None
    description: str | None = None
    price_minor: int | None = None
    settlement_account_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of a stock, already parsed.

    Attributes:
        delta: Pieces to add, or if negative to take; None: take all.
    """

    request: Request
    product_id: UUID
    delta: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ProductFilter:
    """What ListProducts is asked for.

    Attributes:
        query: Text whose words the name must have; empty: any name.
        merchant_user_id: Of this merchant only; None: of anyone.
        state: As stored.
    """

    query: str
    merchant_user_id: UUID | None
    state: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class MovementFilter:
    """What ListInventoryMovements is asked for."""

    product_id: UUID
    page_size: int
    page_token: str


class Products:
    """Changes and reads products as far as a caller may."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def create(self, new: NewProduct, caller: Caller) -> tuple[StoredProduct, bool]:
        """Offer a product of the settlement account's owner, at most once per request id.

        Returns:
            The product as it is now, and whether an earlier call had created it.

        Raises:
            RequestIdReused: The request id stands for another call.
            NotFound: The settlement account does not exist, or is not the caller's, who is no admin.
            Forbidden: An admin names the account of somebody who is no merchant.
            AccountClosed: It is closed.
            CurrencyMismatch: It is in another currency.
        """

        async def work(connection: Connection) -> tuple[StoredProduct, bool]:
            product_id = uuid7()
            earlier_id = await claim(connection, new.request, product_id)
            if earlier_id is not None:
                return await _existing(connection, earlier_id), True
            account = await _settlement_account(connection, new.settlement_account_id, new.currency_code, caller)
            return await _create(connection, product_id, new, account), False

        return await self._database.transaction(work)

    async def get(self, product_id: UUID) -> Product:
        """One product; anybody may see it.

        Raises:
            NotFound: Absent.
        """
        async with self._database.connection() as connection:
            product = await queries.get_product(connection, id=product_id)
        if product is None:
            raise NotFound("product", product_id)
        return product

    async def page(self, wanted: ProductFilter, caller: Caller) -> tuple[list[Product], str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list, filter and caller.
        """
        merchant_id = wanted.merchant_user_id
        scope = ("products", str(caller.user_id), wanted.query, str(merchant_id), wanted.state)
        before_id = self._page_tokens.before_id(scope, wanted.page_token)
        size = wanted.page_size + 1
        async with self._database.connection() as connection:
            if wanted.query:
                rows = await queries.list_products_by_words(
                    connection,
                    words=tsquery_of(wanted.query),
                    state=wanted.state,
                    before_id=before_id,
                    merchant_user_id=merchant_id,
                    page_size=size,
                )
            elif merchant_id is not None:
                rows = await queries.list_products_of_merchant(
                    connection, merchant_user_id=merchant_id, state=wanted.state, before_id=before_id, page_size=size
                )
            else:
                rows = await queries.list_products(connection, state=wanted.state, before_id=before_id, page_size=size)
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.id)])

    async def movements(self, wanted: MovementFilter, caller: Caller) -> tuple[list[InventoryMovement], str]:
        """One page of a product's movements, highest sequence first, and the token of the next.

        Raises:
            NotFound: There is no such product.
            Forbidden: It is another merchant's, and the caller no admin.
            InvalidPageToken: Not of this product and caller.
        """
        product = await self.get(wanted.product_id)
        if product.merchant_user_id != caller.user_id and not caller.has_any(Role.ADMIN):
            raise Forbidden("only its merchant and admins see what moved the stock of a product")
        scope = ("inventory movements", str(caller.user_id), str(product.id))
        position = self._page_tokens.read(scope, wanted.page_token)
        async with self._database.connection() as connection:
            rows = await queries.list_inventory_movements(
                connection,
                product_id=product.id,
                before_sequence=int(position[0]) if position else _SEQUENCE_MAX,
                page_size=wanted.page_size + 1,
            )
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.sequence)])

    async def update(self, change: ProductChange, caller: Caller) -> Product:
        """Change a product; one version on, unless nothing is different.

        Raises:
            NotFound: There is no such product.
            Forbidden: It is another merchant's, and the caller no admin.
            ProductArchived: It is archived.
            StaleVersion: It has another version than the change was made from.
            NotFound: The settlement account is not its merchant's.
            AccountClosed, CurrencyMismatch: The settlement account is of no use.
        """

        async def work(connection: Connection) -> Product:
            product = await _locked(connection, change.product_id, caller)
            if product.state == ARCHIVED:
                raise ProductArchived(product.id)
            if change.version not in (0, product.version):
                raise StaleVersion(product.version)
            return await _update(connection, product, change)

        return await self._database.transaction(work)

    async def archive(self, product_id: UUID, caller: Caller) -> Product:
        """End the sale of a product; one that is archived stays as it is.

        Raises:
            NotFound: There is no such product.
            Forbidden: It is another merchant's, and the caller no admin.
        """

        async def work(connection: Connection) -> Product:
            product = await _locked(connection, product_id, caller)
            if product.state == ARCHIVED:
                return product
            archived = await queries.mark_product_archived(connection, id=product_id)
            assert archived is not None  # it is locked
            return archived

        return await self._database.transaction(work)

    async def adjust(self, adjustment: Adjustment, caller: Caller) -> tuple[StoredProduct, bool]:
        """Change a stock, at most once per request id, never below what is reserved.

        Returns:
            The product as it is now, and whether an earlier call had adjusted it.

        Raises:
            RequestIdReused: The request id stands for another call.
            NotFound: There is no such product.
            Forbidden: It is another merchant's, and the caller no admin.
            OutOfStock: More is to be taken than is available.
            InvalidRequest: There would be more than ON_HAND_MAX.
        """

        async def work(connection: Connection) -> tuple[StoredProduct, bool]:
            earlier_id = await claim(connection, adjustment.request, adjustment.product_id)
            if earlier_id is not None:
                return await _existing(connection, earlier_id), True
            product = await _locked(connection, adjustment.product_id, caller)
            return await _adjust(connection, product, adjustment, caller), False

        return await self._database.transaction(work)


async def _existing(connection: Connection, product_id: UUID) -> Product:
    product = await queries.get_product(connection, id=product_id)
    assert product is not None  # products are never deleted
    return product


async def _locked(connection: Connection, product_id: UUID, caller: Caller) -> Product:
    product = (await lock_products(connection, [product_id])).get(product_id)
    if product is None:
        raise NotFound("product", product_id)
    if product.merchant_user_id != caller.user_id and not caller.has_any(Role.ADMIN):
        raise Forbidden("only its merchant and admins change a product")
    return product


async def _settlement_account(
    connection: Connection, account_id: UUID, currency_code: str, caller: Caller
) -> GetAccountRow:
    """The account that a new product is paid to; its owner is the merchant."""
    account = await account_queries.get_account(connection, id=account_id)
    if account is None or not (account.owner_user_id == caller.user_id or caller.has_any(Role.ADMIN)):
        raise NotFound("account", account_id)
    if not (account.owner_user_id == caller.user_id and caller.has_any(Role.MERCHANT)):
        assert account.owner_user_id is not None  # a customer's account has an owner
        owner = await user_queries.get_user(connection, id=account.owner_user_id)
        if owner is None or Role.MERCHANT not in owner.roles:
            raise Forbidden("the owner of the settlement account is no merchant")
    _check_settlement(account, currency_code)
    return account


def _check_settlement(account: GetAccountRow, currency_code: str) -> None:
    if account.state == "CLOSED":
        raise AccountClosed(account.id)
    if account.currency_code != currency_code:
        raise CurrencyMismatch(account.id, currency_code)


async def _create(connection: Connection, product_id: UUID, new: NewProduct, account: GetAccountRow) -> StoredProduct:
    assert account.owner_user_id is not None  # a customer's account has an owner
    product = await queries.insert_product(
        connection,
        id=product_id,
        merchant_user_id=account.owner_user_id,
        name=new.name,
        description=new.description,
        search_words=" ".join(words_of(new.name)),
        price_minor=new.price_minor,
        currency_code=new.currency_code,
        settlement_account_id=new.settlement_account_id,
        initial_quantity=new.initial_quantity,
    )
    assert product is not None  # RETURNING
    if not new.initial_quantity:
        return product
    cause = Cause(Kind.ADJUSTED, new.request.user_id, reason="initial quantity")
    [stocked] = await move_stock(connection, {product_id: Change(on_hand=new.initial_quantity)}, cause)
    return stocked


async def _update(connection: Connection, product: Product, change: ProductChange) -> Product:
    names = ("name", "description", "price_minor", "settlement_account_id")
    wanted = {name: value for name in names if (value := getattr(change, name)) is not None}
    fields = [name for name in wanted if wanted[name] != getattr(product, name)]
    if not fields:
        return product
    changed = product._replace(**wanted)
    if "settlement_account_id" in fields:
        account = await account_queries.get_account(connection, id=changed.settlement_account_id)
        if account is None or account.owner_user_id != product.merchant_user_id:
            raise NotFound("account", changed.settlement_account_id)
        _check_settlement(account, product.currency_code)
    updated = await queries.update_product(
        connection,
        id=product.id,
        name=changed.name,
        description=changed.description,
        search_words=" ".join(words_of(changed.name)),
        price_minor=changed.price_minor,
        settlement_account_id=changed.settlement_account_id,
        fields=fields,
    )
    assert updated is not None  # it is locked
    return updated


async def _adjust(connection: Connection, product: Product, adjustment: Adjustment, caller: Caller) -> StoredProduct:
    delta = -product.on_hand if adjustment.delta is None else adjustment.delta
    if product.on_hand + delta < product.reserved:
        raise OutOfStock([Shortage(product.id, -delta, product.on_hand - product.reserved)])
    if product.on_hand + delta > ON_HAND_MAX:
        raise InvalidRequest([FieldViolation("delta", f"must leave at most {ON_HAND_MAX} pieces")])
    if not delta:
        return product  # set to zero where nothing was
    cause = Cause(Kind.ADJUSTED, caller.user_id, reason=adjustment.reason)
    [moved] = await move_stock(connection, {product.id: Change(on_hand=delta)}, cause)
    await event_queries.insert_event(
        connection,
        type="inventory.adjusted",
        subject_id=product.id,
        user_id=product.merchant_user_id,
        data=json.dumps(
            {"delta": delta, "on_hand": moved.on_hand, "reserved": moved.reserved, "reason": adjustment.reason}
        ),
    )
    return moved
