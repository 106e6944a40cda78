"""Products between the wire and the operations: requests to commands, rows to messages."""

from collections.abc import Sequence
from uuid import UUID

from bank.v1.product_service_pb2 import (
    AdjustInventoryRequest,
    AdjustInventoryResponse,
    ArchiveProductRequest,
    CreateProductRequest,
    CreateProductResponse,
    GetProductRequest,
    ListInventoryMovementsRequest,
    ListInventoryMovementsResponse,
    ListProductsRequest,
    ListProductsResponse,
    ProductState,
    UpdateProductRequest,
)
from bank.v1.product_service_pb2 import InventoryMovement as MovementMessage
from bank.v1.product_service_pb2 import Product as ProductMessage
from bankdb.models import InventoryMovement

from server.caller import Caller
from server.ledger.movements import fingerprint_of
from server.products.operations import (
    ACTIVE,
    Adjustment,
    MovementFilter,
    NewProduct,
    ProductChange,
    ProductFilter,
    StoredProduct,
)
from server.products.search import words_of
from server.products.stock import QUANTITY_MAX
from server.reference_data import ReferenceData
from server.request_ids import Request
from server.timestamps import to_proto
from server.violations import Violations

CREATE_PRODUCT = "bank.v1.ProductService/CreateProduct"
ADJUST_INVENTORY = "bank.v1.ProductService/AdjustInventory"
NAME_LENGTH_MAX = 100
DESCRIPTION_LENGTH_MAX = 1000
REASON_LENGTH_MAX = 200


def parse_create_product(
    request: CreateProductRequest, caller: Caller, idempotency_key: str, reference: ReferenceData
) -> NewProduct:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
    """
    check = Violations()
    request_id = check.request_id(request.request_id, idempotency_key)
    name = check.text("name", request.name, shortest=1, longest=NAME_LENGTH_MAX)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    price_minor = check.amount("price_minor", request.price_minor)
    currency_code = check.currency("currency_code", request.currency_code, reference.currencies)
    account_id = check.uuid("settlement_account_id", request.settlement_account_id)
    quantity = request.initial_quantity
    if not 0 <= quantity <= QUANTITY_MAX:
        check.add("initial_quantity", f"must be 0 to {QUANTITY_MAX} pieces")
    check.raise_if_any()
    fingerprint = fingerprint_of(name, description, price_minor, currency_code, account_id, quantity)
    return NewProduct(
        request=Request(caller.user_id, request_id, CREATE_PRODUCT, fingerprint),
        name=name,
        description=description,
        price_minor=price_minor,
        currency_code=currency_code,
        settlement_account_id=account_id,
        initial_quantity=quantity,
    )


def parse_product_id(request: GetProductRequest | ArchiveProductRequest) -> UUID:
    """The id asked for.

    Raises:
        InvalidRequest: It is no UUID.
    """
    check = Violations()
    product_id = check.uuid("product_id", request.product_id)
    check.raise_if_any()
    return product_id


def parse_list_products(request: ListProductsRequest, caller: Caller) -> ProductFilter:
    """Check all filters.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    query = check.text("query", request.query, longest=NAME_LENGTH_MAX)
    if query and not words_of(query):
        check.add("query", "must have a letter or digit to look for")
    merchant_id: UUID | None = None
    if request.merchant_user_id == "me":
        merchant_id = caller.user_id
    elif request.merchant_user_id:
        merchant_id = check.uuid("merchant_user_id", request.merchant_user_id)
    state = check.enum("state", request.state, ProductState.items(), "PRODUCT_STATE_") or ACTIVE
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return ProductFilter(query, merchant_id, state, page_size, request.page_token)


def parse_list_movements(request: ListInventoryMovementsRequest) -> MovementFilter:
    """Which product's movements, and which part of them.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    product_id = check.uuid("product_id", request.product_id)
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return MovementFilter(product_id, page_size, request.page_token)


def parse_update_product(request: UpdateProductRequest) -> ProductChange:
    """Which product to change, and how; fields that the mask does not name are not looked at.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    given = request.product
    product_id = check.uuid("product.id", given.id)
    if given.version < 0:
        check.add("product.version", "must be the version that was read, or 0 for any")
    named = check.update_mask(
        request.update_mask.paths, ("name", "description", "price_minor", "settlement_account_id")
    )
    change = ProductChange(
        product_id,
        given.version,
        name=check.text("product.name", given.name, shortest=1, longest=NAME_LENGTH_MAX) if "name" in named else None,
        description=check.text("product.description", given.description, longest=DESCRIPTION_LENGTH_MAX)
        if "description" in named
        else None,
        price_minor=check.amount("product.price_minor", given.price_minor) if "price_minor" in named else None,
        settlement_account_id=check.uuid("product.settlement_account_id", given.settlement_account_id)
        if "settlement_account_id" in named
        else None,
    )
    check.raise_if_any()
    return change


def parse_adjust_inventory(request: AdjustInventoryRequest, caller: Caller, idempotency_key: str) -> Adjustment:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    product_id = check.uuid("product_id", request.product_id)
    request_id = check.request_id(request.request_id, idempotency_key)
    if request.to_zero == bool(request.delta):
        check.add("delta", "send either delta or to_zero")
    elif abs(request.delta) > QUANTITY_MAX:
        check.add("delta", f"must be -{QUANTITY_MAX} to {QUANTITY_MAX} pieces")
    reason = check.text("reason", request.reason, shortest=1, longest=REASON_LENGTH_MAX)
    check.raise_if_any()
    delta = None if request.to_zero else request.delta
    return Adjustment(
        request=Request(caller.user_id, request_id, ADJUST_INVENTORY, fingerprint_of(product_id, delta, reason)),
        product_id=product_id,
        delta=delta,
        reason=reason,
    )


def render_product(row: StoredProduct) -> ProductMessage:
    """A product as everybody sees it."""
    return ProductMessage(
        id=str(row.id),
        merchant_user_id=str(row.merchant_user_id),
        name=row.name,
        description=row.description,
        price_minor=row.price_minor,
        currency_code=row.currency_code,
        settlement_account_id=str(row.settlement_account_id),
        on_hand=row.on_hand,
        reserved=row.reserved,
        available=row.on_hand - row.reserved,
        state=f"PRODUCT_STATE_{row.state}",
        version=row.version,
        create_time=to_proto(row.create_time),
        update_time=to_proto(row.update_time),
    )


def render_created(row: StoredProduct, replayed: bool) -> CreateProductResponse:
    """The answer to CreateProduct."""
    return CreateProductResponse(product=render_product(row), replayed=replayed)


def render_adjusted(row: StoredProduct, replayed: bool) -> AdjustInventoryResponse:
    """The answer to AdjustInventory."""
    return AdjustInventoryResponse(product=render_product(row), replayed=replayed)


def render_listed(rows: Sequence[StoredProduct], next_page_token: str) -> ListProductsResponse:
    """One page."""
    return ListProductsResponse(products=[render_product(row) for row in rows], next_page_token=next_page_token)


def render_movements(rows: Sequence[InventoryMovement], next_page_token: str) -> ListInventoryMovementsResponse:
    """One page."""
    return ListInventoryMovementsResponse(
        inventory_movements=[_render_movement(row) for row in rows], next_page_token=next_page_token
    )


def _render_movement(row: InventoryMovement) -> MovementMessage:
    return MovementMessage(
        product_id=str(row.product_id),
        sequence=row.sequence,
        kind=f"INVENTORY_MOVEMENT_KIND_{row.kind}",
        on_hand_change=row.on_hand_change,
        reserved_change=row.reserved_change,
        on_hand_after=row.on_hand_after,
        reserved_after=row.reserved_after,
        user_id=str(row.user_id or ""),
        order_id=str(row.order_id or ""),
        reason=row.reason,
        create_time=to_proto(row.create_time),
    )
