"""bank.v1.SessionService: parse, call, render."""

from typing import Any

import grpc
from bank.v1 import session_service_pb2 as pb
from bank.v1.session_service_pb2_grpc import SessionServiceServicer

from server.caller import current_caller, current_origin
from server.sessions.messages import (
    parse_create_session,
    parse_list_sessions,
    parse_revoke_session,
    render_created,
    render_listed,
    render_refreshed,
)
from server.sessions.operations import Sessions

Context = grpc.aio.ServicerContext[Any, Any]


class SessionServicer(SessionServiceServicer):
    """bank.v1.SessionService."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Context) -> pb.CreateSessionResponse:
        return render_created(await self._sessions.create(parse_create_session(request), current_origin()))

    async def RefreshSession(self, request: pb.RefreshSessionRequest, context: Context) -> pb.RefreshSessionResponse:
        return render_refreshed(await self._sessions.refresh(request.refresh_token))

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        caller = current_caller()
        return render_listed(*await self._sessions.page(*parse_list_sessions(request), caller), caller)

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Context) -> pb.RevokeSessionResponse:
        await self._sessions.revoke(parse_revoke_session(request), current_caller())
        return pb.RevokeSessionResponse()

    async def RevokeAllSessions(
        self, request: pb.RevokeAllSessionsRequest, context: Context
    ) -> pb.RevokeAllSessionsResponse:
        return pb.RevokeAllSessionsResponse(revoked_count=await self._sessions.revoke_all(current_caller()))
