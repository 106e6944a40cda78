import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.envoy.gateway import Gateway
from tests.envoy.upstream import DETAILS, INT64_MAX, Upstream


class TestTranscoding:
    async def test_int64_is_printed_as_string_and_read_as_either(self, gateway: Gateway) -> None:
        for written in (str(INT64_MAX), f'"{INT64_MAX}"'):
            reply = await gateway.post("/v1/transfers", f'{{"amount_minor": {written}}}')
            assert reply.status == 200
            assert reply.json()["transfer"]["amount_minor"] == str(INT64_MAX)

    async def test_answer_has_proto_names_and_zero_values(self, gateway: Gateway) -> None:
        user = (await gateway.post("/v1/users", '{"fullName": "camel is read too", "username": "a"}')).json()["user"]
        assert user == {
            "id": "",
            "username": "a",
            "full_name": "camel is read too",
            "email": "",
            "email_verified": False,
            "pending_email": "",
            "payable_by_name": False,
            "roles": [],
            "disabled": False,
        }

    async def test_idempotency_key_reaches_the_server_as_metadata(self, gateway: Gateway) -> None:
        reply = await gateway.post("/v1/transfers", "{}", ("Idempotency-Key", "k-1"))
        assert reply.json()["transfer"]["reference"] == "k-1"

    async def test_plus_in_a_query_is_a_space(self, gateway: Gateway) -> None:
        transfers = (await gateway.get("/v1/transfers?reference=a+b%2Bc")).json()["transfers"]
        assert transfers[0]["reference"] == "a b+c"

    async def test_answer_larger_than_the_buffers_arrives_whole(self, gateway: Gateway) -> None:
        reply = await gateway.get("/v1/transfers?page_size=200")
        assert reply.status == 200
        assert len(reply.body) > 1_000_000
        assert len(reply.json()["transfers"]) == 200

    async def test_unknown_body_field_is_dropped(self, gateway: Gateway) -> None:
        reply = await gateway.post("/v1/users", '{"usernam": "a", "email": "a@example.org"}')
        assert reply.status == 200
        assert (reply.json()["user"]["username"], reply.json()["user"]["email"]) == ("", "a@example.org")

    async def test_query_parameter_wins_over_the_id_in_the_path(self, gateway: Gateway) -> None:
        """Why the server authorises by the decoded message and never by the path."""
        assert (await gateway.get("/v1/users/a?user_id=b")).json()["user"]["id"] == "b"

    async def test_answers_are_never_cached_or_sniffed(self, gateway: Gateway) -> None:
        reply = await gateway.get("/v1/users/me")
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["x-request-id"]
        for leaking in ("server", "x-envoy-upstream-service-time", "grpc-accept-encoding"):
            assert leaking not in reply.headers


class TestServerErrors:
    @pytest.mark.parametrize(
        ("code", "status"),
        [
            (3, 400),
            (4, 504),
            (5, 404),
            (6, 409),
            (7, 403),
            (8, 429),
            (9, 400),
            (10, 409),
            (13, 500),
            (14, 503),
            (16, 401),
        ],
    )
    async def test_code_becomes_http_status(self, gateway: Gateway, code: int, status: int) -> None:
        reply = await gateway.get(f"/v1/users/code.{code}")
        assert reply.status == status
        assert reply.json() == {"code": code, "message": "refused", "details": []}

    async def test_every_detail_type_survives(self, gateway: Gateway) -> None:
        reply = await gateway.get("/v1/users/details.")
        assert reply.status == 400
        details = reply.json()["details"]
        assert [detail["@type"].rpartition("/")[2] for detail in details] == [
            message.DESCRIPTOR.full_name for message in DETAILS
        ]
        assert details[0]["metadata"] == {"needed_minor": "5"}
        assert details[1]["field_violations"][0]["field"] == "amount_minor"
        assert details[3]["retry_delay"] == "0.500s"


class TestRefusedByTheGateway:
    """Each refusal has the shape of the server's errors, and the server never hears of the call."""

    @pytest.fixture(autouse=True)
    async def server_is_not_called(self, upstream: Upstream) -> AsyncIterator[None]:
        before = upstream.users.calls
        yield
        assert upstream.users.calls == before

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/v1/nothing"),
            ("GET", "/v1/users/a/b"),
            ("DELETE", "/v1/users"),
            ("PUT", "/v1/users/a"),
            ("TRACE", "/v1/users/a"),
            ("POST", "/v1/users/a:unknownVerb"),
            ("POST", "/bank.v1.UserService/GetUser"),
            ("GET", "/bank.v1.UserService/GetUser"),
            ("GET", "/grpc.health.v1.Health/Check"),
        ],
    )
    async def test_unknown_path_or_verb_is_not_found(self, gateway: Gateway, method: str, path: str) -> None:
        reply = await gateway.send(method, path)
        assert (reply.status, reply.reason) in {(404, "NOT_FOUND"), (405, "NOT_FOUND")}
        assert reply.json()["code"] == 5

    @pytest.mark.parametrize("path", ["/v1/users/me?nope=1", "/v1/users?page_size=ten", "/v1/users?page_size=1&nope="])
    async def test_unknown_or_misfit_query_parameter_is_invalid(self, gateway: Gateway, path: str) -> None:
        reply = await gateway.get(path)
        assert (reply.status, reply.reason, reply.json()["code"]) == (400, "INVALID_REQUEST", 3)

    @pytest.mark.parametrize(
        "body",
        [
            "{",
            "[]",
            '"text"',
            '{"username": 5}',
            '{"username": {"secret-looking": 1}}',
            '{"username": "\xff"} trailing',
        ],
    )
    async def test_body_that_does_not_fit_is_invalid_and_not_echoed(self, gateway: Gateway, body: str) -> None:
        reply = await gateway.post("/v1/users", body)
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST")
        assert b"secret-looking" not in reply.body

    async def test_deeply_nested_body_is_invalid(self, gateway: Gateway) -> None:
        reply = await gateway.post("/v1/users", '{"x":' * 5_000 + "1" + "}" * 5_000)
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST")

    async def test_id_in_path_and_other_id_in_body_is_invalid(self, gateway: Gateway) -> None:
        reply = await gateway.send("PATCH", "/v1/users/a", body='{"id": "b", "full_name": "x"}')
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST")

    @pytest.mark.parametrize("path", ["/v1/users/a%2Fb", "/v1/users/a%5Cb", "/docs/%2e%2e%2fopenapi.json"])
    async def test_escaped_slash_is_invalid(self, gateway: Gateway, path: str) -> None:
        reply = await gateway.get(path)
        assert (reply.status, reply.reason) == (400, "INVALID_REQUEST")

    async def test_dots_and_double_slashes_reach_no_other_route(self, gateway: Gateway) -> None:
        for path in (
            "/docs/../v1/../bank.v1.UserService/GetUser",
            "//bank.v1.UserService//GetUser",
            "/v1/../../etc/passwd",
        ):
            reply = await gateway.get(path)
            assert reply.status in {400, 404}, path
            assert reply.reason in {"INVALID_REQUEST", "NOT_FOUND"}

    async def test_old_and_foreign_forms_of_http_are_refused(self, gateway: Gateway) -> None:
        post = b"POST /v1/users HTTP/1.1\r\nHost: a\r\n"
        requests = {
            b"GET /v1/users/a HTTP/1.0\r\nHost: a\r\n\r\n": b"426",
            b"GET /v1/users/a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n": b"403",
            post + b"Transfer-Encoding: foo\r\n\r\n": b"501",
            post + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": b"400",
        }
        for request, status in requests.items():
            answer = await asyncio.wait_for(gateway.send_raw(request), 5)
            assert answer.split(b" ")[1] == status, answer
            assert b'"reason":"INVALID_REQUEST"' in answer

    async def test_cross_origin_preflight_gets_no_permission(self, gateway: Gateway) -> None:
        for origin in ("https://evil.example", "null"):
            reply = await gateway.send(
                "OPTIONS", "/v1/users", [("origin", origin), ("access-control-request-method", "POST")]
            )
            assert reply.status == 404
            assert not any(name.startswith("access-control-") for name in reply.headers)
