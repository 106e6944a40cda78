"""bank.v1.ProductService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.product_service_pb2 import (
    AdjustInventoryRequest,
    AdjustInventoryResponse,
    ArchiveProductRequest,
    ArchiveProductResponse,
    CreateProductRequest,
    CreateProductResponse,
    GetProductRequest,
    GetProductResponse,
    ListInventoryMovementsRequest,
    ListInventoryMovementsResponse,
    ListProductsRequest,
    ListProductsResponse,
    UpdateProductRequest,
    UpdateProductResponse,
)
from bank.v1.product_service_pb2_grpc import ProductServiceServicer

from server.caller import current_caller, current_idempotency_key
from server.products.messages import (
    parse_adjust_inventory,
    parse_create_product,
    parse_list_movements,
    parse_list_products,
    parse_product_id,
    parse_update_product,
    render_adjusted,
    render_created,
    render_listed,
    render_movements,
    render_product,
)
from server.products.operations import Products
from server.reference_data import ReferenceData

Context = grpc.aio.ServicerContext[Any, Any]


class ProductServicer(ProductServiceServicer):
    """bank.v1.ProductService."""

    def __init__(self, products: Products, reference: ReferenceData) -> None:
        self._products = products
        self._reference = reference

    async def CreateProduct(self, request: CreateProductRequest, context: Context) -> CreateProductResponse:
        caller = current_caller()
        new = parse_create_product(request, caller, current_idempotency_key(), self._reference)
        return render_created(*await self._products.create(new, caller))

    async def GetProduct(self, request: GetProductRequest, context: Context) -> GetProductResponse:
        return GetProductResponse(product=render_product(await self._products.get(parse_product_id(request))))

    async def ListProducts(self, request: ListProductsRequest, context: Context) -> ListProductsResponse:
        caller = current_caller()
        return render_listed(*await self._products.page(parse_list_products(request, caller), caller))

    async def UpdateProduct(self, request: UpdateProductRequest, context: Context) -> UpdateProductResponse:
        product = await self._products.update(parse_update_product(request), current_caller())
        return UpdateProductResponse(product=render_product(product))

    async def ArchiveProduct(self, request: ArchiveProductRequest, context: Context) -> ArchiveProductResponse:
        product = await self._products.archive(parse_product_id(request), current_caller())
        return ArchiveProductResponse(product=render_product(product))

    async def AdjustInventory(self, request: AdjustInventoryRequest, context: Context) -> AdjustInventoryResponse:
        caller = current_caller()
        adjustment = parse_adjust_inventory(request, caller, current_idempotency_key())
        return render_adjusted(*await self._products.adjust(adjustment, caller))

    async def ListInventoryMovements(
        self, request: ListInventoryMovementsRequest, context: Context
    ) -> ListInventoryMovementsResponse:
        wanted = parse_list_movements(request)
        return render_movements(*await self._products.movements(wanted, current_caller()))
