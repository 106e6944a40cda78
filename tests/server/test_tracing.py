"""What is read from a traceparent, and what becomes of a call in a database that a trace looks at."""

import pytest

from server.database import Database, open_pool
from server.tracing import Tracing, current_trace, open_tracing, parse_traceparent
from tests.conftest import Database as MigratedDatabase
from tests.observability.collector import Collector

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01"}
NOT_SAMPLED = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-00"}


class TestParseTraceparent:
    def test_trace_span_and_flag_are_read(self) -> None:
        parent = parse_traceparent(SAMPLED["traceparent"])
        assert parent is not None
        assert (f"{parent.trace_id:x}", f"{parent.span_id:016x}") == (TRACE_ID, "00f067aa0ba902b7")
        assert parent.trace_flags.sampled

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "00",
            f"01-{TRACE_ID}-00f067aa0ba902b7-00",
            f"00-{'0' * 32}-00f067aa0ba902b7-01",
            f"00-{TRACE_ID}-{'0' * 16}-01",
            f"00-{'g' * 32}-00f067aa0ba902b7-01",
            f"00_{TRACE_ID}-00f067aa0ba902b7-01",
            f"00-{TRACE_ID}-00f067aa0ba902b7-01-",
        ],
    )
    def test_malformed_one_counts_as_none(self, text: str) -> None:
        assert parse_traceparent(text) is None


class TestOpenTracing:
    def test_without_collector_nothing_is_traced(self) -> None:
        assert open_tracing("", "server", "0", "1") is None


class TestTracing:
    async def test_call_and_its_statements_are_sent_without_values(
        self, database: MigratedDatabase, collector: Collector
    ) -> None:
        tracing = Tracing(collector.endpoint, "server", "0", "1.2.3")
        opened = Database(await open_pool(database.app_url, size=1))
        trace = tracing.begin_call("bank.v1.UserService/GetUser", SAMPLED)
        assert trace is not None

        async def work(connection: object) -> None:
            await connection.fetchval("SELECT $1::text", "a secret")  # type: ignore[attr-defined]

        await opened.transaction(work)
        trace.answer("INTERNAL")
        trace.end()
        await opened.close()
        tracing.close()
        by_name = {span.name: span for span in collector.spans()}
        call, transaction, statement = (
            by_name[name] for name in ("bank.v1.UserService/GetUser", "transaction", "SELECT")
        )
        assert {span.trace_id for span in by_name.values()} == {TRACE_ID}
        assert call.parent_id == "00f067aa0ba902b7"
        assert transaction.parent_id == call.span_id == trace.span_id
        assert statement.parent_id == transaction.span_id
        assert call.failed
        assert call.attributes["rpc.response.status_code"] == "INTERNAL"
        assert call.service == "server"
        assert statement.attributes["db.system.name"] == "postgresql"
        assert not any(b"a secret" in body for body in collector.bodies)

    def test_call_that_is_not_sampled_makes_no_span(self, collector: Collector) -> None:
        tracing = Tracing(collector.endpoint, "server", "0", "1.2.3")
        before = current_trace()
        assert tracing.begin_call("bank.v1.UserService/GetUser", NOT_SAMPLED) is None
        assert tracing.begin_job("open_first_account", "") is None
        assert current_trace() is before
        tracing.close()
        assert collector.spans() == []
