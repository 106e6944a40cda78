import json
from pathlib import Path

from tests.envoy.gateway import running_gateway, wait_for_status
from tests.envoy.upstream import Upstream

SECRET = "v4.public.secret"


class TestAccessLog:
    async def test_line_tells_the_call_without_query_token_or_body(self, upstream: Upstream, tmp_path: Path) -> None:
        async with running_gateway(tmp_path, [upstream.port]) as gateway:
            await wait_for_status(gateway, "/readyz", 200, within_s=15)
            bearer = ("authorization", f"Bearer {SECRET}")
            reply = await gateway.get(f"/v1/transfers?page_token={SECRET}&reference={SECRET}", bearer)
            await gateway.get(f"/v1/nothing?token={SECRET}", bearer)
            await gateway.get(f"/verify-email.html?token={SECRET}")
            await gateway.post("/v1/users", f'{{"username": "{SECRET}"}}', ("cookie", SECRET))
        text = gateway.log.read_text()
        assert SECRET not in text
        lines = {line["path"]: line for line in map(json.loads, text.splitlines())}
        assert lines.keys() == {"/v1/transfers", "/v1/nothing", "/verify-email.html", "/v1/users", "/healthz"}
        call = lines["/v1/transfers"]
        # They are one, as nothing is traced here.
        assert call["trace_id"] == call["request_id"] == reply.headers["x-request-id"]
        assert (call["method"], call["rpc"]) == ("GET", "/bank.v1.TransferService/ListTransfers")
        assert (call["status"], call["grpc_status"], call["client_address"]) == (200, "OK", "127.0.0.1")
        assert call["server"] == f"127.0.0.1:{upstream.port}"
        assert (lines["/v1/nothing"]["status"], lines["/v1/nothing"]["server"]) == (404, None)
