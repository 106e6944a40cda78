import asyncio
import json
from pathlib import Path

import pytest

from tests.envoy.gateway import Gateway, Reply, running_gateway, wait_for_status
from tests.envoy.upstream import Upstream


def metadata(reply: Reply) -> dict[str, str]:
    """What the server was handed, which it repeats in its answer."""
    assert reply.status == 200, reply
    received: dict[str, str] = json.loads(reply.json()["user"]["full_name"])
    return received


class TestClaims:
    """What a client says about itself that only the gateway may say."""

    async def test_forged_original_path_is_replaced(self, gateway: Gateway) -> None:
        received = metadata(
            await gateway.get("/v1/users/me", ("x-envoy-original-path", "/evil"), ("x-envoy-original-method", "PUT"))
        )
        assert received["x-envoy-original-path"] == "/v1/users/me"
        assert received["x-envoy-original-method"] == "GET"

    @pytest.mark.parametrize(
        "name", ["x-user-id", "x-user-roles", "x-forwarded-user", "cookie", "traceparent", "x-any-bin"]
    )
    async def test_identity_headers_do_not_arrive(self, gateway: Gateway, name: str) -> None:
        assert name not in metadata(await gateway.get("/v1/users/me", (name, "YWRtaW4=")))

    async def test_certificate_header_does_not_arrive(self, gateway: Gateway) -> None:
        claim = ("x-forwarded-client-cert", "Subject=admin")
        assert claim[0] not in metadata(await gateway.get("/v1/users/me", claim))

    async def test_trace_id_is_made_by_the_gateway(self, gateway: Gateway) -> None:
        reply = await gateway.get("/v1/users/me", ("x-request-id", "forged"))
        assert metadata(reply)["x-request-id"] == reply.headers["x-request-id"] != "forged"

    async def test_client_address_is_the_connection_s(self, gateway: Gateway) -> None:
        forged = [("x-envoy-external-address", "6.6.6.6"), ("x-forwarded-for", "6.6.6.6"), ("x-envoy-internal", "true")]
        received = metadata(await gateway.get("/v1/users/me", *forged))
        assert received["x-envoy-external-address"] == "127.0.0.1"
        assert "x-envoy-internal" not in received

    async def test_client_address_behind_a_trusted_proxy_is_what_the_proxy_saw(
        self, upstream: Upstream, tmp_path: Path
    ) -> None:
        async with running_gateway(tmp_path, [upstream.port], xff_trusted_hops=1) as behind_proxy:
            await wait_for_status(behind_proxy, "/readyz", 200, within_s=15)
            reply = await behind_proxy.get("/v1/users/me", ("x-forwarded-for", "6.6.6.6, 203.0.113.9"))
        assert metadata(reply)["x-envoy-external-address"] == "203.0.113.9"

    async def test_steering_headers_have_no_effect(self, gateway: Gateway, upstream: Upstream) -> None:
        before = upstream.users.calls
        steering = [("x-envoy-upstream-rq-timeout-ms", "1"), ("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "9")]
        assert (await gateway.get("/v1/users/sleep.0_1", *steering)).status == 200
        assert (await gateway.get("/v1/users/code.14", *steering)).status == 503
        assert upstream.users.calls == before + 2

    async def test_authorization_arrives_unchanged(self, gateway: Gateway) -> None:
        assert (
            metadata(await gateway.get("/v1/users/me", ("Authorization", "Bearer a.b-c")))["authorization"]
            == "Bearer a.b-c"
        )


class TestMalformed:
    async def test_underscore_in_a_name_is_invalid(self, gateway: Gateway) -> None:
        reply = await gateway.get("/v1/users/me", ("x_user_id", "1"))
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("any-bin", "!!"),
            ("grpc-trace-bin", "!!"),
            ("grpc-encoding", "none-such"),
            ("grpc-accept-encoding", "none-such"),
            ("grpc-previous-rpc-attempts", "-1"),
            ("grpc-retry-pushback-ms", "soon"),
            ("grpc-internal-encoding-request", "none-such"),
            ("grpc-status", "3"),
            ("grpc-message", "%zz"),
            ("grpc-metadata-role", "admin"),
            ("te", "gzip"),
            ("lb-token", "x"),
        ],
    )
    async def test_grpc_header_on_a_json_call_has_no_effect(self, gateway: Gateway, name: str, value: str) -> None:
        assert (await gateway.get("/v1/users/me", (name, value))).status == 200

    @pytest.mark.parametrize("deadline", ["-1S", "1", "S", "abc", "123456789S", "1S1S", "1.5S", "1s"])
    async def test_malformed_deadline_is_invalid(self, gateway: Gateway, deadline: str) -> None:
        reply = await gateway.get("/v1/users/me", ("grpc-timeout", deadline))
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST")

    async def test_headers_too_large_or_too_many_are_refused(self, gateway: Gateway) -> None:
        for headers in ([("x-long", "a" * 9_000)], [(f"x-{index}", "a") for index in range(70)]):
            reply = await gateway.send("GET", "/v1/users/me", headers)
            assert (reply.status, reply.reason) == (431, "REQUEST_TOO_LARGE")


class TestDeadline:
    """The server is always told how long the caller, or the gateway, will wait."""

    @pytest.mark.parametrize(("asked", "told_s"), [(None, 15), ("5S", 5), ("1H", 60)])
    async def test_deadline_reaches_the_server_capped(self, gateway: Gateway, asked: str | None, told_s: int) -> None:
        received = metadata(await gateway.get("/v1/users/me", *([("grpc-timeout", asked)] if asked else [])))
        assert told_s / 2 < float(received["deadline"]) <= told_s

    async def test_passed_deadline_is_a_504_and_cancels_the_call(self, gateway: Gateway, upstream: Upstream) -> None:
        before = upstream.users.cancelled
        reply = await gateway.get("/v1/users/sleep.5", ("grpc-timeout", "1S"))
        assert (reply.status, reply.json()["code"]) == (504, 4)
        async with asyncio.timeout(15):
            while upstream.users.cancelled == before:
                await asyncio.sleep(0.01)
