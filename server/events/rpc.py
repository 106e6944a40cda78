"""bank.v1.EventService: parse, call, render."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from bank.v1.event_service_pb2 import (
    ListEventsRequest,
    ListEventsResponse,
    StreamEventsRequest,
    WatchEventsRequest,
    WatchEventsResponse,
)
from bank.v1.event_service_pb2_grpc import EventServiceServicer
from google.api.httpbody_pb2 import HttpBody

from server.caller import current_caller, current_token_expire_time
from server.events.messages import (
    parse_list_events,
    parse_watch_events,
    render_page,
    render_server_sent,
    render_told,
)
from server.events.operations import EventReader
from server.events.watching import Watches

Context = grpc.aio.ServicerContext[Any, Any]


class EventServicer(EventServiceServicer):
    """Answers bank.v1.EventService."""

    def __init__(self, events: EventReader, watches: Watches) -> None:
        self._events = events
        self._watches = watches

    async def ListEvents(self, request: ListEventsRequest, context: Context) -> ListEventsResponse:
        caller = current_caller()
        return render_page(await self._events.page(parse_list_events(request), caller), caller)

    async def WatchEvents(
        self, request: WatchEventsRequest, context: Context
    ) -> AsyncGenerator[WatchEventsResponse, None]:
        caller = current_caller()
        wanted = parse_watch_events(request)
        async with aclosing(self._watches.watch(wanted, caller, current_token_expire_time())) as watch:
            async for told in watch:
                yield render_told(told, caller)

    async def StreamEvents(self, request: StreamEventsRequest, context: Context) -> AsyncGenerator[HttpBody, None]:
        caller = current_caller()
        wanted = parse_watch_events(request, _last_event_id(context))
        async with aclosing(self._watches.watch(wanted, caller, current_token_expire_time())) as watch:
            async for told in watch:
                yield render_server_sent(told, caller)


def _last_event_id(context: Context) -> str:
    for name, value in context.invocation_metadata() or ():
        if name == "last-event-id" and isinstance(value, str):
            return value
    return ""
