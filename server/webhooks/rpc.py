"""bank.v1.WebhookService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.webhook_service_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    DeleteWebhookRequest,
    DeleteWebhookResponse,
    GetWebhookRequest,
    GetWebhookResponse,
    ListWebhookDeliveriesRequest,
    ListWebhookDeliveriesResponse,
    ListWebhooksRequest,
    ListWebhooksResponse,
    RedeliverWebhookDeliveryRequest,
    RedeliverWebhookDeliveryResponse,
    RotateWebhookSecretRequest,
    RotateWebhookSecretResponse,
    UpdateWebhookRequest,
    UpdateWebhookResponse,
)
from bank.v1.webhook_service_pb2_grpc import WebhookServiceServicer

from server.caller import current_caller, current_idempotency_key
from server.violations import parse_id
from server.webhooks.messages import (
    Terms,
    parse_create_webhook,
    parse_list_deliveries,
    parse_list_webhooks,
    parse_redeliver,
    parse_update_webhook,
    render_created,
    render_deliveries,
    render_delivery,
    render_listed,
    render_rotated,
    render_webhook,
)
from server.webhooks.operations import Webhooks

Context = grpc.aio.ServicerContext[Any, Any]


class WebhookServicer(WebhookServiceServicer):
    """bank.v1.WebhookService."""

    def __init__(self, webhooks: Webhooks, terms: Terms) -> None:
        self._webhooks = webhooks
        self._terms = terms

    async def CreateWebhook(self, request: CreateWebhookRequest, context: Context) -> CreateWebhookResponse:
        caller = current_caller()
        new = parse_create_webhook(request, caller, current_idempotency_key(), self._terms)
        return render_created(*await self._webhooks.create(new, caller))

    async def GetWebhook(self, request: GetWebhookRequest, context: Context) -> GetWebhookResponse:
        webhook = await self._webhooks.get(parse_id("webhook_id", request.webhook_id), current_caller())
        return GetWebhookResponse(webhook=render_webhook(webhook))

    async def ListWebhooks(self, request: ListWebhooksRequest, context: Context) -> ListWebhooksResponse:
        page_size = parse_list_webhooks(request)
        return render_listed(*await self._webhooks.page(page_size, request.page_token, current_caller()))

    async def UpdateWebhook(self, request: UpdateWebhookRequest, context: Context) -> UpdateWebhookResponse:
        webhook = await self._webhooks.update(parse_update_webhook(request, self._terms), current_caller())
        return UpdateWebhookResponse(webhook=render_webhook(webhook))

    async def DeleteWebhook(self, request: DeleteWebhookRequest, context: Context) -> DeleteWebhookResponse:
        await self._webhooks.delete(parse_id("webhook_id", request.webhook_id), current_caller())
        return DeleteWebhookResponse()

    async def RotateWebhookSecret(
        self, request: RotateWebhookSecretRequest, context: Context
    ) -> RotateWebhookSecretResponse:
        webhook_id = parse_id("webhook_id", request.webhook_id)
        rotated = await self._webhooks.rotate_secret(webhook_id, current_caller(), end_earlier=request.end_earlier)
        return render_rotated(*rotated)

    async def ListWebhookDeliveries(
        self, request: ListWebhookDeliveriesRequest, context: Context
    ) -> ListWebhookDeliveriesResponse:
        return render_deliveries(*await self._webhooks.deliveries(parse_list_deliveries(request), current_caller()))

    async def RedeliverWebhookDelivery(
        self, request: RedeliverWebhookDeliveryRequest, context: Context
    ) -> RedeliverWebhookDeliveryResponse:
        delivery = await self._webhooks.redeliver(*parse_redeliver(request), current_caller())
        return RedeliverWebhookDeliveryResponse(delivery=render_delivery(delivery))
