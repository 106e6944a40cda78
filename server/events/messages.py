"""Events between the wire and the feed: requests to filters, facts to messages."""

from bank.v1.event_service_pb2 import (
    End,
    Event,
    Heartbeat,
    ListEventsRequest,
    ListEventsResponse,
    StreamEventsRequest,
    WatchEventsRequest,
    WatchEventsResponse,
)
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from server.caller import Caller
from server.events.operations import EventFilter, Fact, Stretch
from server.events.payloads import payload_of
from server.events.watching import Ended, Silence, Told, WatchFilter
from server.timestamps import to_proto
from server.violations import Violations

NOW = "now"
CONTENT_TYPE = "text/event-stream; charset=utf-8"
_NOUNS = {
    "user": ("created", "verified", "disabled", "enabled", "roles_changed"),
    "account": ("created", "updated", "frozen", "unfrozen", "closed"),
    "transfer": ("posted", "reversed"),
    "hold": ("created", "captured", "voided", "expired"),
    "scheduled_transfer": ("created", "canceled", "posted", "failed"),
    "product": ("created", "updated", "archived"),
    "inventory": ("adjusted",),
    "order": ("created", "shipped", "delivered", "canceled", "expired", "partially_refunded", "refunded"),
}
PAYLOADS = {f"{noun}.{verb}": f"{noun}_{verb}" for noun, verbs in _NOUNS.items() for verb in verbs}
"""The field of an event that has its facts, by type."""
_POSITION_MAX = 2**63 - 1
_DIGITS_MAX = len(str(_POSITION_MAX))
"""Python refuses to read a number of some thousand digits, with an error of its own."""


def parse_list_events(request: ListEventsRequest) -> EventFilter:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    after = _position(check, "after_cursor", request.after_cursor)
    types = _types(check, request)
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return EventFilter(after, types, page_size)


def parse_watch_events(request: WatchEventsRequest | StreamEventsRequest, last_event_id: str = "") -> WatchFilter:
    """Check all fields.

    Args:
        request: Where to begin, and which types.
        last_event_id: The header of that name, of somebody who sends their first request again.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    after = _position(check, "after_cursor", last_event_id or request.after_cursor)
    types = _types(check, request)
    check.raise_if_any()
    return WatchFilter(after, types)


def _position(check: Violations, field: str, cursor: str) -> int | None:
    """The position of a cursor, 0 for none; None for the end of the feed."""
    if cursor == NOW:
        return None
    if not cursor:
        return 0
    if len(cursor) <= _DIGITS_MAX and cursor.isascii() and cursor.isdigit() and int(cursor) <= _POSITION_MAX:
        return int(cursor)
    check.add(field, f"must be a cursor that this feed gave, or {NOW!r}")
    return 0


def _types(check: Violations, request: ListEventsRequest | WatchEventsRequest | StreamEventsRequest) -> frozenset[str]:
    types = frozenset(request.types)
    if not types <= PAYLOADS.keys():
        check.add("types", f"may name these: {', '.join(PAYLOADS)}")
    return types


def render_page(stretch: Stretch, caller: Caller) -> ListEventsResponse:
    """One page."""
    return ListEventsResponse(
        events=[render_event(fact, caller) for fact in stretch.facts],
        next_cursor=str(stretch.reached),
        complete=stretch.complete,
    )


def render_told(told: Told, caller: Caller) -> WatchEventsResponse:
    """One message of a watch."""
    if isinstance(told, Silence):
        return WatchEventsResponse(heartbeat=Heartbeat(cursor=str(told.position)))
    if isinstance(told, Ended):
        return WatchEventsResponse(end=End(cursor=str(told.position), reason=f"END_REASON_{told.reason}"))
    return WatchEventsResponse(event=render_event(told, caller))


def render_server_sent(told: Told, caller: Caller) -> HttpBody:
    """One message of a watch as a server-sent event: its cursor is the id, the data what gRPC clients get, as JSON."""
    position = told.event.position if isinstance(told, Fact) else told.position
    text = as_json(render_told(told, caller))
    return HttpBody(content_type=CONTENT_TYPE, data=f"id: {position}\ndata: {text}\n\n".encode())


def as_json(message: Message) -> str:
    """As the gateway prints what it transcodes."""
    return MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=None,
        ensure_ascii=False,
    )


def render_event(fact: Fact, caller: Caller) -> Event:
    """An event as `caller` sees it."""
    event = fact.event
    message = Event(
        cursor=str(event.position),
        id=str(event.id),
        type=event.type,
        subject_id=str(event.subject_id),
        create_time=to_proto(event.create_time),
    )
    field = PAYLOADS.get(event.type)
    payload = payload_of(fact, caller) if field else None
    if field and payload is not None:
        getattr(message, field).CopyFrom(payload)
    return message
