import json
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from bank.v1 import user_service_pb2, user_service_pb2_grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from tests.envoy.gateway import Gateway, running_gateway, wait_for_status
from tests.envoy.upstream import DETAILS, Upstream


@pytest.fixture(params=["port", "grpc_port"])
async def channel(gateway: Gateway, request: pytest.FixtureRequest) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to either port: both speak gRPC."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{getattr(gateway, request.param)}") as channel:
        yield channel


@pytest.fixture
def users(channel: grpc.aio.Channel) -> user_service_pb2_grpc.UserServiceStub:
    return user_service_pb2_grpc.UserServiceStub(channel)


def get_user(user_id: str) -> user_service_pb2.GetUserRequest:
    return user_service_pb2.GetUserRequest(user_id=user_id)


def unpacked(packed: Any, like: Message) -> Message:
    message = type(like)()
    assert packed.Unpack(message)
    return message


async def listed_services(channel: grpc.aio.Channel) -> list[str]:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for answer in stub.ServerReflectionInfo(iter([request])):
        return [service.name for service in answer.list_services_response.service]
    return []


class TestNativeCall:
    async def test_unary_call_passes(self, users: user_service_pb2_grpc.UserServiceStub) -> None:
        assert (await users.GetUser(get_user("me"))).user.id == "me"

    async def test_compressed_call_passes(self, users: user_service_pb2_grpc.UserServiceStub) -> None:
        assert (await users.GetUser(get_user("me"), compression=grpc.Compression.Gzip)).user.id == "me"

    async def test_claims_do_not_arrive_but_metadata_does(self, users: user_service_pb2_grpc.UserServiceStub) -> None:
        sent = [("x-envoy-original-path", "/evil"), ("x-user-id", "1"), ("any-bin", b"\x00"), ("idempotency-key", "k")]
        received = json.loads((await users.GetUser(get_user("me"), metadata=sent)).user.full_name)
        assert received["idempotency-key"] == "k"
        assert not received.keys() & {"x-envoy-original-path", "x-user-id", "any-bin"}

    async def test_error_arrives_with_code_message_and_details(
        self, users: user_service_pb2_grpc.UserServiceStub
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.GetUser(get_user("details."))
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "refused")
        status = rpc_status.from_call(caught.value)
        assert [unpacked(packed, sent) for packed, sent in zip(status.details, DETAILS, strict=True)] == DETAILS

    async def test_health_is_reachable(self, channel: grpc.aio.Channel) -> None:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING

    async def test_passed_deadline_is_deadline_exceeded(self, users: user_service_pb2_grpc.UserServiceStub) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.GetUser(get_user("sleep.5"), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


class TestRefusedNativeCall:
    @pytest.mark.parametrize(
        "method",
        [
            "/other.Service/Call",
            "/bank.v1.UserService/Unknown",
            "/v1/users/me",
            "/healthz",
            "/grpc.channelz.v1.Channelz/GetServers",
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ],
    )
    async def test_what_is_not_served_is_unimplemented(self, channel: grpc.aio.Channel, method: str) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    async def test_message_too_large_is_invalid(
        self, users: user_service_pb2_grpc.UserServiceStub, upstream: Upstream
    ) -> None:
        before = upstream.users.calls
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await users.CreateUser(user_service_pb2.CreateUserRequest(username="a" * 70_000))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert upstream.users.calls == before


class TestReflection:
    async def test_reflection_lists_services_where_it_is_let_through(self, upstream: Upstream, tmp_path: Path) -> None:
        async with running_gateway(tmp_path, [upstream.port], reflection=True) as gateway:
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
                assert "bank.v1.UserService" in await listed_services(channel)
