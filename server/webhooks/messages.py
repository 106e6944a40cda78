"""Webhooks between the wire and the operations: requests to commands, rows to messages."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from bank.v1.webhook_service_pb2 import (
    CreateWebhookRequest,
    CreateWebhookResponse,
    ListWebhookDeliveriesRequest,
    ListWebhookDeliveriesResponse,
    ListWebhooksRequest,
    ListWebhooksResponse,
    RedeliverWebhookDeliveryRequest,
    RotateWebhookSecretResponse,
    UpdateWebhookRequest,
    WebhookDeliveryState,
)
from bank.v1.webhook_service_pb2 import Webhook as WebhookMessage
from bank.v1.webhook_service_pb2 import WebhookDelivery as WebhookDeliveryMessage
from bankdb.models import Webhook, WebhookDelivery

from server.caller import Caller
from server.ledger.movements import fingerprint_of
from server.request_ids import Request
from server.timestamps import to_proto
from server.violations import DESCRIPTION_LENGTH_MAX, Violations
from server.webhooks.operations import DeliveryFilter, NewWebhook, WebhookChange
from server.webhooks.targets import UnfitUrlError, parse_target

CREATE_WEBHOOK = "bank.v1.WebhookService/CreateWebhook"
CHANGEABLE = ("url", "types", "description", "enabled")


class Terms(NamedTuple):
    """What a webhook may be like in this installation.

    Attributes:
        event_types: That can be named.
        private: Whether it may lead to addresses that are not public.
    """

    event_types: frozenset[str]
    private: bool


def parse_create_webhook(
    request: CreateWebhookRequest, caller: Caller, idempotency_key: str, terms: Terms
) -> NewWebhook:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    request_id = check.request_id(request.request_id, idempotency_key)
    url = _url(check, "url", request.url, terms)
    types = _types(check, "types", request.types, terms)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    check.raise_if_any()
    fingerprint = fingerprint_of(url, tuple(types), description)
    return NewWebhook(
        request=Request(caller.user_id, request_id, CREATE_WEBHOOK, fingerprint),
        url=url,
        types=types,
        description=description,
    )


def parse_update_webhook(request: UpdateWebhookRequest, terms: Terms) -> WebhookChange:
    """Check all fields that the mask names.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    new = request.webhook
    webhook_id = check.uuid("webhook.id", new.id)
    named = check.update_mask(request.update_mask.paths, CHANGEABLE)
    change = WebhookChange(
        webhook_id=webhook_id,
        url=_url(check, "webhook.url", new.url, terms) if "url" in named else None,
        types=_types(check, "webhook.types", new.types, terms) if "types" in named else None,
        description=check.text("webhook.description", new.description, longest=DESCRIPTION_LENGTH_MAX)
        if "description" in named
        else None,
        enabled=new.enabled if "enabled" in named else None,
    )
    check.raise_if_any()
    return change


def parse_list_webhooks(request: ListWebhooksRequest) -> int:
    """How many are asked for.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return page_size


def parse_list_deliveries(request: ListWebhookDeliveriesRequest) -> DeliveryFilter:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    webhook_id = check.uuid("webhook_id", request.webhook_id)
    state = check.enum("state", request.state, WebhookDeliveryState.items(), "WEBHOOK_DELIVERY_STATE_")
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return DeliveryFilter(webhook_id, state, page_size, request.page_token)


def parse_redeliver(request: RedeliverWebhookDeliveryRequest) -> tuple[UUID, UUID]:
    """The ids of webhook and delivery.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    ids = check.uuid("webhook_id", request.webhook_id), check.uuid("delivery_id", request.delivery_id)
    check.raise_if_any()
    return ids


def _url(check: Violations, field: str, value: str, terms: Terms) -> str:
    try:
        parse_target(value, private=terms.private)
    except UnfitUrlError as error:
        check.add(field, str(error))
    return value


def _types(check: Violations, field: str, value: Iterable[str], terms: Terms) -> list[str]:
    types = sorted(set(value))
    if not terms.event_types.issuperset(types):
        check.add(field, f"may name these: {', '.join(sorted(terms.event_types))}")
    return types


def render_created(webhook: Webhook, secret: str) -> CreateWebhookResponse:
    """The answer to CreateWebhook."""
    return CreateWebhookResponse(webhook=render_webhook(webhook), secret=secret, replayed=not secret)


def render_listed(webhooks: Sequence[Webhook], next_page_token: str) -> ListWebhooksResponse:
    """One page."""
    return ListWebhooksResponse(webhooks=map(render_webhook, webhooks), next_page_token=next_page_token)


def render_rotated(secret: str, earlier_expire_time: datetime | None) -> RotateWebhookSecretResponse:
    """The answer to RotateWebhookSecret."""
    return RotateWebhookSecretResponse(
        secret=secret, earlier_expire_time=to_proto(earlier_expire_time) if earlier_expire_time else None
    )


def render_webhook(row: Webhook) -> WebhookMessage:
    """A webhook without its secrets."""
    return WebhookMessage(
        id=str(row.id),
        url=row.url,
        types=row.types,
        description=row.description,
        enabled=row.disable_reason is None,
        disable_reason=f"WEBHOOK_DISABLE_REASON_{row.disable_reason}" if row.disable_reason else None,
        failing_since_time=to_proto(row.failing_since_time) if row.failing_since_time else None,
        everybodys=row.everybodys,
        create_time=to_proto(row.create_time),
        update_time=to_proto(row.update_time),
    )


def render_deliveries(rows: Sequence[WebhookDelivery], next_page_token: str) -> ListWebhookDeliveriesResponse:
    """One page."""
    return ListWebhookDeliveriesResponse(deliveries=map(render_delivery, rows), next_page_token=next_page_token)


def render_delivery(row: WebhookDelivery) -> WebhookDeliveryMessage:
    """A delivery."""
    return WebhookDeliveryMessage(
        id=str(row.id),
        event_cursor=str(row.position),
        event_type=row.event_type,
        subject_id=str(row.subject_id),
        state=f"WEBHOOK_DELIVERY_STATE_{row.state}",
        attempt_count=row.attempt_count,
        response_status=row.response_status or 0,
        failure=f"WEBHOOK_FAILURE_{row.failure}" if row.failure else None,
        last_attempt_time=to_proto(row.last_attempt_time) if row.last_attempt_time else None,
        next_attempt_time=to_proto(row.next_attempt_time) if row.next_attempt_time else None,
        create_time=to_proto(row.create_time),
    )
