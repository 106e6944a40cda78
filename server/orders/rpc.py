"""bank.v1.OrderService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.order_service_pb2 import (
    CancelOrderRequest,
    CancelOrderResponse,
    CreateOrderRequest,
    CreateOrderResponse,
    DeliverOrderRequest,
    DeliverOrderResponse,
    GetOrderRequest,
    GetOrderResponse,
    ListOrdersRequest,
    ListOrdersResponse,
    RefundOrderRequest,
    RefundOrderResponse,
    ShipOrderRequest,
    ShipOrderResponse,
)
from bank.v1.order_service_pb2_grpc import OrderServiceServicer

from server.caller import current_caller, current_idempotency_key
from server.orders.messages import (
    actor_of,
    parse_create_order,
    parse_list_orders,
    parse_order_id,
    parse_refund_order,
    render_created,
    render_listed,
    render_order,
    render_refunded,
)
from server.orders.operations import Orders

Context = grpc.aio.ServicerContext[Any, Any]


class OrderServicer(OrderServiceServicer):
    """bank.v1.OrderService."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    async def CreateOrder(self, request: CreateOrderRequest, context: Context) -> CreateOrderResponse:
        new = parse_create_order(request, current_caller(), current_idempotency_key())
        return render_created(*await self._orders.create(new))

    async def GetOrder(self, request: GetOrderRequest, context: Context) -> GetOrderResponse:
        return GetOrderResponse(order=render_order(await self._orders.get(parse_order_id(request), current_caller())))

    async def ListOrders(self, request: ListOrdersRequest, context: Context) -> ListOrdersResponse:
        return render_listed(*await self._orders.page(parse_list_orders(request), current_caller()))

    async def CancelOrder(self, request: CancelOrderRequest, context: Context) -> CancelOrderResponse:
        order = await self._orders.cancel(parse_order_id(request), actor_of(current_caller()))
        return CancelOrderResponse(order=render_order(order))

    async def ShipOrder(self, request: ShipOrderRequest, context: Context) -> ShipOrderResponse:
        order = await self._orders.ship(parse_order_id(request), actor_of(current_caller()))
        return ShipOrderResponse(order=render_order(order))

    async def DeliverOrder(self, request: DeliverOrderRequest, context: Context) -> DeliverOrderResponse:
        order = await self._orders.deliver(parse_order_id(request), actor_of(current_caller()))
        return DeliverOrderResponse(order=render_order(order))

    async def RefundOrder(self, request: RefundOrderRequest, context: Context) -> RefundOrderResponse:
        caller = current_caller()
        refund = parse_refund_order(request, caller, current_idempotency_key())
        return render_refunded(*await self._orders.refund(refund), caller)
