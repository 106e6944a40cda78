"""What callers see when server processes die, hang, leave or return."""

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import grpc
import pytest
from bank.v1 import user_service_pb2, user_service_pb2_grpc

from local.ports import free_ports
from local.probes import serves_grpc
from local.process import Child, Service, start_service
from tests.clocks import Stalls
from tests.envoy.gateway import Gateway, running_gateway, wait_for_status
from tests.envoy.upstream import start_upstream

NOTICED_WITHIN_S = 1.5
"""Of a gateway that is given the time; what the machine stands still is not counted."""
PATIENCE_S = 20.0
CALLERS = 8


@pytest.fixture
async def replicas(tmp_path: Path) -> AsyncIterator[list[Child]]:
    """Two server processes on neighbouring ports."""
    first = free_ports(2)
    children = []
    try:
        for port in (first, first + 1):
            command = [sys.executable, "-m", "tests.envoy.upstream", str(port)]
            environment = {**os.environ, "PYTHONPATH": ".:gen"}
            service = Service(f"server-{port}", command, partial(serves_grpc, port), environment, grace_s=1)
            children.append(await start_service(service, tmp_path))
        for child in children:
            await asyncio.wait_for(child.wait_ready(), 20)
        yield children
    finally:
        for child in children:
            child.signal(signal.SIGCONT)
            await child.stop()


@pytest.fixture
async def gateway(replicas: list[Child], tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that has seen both processes healthy."""
    ports = [int(child.service.command[-1]) for child in replicas]
    async with running_gateway(tmp_path, ports) as gateway:
        answering: set[str] = set()
        async with asyncio.timeout(PATIENCE_S):
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            while len(answering) < len(ports):
                user = (await gateway.get("/v1/users/me")).json()["user"]
                answering.add(json.loads(user["full_name"])["process"])
        yield gateway


async def assert_noticed(gateway: Gateway, path: str, status: int) -> None:
    """The gateway soon answers with this status."""
    began = time.monotonic()
    async with Stalls() as stalls:
        await wait_for_status(gateway, path, status, PATIENCE_S)
    assert time.monotonic() - began - stalls.total_s < NOTICED_WITHIN_S


class TestOneOfTwoKilled:
    async def test_only_calls_in_flight_on_it_fail(self, gateway: Gateway, replicas: list[Child]) -> None:
        outcomes: Counter[str] = Counter()
        last_failure = start = killed = time.monotonic()

        async def call_repeatedly(users: user_service_pb2_grpc.UserServiceStub) -> None:
            nonlocal last_failure
            while time.monotonic() < start + 3:
                try:
                    await users.GetUser(user_service_pb2.GetUserRequest(user_id="sleep.0_02"))
                    outcomes["OK"] += 1
                except grpc.aio.AioRpcError as error:
                    outcomes[error.code().name] += 1
                    last_failure = time.monotonic()

        async def kill_later() -> None:
            nonlocal killed
            await asyncio.sleep(1)
            killed = time.monotonic()
            replicas[0].signal(signal.SIGKILL)

        async with Stalls() as stalls, grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
            users = user_service_pb2_grpc.UserServiceStub(channel)
            await asyncio.gather(kill_later(), *(call_repeatedly(users) for _ in range(CALLERS)))
        assert outcomes.keys() <= {"OK", "UNAVAILABLE"}
        assert outcomes["OK"] > 100
        assert 1 <= outcomes["UNAVAILABLE"] <= CALLERS + 2
        assert last_failure - killed < NOTICED_WITHIN_S + stalls.total_s

    async def test_call_in_flight_is_told_that_its_outcome_is_unknown(
        self, gateway: Gateway, replicas: list[Child]
    ) -> None:
        call = asyncio.create_task(gateway.get("/v1/users/sleep.10"))
        await asyncio.sleep(2)
        for child in replicas:
            child.signal(signal.SIGKILL)
        reply = await call
        assert (reply.status, reply.reason) == (503, "UNAVAILABLE")
        assert "may have taken effect or not" in reply.json()["message"]

    async def test_its_return_is_noticed(self, gateway: Gateway, replicas: list[Child], tmp_path: Path) -> None:
        for child in replicas:
            await child.stop()
        await assert_noticed(gateway, "/readyz", 503)
        replicas.append(await start_service(replicas[0].service, tmp_path))
        await asyncio.wait_for(replicas[-1].wait_ready(), 20)
        await assert_noticed(gateway, "/v1/users/me", 200)


class TestAllGone:
    async def test_json_call_is_a_503_in_the_one_shape(self, gateway: Gateway, replicas: list[Child]) -> None:
        for child in replicas:
            await child.stop()
        for _ in range(2):
            reply = await gateway.get("/v1/users/me")
            assert (reply.status, reply.reason, reply.json()["code"]) == (503, "UNAVAILABLE", 14)
            assert "nothing was done" in reply.json()["message"]
            assert reply.json()["details"][2]["request_id"] == reply.headers["x-request-id"]
            await assert_noticed(gateway, "/readyz", 503)

    async def test_native_call_is_unavailable(self, gateway: Gateway, replicas: list[Child]) -> None:
        for child in replicas:
            await child.stop()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.grpc_port}") as channel:
            users = user_service_pb2_grpc.UserServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await users.GetUser(user_service_pb2.GetUserRequest(user_id="me"))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE

    async def test_gateway_itself_stays_alive(self, gateway: Gateway, replicas: list[Child]) -> None:
        for child in replicas:
            await child.stop()
        await assert_noticed(gateway, "/readyz", 503)
        assert (await gateway.get("/healthz")).status == 200
        assert (await gateway.get("/docs/")).status == 200


class TestAllHang:
    async def test_deadline_is_kept_without_the_server_s_help(self, gateway: Gateway, replicas: list[Child]) -> None:
        for child in replicas:
            child.signal(signal.SIGSTOP)
        start = time.monotonic()
        async with Stalls() as stalls:
            reply = await gateway.get("/v1/users/me", ("grpc-timeout", "500m"))
        assert time.monotonic() - start < 1.5 + stalls.total_s
        assert (reply.status, reply.reason, reply.json()["code"]) == (504, "DEADLINE_EXCEEDED", 4)


class TestLeaving:
    async def test_process_that_says_not_serving_gets_no_new_calls(self, tmp_path: Path) -> None:
        leaving, staying = [await start_upstream(port) for port in (free_ports(1), free_ports(1))]
        async with running_gateway(tmp_path, [leaving.port, staying.port]) as gateway:
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            async with asyncio.timeout(PATIENCE_S):
                while not (leaving.users.calls and staying.users.calls):
                    await gateway.get("/v1/users/me")
            await leaving.set_serving(False)
            await asyncio.sleep(2 * NOTICED_WITHIN_S)
            before = leaving.users.calls
            for _ in range(20):
                assert (await gateway.get("/v1/users/me")).status == 200
            assert leaving.users.calls == before
            assert staying.users.calls >= 20
        for upstream in (leaving, staying):
            await upstream.server.stop(None)
