"""`python -m server` as a process: what stops it from starting, its children, its signals, what it writes."""

import asyncio
import json
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from bank.v1 import session_service_pb2
from bank.v1.session_service_pb2_grpc import SessionServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local.ports import free_ports
from local.settings import ROOT

PASSWORD = "seven blue herons at dusk"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "SERVER_PORT": str(free_ports(2)), "METRICS_PORT": "0"}


async def start(environment: dict[str, str], *arguments: str) -> Process:
    command = (sys.executable, "-m", "server", *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=PIPE, stderr=PIPE)


async def run(environment: dict[str, str], *arguments: str) -> tuple[int | None, str, str]:
    """Exit status and what was written."""
    process = await start(environment, *arguments)
    try:
        written, complaints = await asyncio.wait_for(process.communicate(), 15)
    finally:
        if process.returncode is None:
            process.kill()
    return process.returncode, written.decode(), complaints.decode()


@asynccontextmanager
async def serving(environment: dict[str, str], processes: int) -> AsyncIterator[Process]:
    """A server that is ready on all its ports."""
    process = await start(environment, "--processes", str(processes))
    try:
        for number in range(processes):
            await asyncio.wait_for(ready(int(environment["SERVER_PORT"]) + number), 20)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def ready(port: int) -> None:
    while True:
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
        except grpc.aio.AioRpcError:
            pass
        await asyncio.sleep(0.1)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def hashing(pids: list[int]) -> list[int]:
    """The processes that hash passwords for these, one for each."""
    found = [child for pid in pids for child in children(pid)]
    assert len(found) == len(pids)
    return found


async def until(condition: Callable[[], bool], within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.05)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


class TestRefusal:
    async def test_missing_settings_are_named_all_at_once(self) -> None:
        status, written, complaints = await run({"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"})
        assert (status, written) == (2, "")
        missing = "; ".join(f"{name}: Field required" for name in ("DATABASE_URL", "REDIS_URL", "TOKEN_KEYS_FILE"))
        assert complaints == f"refusing to start: {missing}\n"

    async def test_missing_keys_file_says_how_to_make_one(self, environment: dict[str, str]) -> None:
        path = environment["TOKEN_KEYS_FILE"] = environment["TOKEN_KEYS_FILE"] + ".gone"
        status, written, complaints = await run(environment)
        assert (status, written) == (2, "")
        assert complaints == f"refusing to start: {path} is missing: make it with `python -m server.keys new {path}`\n"

    async def test_unsafe_production_tells_no_secret(self, environment: dict[str, str]) -> None:
        status, _, complaints = await run({**environment, "BANK_ENVIRONMENT": "production"})
        assert status == 2
        assert "PUBLIC_URL must begin with https://" in complaints
        assert "redis-secret" not in complaints
        assert environment["DATABASE_URL"] not in complaints

    async def test_port_in_use_is_named(self, environment: dict[str, str]) -> None:
        with socket.create_server(("127.0.0.1", int(environment["SERVER_PORT"]))):
            status, written, _ = await run(environment, "--processes", "1")
        assert status == 1
        (line,) = (json.loads(line) for line in written.splitlines())
        assert (line["event"], line["level"]) == ("cannot serve", "error")
        assert environment["SERVER_PORT"] in line["cause"]


class TestServe:
    async def test_every_process_serves_on_its_own_port_and_all_end_by_signal(
        self, environment: dict[str, str]
    ) -> None:
        async with serving(environment, 2) as process:
            pids = children(process.pid)
            assert len(pids) == 2
            pids += hashing(pids)
            request = session_service_pb2.CreateSessionRequest(username="alice", password=PASSWORD)
            for number in range(2):
                async with grpc.aio.insecure_channel(
                    f"127.0.0.1:{int(environment['SERVER_PORT']) + number}"
                ) as channel:
                    with pytest.raises(grpc.aio.AioRpcError):
                        await SessionServiceStub(channel).CreateSession(
                            request, metadata=(("authorization", "Bearer token-secret"),)
                        )
            process.send_signal(signal.SIGTERM)
            written, complaints = await asyncio.wait_for(process.communicate(), 15)

        assert (process.returncode, complaints) == (0, b"")
        assert all(map(gone, pids))
        lines = [json.loads(line) for line in written.splitlines()]
        assert {line["process"] for line in lines} == {"server-0", "server-1"}
        for name in ("server-0", "server-1"):
            events = [line["event"] for line in lines if line["process"] == name]
            assert events == ["listening", "ready", "call", "stopping", "stopped"]
        for secret in (PASSWORD, "token-secret", "redis-secret", environment["DATABASE_URL"]):
            assert secret.encode() not in written

    async def test_death_of_one_process_ends_the_others(self, environment: dict[str, str]) -> None:
        async with serving(environment, 2) as process:
            first, second = children(process.pid)
            hashed = hashing([first, second])
            os.kill(first, signal.SIGKILL)
            written, _ = await asyncio.wait_for(process.communicate(), 15)
        assert process.returncode == 1
        assert gone(second)
        await until(lambda: all(map(gone, hashed)), 10)
        assert b"a process ended by itself, stopping the others" in written

    async def test_children_do_not_outlive_a_killed_parent(self, environment: dict[str, str]) -> None:
        async with serving(environment, 2) as process:
            pids = children(process.pid)
            pids += hashing(pids)
            process.kill()
            await process.wait()
            await until(lambda: all(map(gone, pids)), 10)
