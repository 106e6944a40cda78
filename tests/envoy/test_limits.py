import asyncio
from pathlib import Path

import pytest

from tests.envoy.gateway import Gateway, running_gateway, wait_for_status
from tests.envoy.upstream import Upstream

BODY_BYTES_MAX = 65_536


class TestBodySize:
    async def test_largest_body_passes(self, gateway: Gateway) -> None:
        frame = '{"username": ""}'
        body = frame.replace('""', '"' + "a" * (BODY_BYTES_MAX - len(frame)) + '"')
        assert (await gateway.post("/v1/users", body)).status == 200

    @pytest.mark.parametrize("size", [BODY_BYTES_MAX + 1, 100_000])
    async def test_declared_larger_body_is_refused(self, gateway: Gateway, upstream: Upstream, size: int) -> None:
        before = upstream.users.calls
        reply = await gateway.post("/v1/users", " " * size)
        assert (reply.status, reply.reason, reply.json()["code"]) == (413, "REQUEST_TOO_LARGE", 3)
        assert upstream.users.calls == before

    async def test_chunked_larger_body_is_refused(self, gateway: Gateway, upstream: Upstream) -> None:
        before = upstream.users.calls
        reply = await gateway.post("/v1/users", [b'{"username": "a"', *[b" " * 1_000] * 70, b"}"])
        assert (reply.status, reply.reason) == (413, "REQUEST_TOO_LARGE")
        assert upstream.users.calls == before

    async def test_answer_beyond_4_mib_is_an_internal_error(self, gateway: Gateway) -> None:
        reply = await gateway.get("/v1/transfers?reference=huge")
        assert (reply.status, reply.reason, reply.json()["code"]) == (500, "INTERNAL", 13)
        assert reply.json()["details"][1] == {
            "@type": "type.googleapis.com/google.rpc.RequestInfo",
            "request_id": reply.headers["x-request-id"],
            "serving_data": "",
        }


class TestSlowClient:
    async def test_unfinished_headers_are_cut_off_while_others_are_served(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        limits = {"request_headers_timeout: 10s": "request_headers_timeout: 1s"}
        async with running_gateway(tmp_path, [upstream.port], limits=limits) as gateway:
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            request = b"GET /v1/users/me HTTP/1.1\r\nHost: a\r\nx-slow: "
            slow = [asyncio.create_task(gateway.send_raw(request)) for _ in range(50)]
            while not all(task.done() for task in slow):
                assert (await gateway.get("/v1/users/me")).status == 200
                await asyncio.sleep(0.1)
        for task in slow:
            assert task.result().startswith(b"HTTP/1.1 408 ")
            assert b'"reason":"DEADLINE_EXCEEDED"' in task.result()

    async def test_unfinished_body_is_cut_off(self, gateway: Gateway, upstream: Upstream) -> None:
        before = upstream.users.calls
        request = b"POST /v1/users HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\ngrpc-timeout: 1S\r\n\r\n{"
        answer = await asyncio.wait_for(gateway.send_raw(request), 15)
        # The gateway's clock or the server's, whichever is first.
        assert answer.split(b" ")[1] in {b"408", b"504"}
        assert b'"code":4' in answer
        assert upstream.users.calls == before


class TestTooMany:
    async def test_calls_beyond_the_cap_are_overloaded_and_not_sent(self, upstream: Upstream, tmp_path: Path) -> None:
        limits = {"max_requests: 8192": "max_requests: 2"}
        async with running_gateway(tmp_path, [upstream.port], limits=limits) as gateway:
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            before = upstream.users.calls
            replies = await asyncio.gather(*(gateway.get("/v1/users/sleep.2") for _ in range(5)))
        refused = [reply for reply in replies if reply.status == 503]
        assert [reply.reason for reply in refused] == ["OVERLOADED"] * 3
        assert refused[0].json()["details"][1]["retry_delay"] == "1s"
        assert upstream.users.calls == before + 2

    async def test_connections_beyond_the_cap_are_closed(self, upstream: Upstream, tmp_path: Path) -> None:
        limits = {"connections: 4096": "connections: 2"}
        async with running_gateway(tmp_path, [upstream.port], limits=limits) as gateway:
            # Connections made while the gateway starts are not counted.
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            await asyncio.sleep(0.5)
            held = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
            async with asyncio.timeout(15):
                while await is_let_in(gateway):
                    await asyncio.sleep(0.05)
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            async with asyncio.timeout(15):
                while not await is_let_in(gateway):
                    await asyncio.sleep(0.05)


async def is_let_in(gateway: Gateway) -> bool:
    """Whether one more connection is not closed at once."""
    try:
        return (await gateway.get("/healthz")).status == 200
    except ConnectionError:
        return False
