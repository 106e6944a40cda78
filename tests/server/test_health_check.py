"""`python -m server.health_check` against a real health service."""

import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio

from local.ports import free_ports
from local.settings import ROOT

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Processes:
    """Health services on neighbouring ports, as of one server with several processes."""

    def __init__(self) -> None:
        self.port = free_ports(2)
        self.health = [health_aio.HealthServicer(), health_aio.HealthServicer()]
        self.servers: list[grpc.aio.Server] = []

    async def start(self) -> None:
        for process, health in enumerate(self.health):
            server = grpc.aio.server()
            health_pb2_grpc.add_HealthServicer_to_server(health, server)
            server.add_insecure_port(f"127.0.0.1:{self.port + process}")
            await server.start()
            self.servers.append(server)
            await health.set("", SERVING)
            await health.set("liveness", SERVING)

    async def check(self, *arguments: str, **variables: str) -> tuple[int | None, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
            "BANK_ENVIRONMENT": "test",
            "DATABASE_URL": "postgresql://db/bank",
            "REDIS_URL": "redis://cache",
            "TOKEN_KEYS_FILE": "/nowhere",
            "SERVER_PORT": str(self.port),
            "SERVER_HOST": "0.0.0.0",
            "SERVER_PROCESSES": "2",
            **variables,
        }
        command = (sys.executable, "-m", "server.health_check", *arguments)
        process = await create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE)
        _, complaints = await process.communicate()
        return process.returncode, complaints.decode()


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    processes = Processes()
    await processes.start()
    yield processes
    for server in processes.servers:
        await server.stop(None)


class TestHealthCheck:
    async def test_all_processes_serving_is_healthy(self, processes: Processes) -> None:
        assert await processes.check() == (0, "")

    async def test_one_that_does_not_serve_is_named(self, processes: Processes) -> None:
        await processes.health[1].set("", NOT_SERVING)
        assert await processes.check() == (1, f"127.0.0.1:{processes.port + 1} is not serving\n")
        assert await processes.check("liveness") == (0, "")

    async def test_one_that_is_gone_is_named(self, processes: Processes) -> None:
        await processes.servers[0].stop(None)
        assert await processes.check("liveness") == (1, f"127.0.0.1:{processes.port} is not serving\n")

    async def test_refused_settings_have_a_status_of_their_own(self, processes: Processes) -> None:
        status, complaints = await processes.check(SERVER_PORT="x")
        assert status == 2
        assert complaints.startswith("SERVER_PORT: ")
