"""bank.v1.SessionService over a real channel: answers, codes and reasons."""

import asyncio

import grpc
import pytest
from bank.v1 import session_service_pb2 as pb
from bank.v1 import user_service_pb2 as user_pb
from bank.v1.session_service_pb2_grpc import SessionServiceStub
from bank.v1.user_service_pb2_grpc import UserServiceStub
from bankdb.models import User

from server.caller import Role
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, bearer, caller_for, everything, new_user, refusal, sign_in


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> SessionServiceStub:
    return SessionServiceStub(channel)


@pytest.fixture
async def signed_in(alice: User, channel: grpc.aio.Channel) -> pb.CreateSessionResponse:
    return await sign_in(channel)


class TestCreateSession:
    async def test_tokens_and_session_are_returned_with_their_times(
        self, stub: SessionServiceStub, alice: User
    ) -> None:
        request = pb.CreateSessionRequest(username="Alice", password=PASSWORD)
        metadata = (("x-envoy-external-address", "203.0.113.7"), ("x-forwarded-for", "198.51.100.1, 192.0.2.1"))
        created = await stub.CreateSession(request, metadata=metadata)
        session = created.session
        assert session.current
        assert session.client_address == "203.0.113.7"
        assert "grpc" in session.user_agent
        began = session.create_time.seconds
        assert created.access_token_expire_time.seconds - began == 900
        assert created.refresh_token_expire_time.seconds - began == 3600
        assert session.expire_time.seconds - began == 7200

    async def test_every_failure_is_answered_alike(
        self, stub: SessionServiceStub, alice: User, users: Users, database: MigratedDatabase
    ) -> None:
        bob = await users.create(new_user("bob"))
        await users.disable(bob.id, caller_for(NOBODY, Role.ADMIN))
        before = await everything(database.pool)
        texts = set()
        wrong = (("alice", "wrong"), ("nobody", PASSWORD), ("bob", PASSWORD), ("", ""))
        for username, password in wrong:
            call = stub.CreateSession(pb.CreateSessionRequest(username=username, password=password))
            assert await refusal(call) == ("UNAUTHENTICATED", "BAD_CREDENTIALS")
            texts.add(await call.details())
        assert len(texts) == 1
        after = await everything(database.pool)
        recorded = after["audit_events"][len(before["audit_events"]) :]
        assert [row["type"] for row in recorded] == ["SIGN_IN_FAILED"] * len(wrong)
        assert {**after, "audit_events": before["audit_events"]} == before


class TestRefreshSession:
    async def test_new_tokens_are_good_and_the_old_one_returns_them_for_a_while(
        self, stub: SessionServiceStub, channel: grpc.aio.Channel, signed_in: pb.CreateSessionResponse
    ) -> None:
        request = pb.RefreshSessionRequest(refresh_token=signed_in.refresh_token)
        first, again = await stub.RefreshSession(request), await stub.RefreshSession(request)
        assert first.refresh_token == again.refresh_token != signed_in.refresh_token
        assert first.session.id == signed_in.session.id
        me = await UserServiceStub(channel).GetUser(
            user_pb.GetUserRequest(user_id="me"), metadata=bearer(first.access_token)
        )
        assert me.user.username == "alice"

    async def test_refusals_have_their_reasons(
        self, stub: SessionServiceStub, signed_in: pb.CreateSessionResponse, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)
        for wrong in ("", signed_in.access_token, signed_in.refresh_token[:-1]):
            call = stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=wrong))
            assert await refusal(call) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await everything(database.pool) == before
        revoke = pb.RevokeSessionRequest(session_id=signed_in.session.id)
        await stub.RevokeSession(revoke, metadata=bearer(signed_in.access_token))
        call = stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=signed_in.refresh_token))
        assert await refusal(call) == ("UNAUTHENTICATED", "SESSION_REVOKED")


class TestListSessions:
    async def test_own_session_is_marked(
        self, stub: SessionServiceStub, channel: grpc.aio.Channel, signed_in: pb.CreateSessionResponse
    ) -> None:
        other = await sign_in(channel)
        listed = await stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(signed_in.access_token))
        current = [(session.id, session.current) for session in listed.sessions]
        assert current == [(other.session.id, False), (signed_in.session.id, True)]

    async def test_refusals_have_their_reasons(
        self, stub: SessionServiceStub, signed_in: pb.CreateSessionResponse
    ) -> None:
        metadata = bearer(signed_in.access_token)
        assert await refusal(stub.ListSessions(pb.ListSessionsRequest())) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        negative = pb.ListSessionsRequest(page_size=-1)
        assert await refusal(stub.ListSessions(negative, metadata=metadata)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        forged = pb.ListSessionsRequest(page_token="x")
        refused = await refusal(stub.ListSessions(forged, metadata=metadata))
        assert refused == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")

    @pytest.mark.parametrize(
        "authorization", ["", "Bearer", "Bearer ", "Basic x", "Bearer x", "Bearer " + "x" * 6000, "bearer x, Bearer y"]
    )
    async def test_what_is_no_access_token_is_answered_alike(
        self, stub: SessionServiceStub, authorization: str
    ) -> None:
        call = stub.ListSessions(pb.ListSessionsRequest(), metadata=(("authorization", authorization),))
        assert await refusal(call) == ("UNAUTHENTICATED", "UNAUTHENTICATED")

    async def test_refresh_token_is_no_access_token(
        self, stub: SessionServiceStub, signed_in: pb.CreateSessionResponse
    ) -> None:
        call = stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(signed_in.refresh_token))
        assert await refusal(call) == ("UNAUTHENTICATED", "UNAUTHENTICATED")


class TestRevokeSession:
    async def test_access_token_of_a_revoked_session_ends_within_a_second(
        self, stub: SessionServiceStub, signed_in: pb.CreateSessionResponse
    ) -> None:
        metadata = bearer(signed_in.access_token)
        request = pb.RevokeSessionRequest(session_id=signed_in.session.id)
        for _ in range(2):
            assert await stub.RevokeSession(request, metadata=metadata) == pb.RevokeSessionResponse()
        await asyncio.sleep(1)
        refused = await refusal(stub.ListSessions(pb.ListSessionsRequest(), metadata=metadata))
        assert refused == ("UNAUTHENTICATED", "SESSION_REVOKED")

    async def test_refusals_have_their_reasons_and_write_nothing(
        self,
        stub: SessionServiceStub,
        channel: grpc.aio.Channel,
        users: Users,
        signed_in: pb.CreateSessionResponse,
        database: MigratedDatabase,
    ) -> None:
        await users.create(new_user("bob"))
        metadata = bearer((await sign_in(channel, "bob")).access_token)
        before = await everything(database.pool)
        foreign = pb.RevokeSessionRequest(session_id=signed_in.session.id)
        assert await refusal(stub.RevokeSession(foreign)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        for session_id in (signed_in.session.id, str(NOBODY)):
            request = pb.RevokeSessionRequest(session_id=session_id)
            assert await refusal(stub.RevokeSession(request, metadata=metadata)) == ("NOT_FOUND", "NOT_FOUND")
        malformed = pb.RevokeSessionRequest(session_id="current")
        refused = await refusal(stub.RevokeSession(malformed, metadata=metadata))
        assert refused == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert await everything(database.pool) == before

    async def test_disabled_user_is_refused_within_a_second(
        self, stub: SessionServiceStub, alice: User, users: Users, signed_in: pb.CreateSessionResponse
    ) -> None:
        metadata = bearer(signed_in.access_token)
        await stub.ListSessions(pb.ListSessionsRequest(), metadata=metadata)
        await users.disable(alice.id, caller_for(NOBODY, Role.ADMIN))
        await asyncio.sleep(1)
        refused = await refusal(stub.ListSessions(pb.ListSessionsRequest(), metadata=metadata))
        assert refused == ("UNAUTHENTICATED", "SESSION_REVOKED")


class TestRevokeAllSessions:
    async def test_no_token_of_any_session_is_good_within_a_second(
        self, stub: SessionServiceStub, channel: grpc.aio.Channel, signed_in: pb.CreateSessionResponse
    ) -> None:
        other = await sign_in(channel)
        await stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(other.access_token))
        revoked = await stub.RevokeAllSessions(pb.RevokeAllSessionsRequest(), metadata=bearer(signed_in.access_token))
        assert revoked == pb.RevokeAllSessionsResponse(revoked_count=2)
        await asyncio.sleep(1)
        for ended in (signed_in, other):
            call = stub.ListSessions(pb.ListSessionsRequest(), metadata=bearer(ended.access_token))
            assert await refusal(call) == ("UNAUTHENTICATED", "SESSION_REVOKED")
            call = stub.RefreshSession(pb.RefreshSessionRequest(refresh_token=ended.refresh_token))
            assert await refusal(call) == ("UNAUTHENTICATED", "SESSION_REVOKED")

    async def test_caller_without_token_is_refused_and_nothing_changes(
        self, stub: SessionServiceStub, signed_in: pb.CreateSessionResponse, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)
        refused = await refusal(stub.RevokeAllSessions(pb.RevokeAllSessionsRequest()))
        assert refused == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await everything(database.pool) == before
