"""Requests of SessionService to commands, sessions to protobuf."""

from uuid import UUID

from bank.v1 import session_service_pb2 as pb
from bankdb.models import Session

from server.caller import Caller
from server.sessions.operations import Credentials, SignedIn
from server.timestamps import to_proto
from server.violations import Violations


def parse_create_session(request: pb.CreateSessionRequest) -> Credentials:
    """What to sign in with; nothing is refused here, so that every failure is answered alike."""
    return Credentials(request.username, request.password)


def parse_list_sessions(request: pb.ListSessionsRequest) -> tuple[int, str]:
    """Size and token of the page."""
    check = Violations()
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return page_size, request.page_token


def parse_revoke_session(request: pb.RevokeSessionRequest) -> UUID:
    """Which session to end."""
    check = Violations()
    session_id = check.uuid("session_id", request.session_id)
    check.raise_if_any()
    return session_id


def render_created(signed_in: SignedIn) -> pb.CreateSessionResponse:
    """The session and its first tokens."""
    return pb.CreateSessionResponse(
        session=render_session(signed_in.session, current_id=signed_in.session.id),
        access_token=signed_in.access_token,
        access_token_expire_time=to_proto(signed_in.access_token_expire_time),
        refresh_token=signed_in.refresh_token,
        refresh_token_expire_time=to_proto(signed_in.session.idle_expire_time),
    )


def render_refreshed(signed_in: SignedIn) -> pb.RefreshSessionResponse:
    """The session and its newest tokens."""
    return pb.RefreshSessionResponse(
        session=render_session(signed_in.session, current_id=signed_in.session.id),
        access_token=signed_in.access_token,
        access_token_expire_time=to_proto(signed_in.access_token_expire_time),
        refresh_token=signed_in.refresh_token,
        refresh_token_expire_time=to_proto(signed_in.session.idle_expire_time),
    )


def render_listed(sessions: list[Session], next_page_token: str, caller: Caller) -> pb.ListSessionsResponse:
    """One page of sessions; the caller's own is marked."""
    return pb.ListSessionsResponse(
        sessions=[render_session(session, current_id=caller.session_id) for session in sessions],
        next_page_token=next_page_token,
    )


def render_session(session: Session, *, current_id: UUID) -> pb.Session:
    """A session as its owner sees it."""
    return pb.Session(
        id=str(session.id),
        user_agent=session.user_agent,
        client_address=session.client_address,
        create_time=to_proto(session.create_time),
        last_refresh_time=to_proto(session.last_refresh_time),
        expire_time=to_proto(session.expire_time),
        current=session.id == current_id,
    )
