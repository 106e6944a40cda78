"""Questions that tell whether a service is ready."""

import asyncio
from contextlib import suppress

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from local.settings import LOOPBACK


async def accepts_connections(port: int) -> bool:
    with suppress(OSError):
        _, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.close()
        return True
    return False


async def answers_http(port: int, path: str) -> bool:
    """Whether GET answers 200."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            return b" 200 " in await reader.readline()
        finally:
            writer.close()
    return False


async def serves_grpc(port: int) -> bool:
    """Whether the health service says SERVING."""
    async with grpc.aio.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        with suppress(grpc.aio.AioRpcError):
            answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    return False
