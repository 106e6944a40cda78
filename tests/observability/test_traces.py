"""One call is one trace, from the gateway to the job, and the logs of all of them name it."""

import asyncio
import re
from typing import Any

import pytest

from tests.observability.collector import SentSpan
from tests.observability.conftest import Observed
from tests.observability.traffic import sign_up

pytestmark = pytest.mark.timeout(240)
_FORGED = "4bf92f3577b34da6a3ce929d0e0e4736"


async def lines_of(observed: Observed, part: str, **fields: str) -> list[dict[str, Any]]:
    """Lines of a log with these fields, once there are any."""
    async with asyncio.timeout(20):
        while True:
            found = [line for line in observed.log(part) if all(line.get(name) == fields[name] for name in fields)]
            if found:
                return found
            await asyncio.sleep(0.1)


async def spans_of(observed: Observed, trace_id: str, *names: str) -> list[SentSpan]:
    """The spans of a trace, once those of these names are there, and those that they are parts of."""
    async with asyncio.timeout(20):
        while True:
            found = [span for span in observed.collector.spans() if span.trace_id == trace_id]
            known = {"", *(span.span_id for span in found)}
            if {span.name for span in found} >= set(names) and all(span.parent_id in known for span in found):
                return found
            await asyncio.sleep(0.1)


class TestTrace:
    async def test_sign_up_leads_from_the_gateway_over_sql_to_the_jobs(self, observed: Observed) -> None:
        reply = await sign_up(observed.bank)
        request_id = reply.headers["x-request-id"]
        (call,) = await lines_of(observed, "server", request_id=request_id, event="call")
        (access,) = await lines_of(observed, "gateway", request_id=request_id)
        trace_id = call["trace_id"]
        assert re.fullmatch("[0-9a-f]{32}", trace_id)
        assert access["trace_id"] == trace_id
        assert (call["rpc_method"], call["code"]) == ("bank.v1.UserService/CreateUser", "OK")

        jobs = await lines_of(observed, "worker", trace_id=trace_id, job="open_first_account")
        assert jobs[-1]["event"] == "job_done"
        spans = await spans_of(
            *(observed, trace_id, "bank.v1.UserService/CreateUser", "InsertUser", "open_first_account", "InsertAccount")
        )
        by_id = {span.span_id: span for span in spans}
        by_name = {span.name: span for span in spans}

        def path(name: str) -> list[str]:
            span, found = by_name[name], []
            while span.parent_id:
                span = by_id[span.parent_id]
                found.append(span.service if span.service == "gateway" else span.name)
            return found

        assert by_name["bank.v1.UserService/CreateUser"].span_id == call["span_id"]
        assert path("bank.v1.UserService/CreateUser") == ["gateway"]
        assert path("InsertUser") == ["transaction", "bank.v1.UserService/CreateUser", "gateway"]
        assert path("open_first_account")[-1] == "gateway"
        assert "bank.v1.UserService/CreateUser" in path("open_first_account")
        assert path("InsertAccount")[:2] == ["transaction", "open_first_account"]
        assert by_name["open_first_account"].span_id == jobs[-1]["span_id"]

    async def test_client_chooses_neither_the_id_nor_what_is_sampled(self, observed: Observed) -> None:
        forged = (("traceparent", f"00-{_FORGED}-00f067aa0ba902b7-00"), ("tracestate", "a=b"))
        reply = await sign_up(observed.bank, *forged)
        (call,) = await lines_of(observed, "server", request_id=reply.headers["x-request-id"], event="call")
        assert call["trace_id"] != _FORGED
        assert call["span_id"]

    async def test_error_tells_the_id_that_the_logs_have(self, observed: Observed) -> None:
        answer = await observed.bank.grpc.call("GetUser", {"user_id": "me"}, "made up")
        assert re.fullmatch("[0-9a-f]{32}", answer.trace_id)
        assert await lines_of(observed, "server", trace_id=answer.trace_id, code="UNAUTHENTICATED")
        assert await lines_of(observed, "gateway", trace_id=answer.trace_id)

    async def test_health_and_transfers_of_many_are_told_apart(self, observed: Observed) -> None:
        spans = observed.collector.spans()
        assert [span for span in spans if span.name.startswith("grpc.")] == []
        transfers = {span.span_id for span in spans if span.name == "bank.v1.TransferService/CreateTransfer"}
        commits = [span for span in spans if span.name == "ledger transaction"]
        assert len([span for span in commits if span.parent_id in transfers]) >= 20

    async def test_no_span_holds_a_secret(self, observed: Observed) -> None:
        await sign_up(observed.bank)
        await observed.bank.idle()
        everything = b"".join(observed.collector.bodies)
        assert b"nine grey geese" not in everything
        assert b"argon2" not in everything
        assert b"@example.com" not in everything
