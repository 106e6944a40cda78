"""How many calls one client address may make: pages, JSON and gRPC together."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import grpc
import pytest
from bank.v1 import user_service_pb2, user_service_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.envoy.gateway import Gateway, Reply, running_gateway, wait_for_status
from tests.envoy.upstream import Upstream

CALLS_PER_SECOND = 4
BURST = 2 * CALLS_PER_SECOND
SHIPPED_FILL, SLOW_FILL = "fill_interval: 1s", "fill_interval: 60s"
REFUSAL = "too many calls from this address, nothing was done: wait before the next one"


@pytest.fixture
async def narrow(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Gateway]:
    """A gateway that lets little through, and hardly anything later, and believes the proxy in front of it."""
    async with running_narrow(tmp_path, upstream, {SHIPPED_FILL: SLOW_FILL}) as gateway:
        yield gateway


@asynccontextmanager
async def running_narrow(folder: Path, upstream: Upstream, limits: Mapping[str, str]) -> AsyncIterator[Gateway]:
    async with running_gateway(
        folder, [upstream.port], calls_per_second=CALLS_PER_SECOND, xff_trusted_hops=1, limits=limits
    ) as gateway:
        await wait_for_status(gateway, "/readyz", 200, within_s=15)
        yield gateway


async def flood(gateway: Gateway, address: str, calls: int = 2 * BURST, path: str = "/v1/users/me") -> list[Reply]:
    """As many calls at once, from this address."""
    return await asyncio.gather(*(gateway.get(path, ("x-forwarded-for", address)) for _ in range(calls)))


def passed_of(replies: list[Reply]) -> int:
    return sum(reply.status == 200 for reply in replies)


class TestRateLimit:
    async def test_surplus_is_told_so_and_not_handed_on(self, narrow: Gateway, upstream: Upstream) -> None:
        before = upstream.users.calls
        replies = await flood(narrow, "203.0.113.7")
        passed = passed_of(replies)
        assert BURST <= passed <= BURST + 1
        assert upstream.users.calls == before + passed
        refused = [reply for reply in replies if reply.status == 429]
        assert len(refused) == len(replies) - passed
        assert refused[0].json() == {
            "code": 8,
            "message": REFUSAL,
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "RATE_LIMITED",
                    "domain": "bank.v1",
                    "metadata": {},
                },
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"subject": "RATE_LIMITED", "description": REFUSAL}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retry_delay": "1s"},
                {
                    "@type": "type.googleapis.com/google.rpc.RequestInfo",
                    "request_id": refused[0].headers["x-request-id"],
                    "serving_data": "",
                },
            ],
        }

    async def test_bucket_fills_again_as_fast_as_calls_may_go_on(self, upstream: Upstream, tmp_path: Path) -> None:
        async with running_narrow(tmp_path, upstream, {}) as gateway:
            began = monotonic()
            first = passed_of(await flood(gateway, "203.0.113.7"))
            await asyncio.sleep(1)
            again = passed_of(await flood(gateway, "203.0.113.7"))
            seconds = monotonic() - began
        assert CALLS_PER_SECOND <= again <= BURST + CALLS_PER_SECOND
        assert first + again <= BURST + CALLS_PER_SECOND * (seconds + 1)

    async def test_pages_and_unknown_paths_count_too(self, narrow: Gateway) -> None:
        await flood(narrow, "203.0.113.7", path="/docs/errors.html")
        for path in ("/", "/docs/", "/docs/openapi.json", "/v1/nothing", "/nothing"):
            (reply,) = await flood(narrow, "203.0.113.7", 1, path)
            assert (reply.status, reply.reason) == (429, "RATE_LIMITED")

    async def test_addresses_do_not_share(self, narrow: Gateway) -> None:
        for number in range(1, 30):
            replies = await flood(narrow, f"203.0.113.{number}", 3)
            assert [reply.status for reply in replies] == [200] * 3

    async def test_neighbours_in_one_ipv6_network_share(self, narrow: Gateway) -> None:
        await flood(narrow, "2001:db8:0:1::1")
        (neighbour,) = await flood(narrow, "2001:db8:0:1:ffff::2", 1)
        (stranger,) = await flood(narrow, "2001:db8:0:2::1", 1)
        assert (neighbour.status, stranger.status) == (429, 200)

    async def test_address_that_a_client_claims_has_no_bucket_of_its_own(self, narrow: Gateway) -> None:
        claims = [f"6.6.6.{number}, 203.0.113.7" for number in range(2 * BURST)]
        replies = [reply for claim in claims for reply in await flood(narrow, claim, 1)]
        assert 429 in {reply.status for reply in replies}

    async def test_checks_of_health_pass_by_it(self, narrow: Gateway) -> None:
        address = ("x-forwarded-for", "203.0.113.7")
        await flood(narrow, "203.0.113.7")
        for _ in range(2 * BURST):
            assert [(await narrow.get(path, address)).status for path in ("/healthz", "/readyz")] == [200, 200]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{narrow.grpc_port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for _ in range(2 * BURST):
                await health.Check(health_pb2.HealthCheckRequest(), metadata=[address])

    async def test_grpc_client_is_told_in_its_own_way(self, narrow: Gateway, upstream: Upstream) -> None:
        before = upstream.users.calls
        async with grpc.aio.insecure_channel(f"127.0.0.1:{narrow.grpc_port}") as channel:
            stub = user_service_pb2_grpc.UserServiceStub(channel)
            metadata = [("x-forwarded-for", "203.0.113.7")]
            calls = [
                stub.GetUser(user_service_pb2.GetUserRequest(user_id="me"), metadata=metadata) for _ in range(2 * BURST)
            ]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
        assert BURST <= len(outcomes) - len(refused) <= BURST + 1
        assert {(each.code(), each.details()) for each in refused} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, REFUSAL)}
        assert upstream.users.calls == before + len(outcomes) - len(refused)
