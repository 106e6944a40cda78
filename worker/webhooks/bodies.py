"""What is sent to a webhook: an event, as its owner reads it in the feed."""

from uuid import UUID

from bankdb.events import ListEventsRow
from bankdb.webhook_deliveries import GetWebhookDeliveryToSendRow

from server.caller import Caller, Role
from server.database import Connection
from server.events.messages import as_json, render_event
from server.events.operations import read_facts

_NO_SESSION = UUID(int=0)


def is_visible(delivery: GetWebhookDeliveryToSendRow) -> bool:
    """Whether the owner may see the event as things are."""
    parties = (delivery.user_id, delivery.counterparty_user_id)
    return delivery.owner_user_id in parties or (delivery.everybodys and Role.ADMIN in delivery.owner_roles)


async def read_body(connection: Connection, delivery: GetWebhookDeliveryToSendRow) -> bytes:
    """The event as JSON, as the gateway prints it in the list of events."""
    event = ListEventsRow(
        id=delivery.event_id,
        position=delivery.position,
        type=delivery.event_type,
        subject_id=delivery.subject_id,
        user_id=delivery.user_id,
        counterparty_user_id=delivery.counterparty_user_id,
        data=delivery.data,
        create_time=delivery.event_create_time,
    )
    [fact] = await read_facts(connection, [event])
    reader = Caller(delivery.owner_user_id, _NO_SESSION, frozenset(map(Role, delivery.owner_roles)))
    return as_json(render_event(fact, reader)).encode()
