"""Every call goes through the interceptor: who is let in, what failures become, what is logged."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc.error_details_pb2 import ErrorInfo, QuotaFailure, RetryInfo
from structlog.testing import capture_logs

from server.access import ADMIN, MONEY, PUBLIC, SIGNED_IN, Access
from server.caller import current_caller, current_idempotency_key, current_origin
from server.database import Database
from server.errors import AccountFrozen, Overloaded
from server.interceptor import CallInterceptor
from server.quotas import CallQuota
from server.sessions.callers import REMEMBERED_S, CallerStates
from server.tokens import AccessTokens
from tests.clocks import Clock
from tests.conftest import CloneDatabase
from tests.conftest import Database as MigratedDatabase
from tests.server.bank_server import Metadata, refusal_of
from tests.server.identity import bearer, new_keys

SERVICE = "sample.v1.SampleService"
SECRET = "password of alice: seven blue herons"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
IMPATIENT = Access(public=True, deadline_s=0.3)
ACCESS = {
    f"/{SERVICE}/{name}": access
    for name, access in {
        "Open": PUBLIC,
        "Own": SIGNED_IN,
        "Administer": ADMIN,
        "Pay": MONEY,
        "Impatient": IMPATIENT,
    }.items()
}


@dataclass
class Sample:
    """A service whose handler is what the test makes of it, and a channel to it."""

    database: MigratedDatabase
    channel: grpc.aio.Channel
    tokens: AccessTokens
    behave: Callable[[], Awaitable[str]] = field(init=False)
    calls: int = 0

    async def handle(self, request: StringValue, context: object) -> StringValue:
        self.calls += 1
        return StringValue(value=await self.behave())

    def call(
        self, method: str, metadata: Metadata = (), timeout: float | None = None, raw: bytes = b""
    ) -> Awaitable[Any]:
        return self.channel.unary_unary(f"/{SERVICE}/{method}", response_deserializer=StringValue.FromString)(
            raw, metadata=metadata, timeout=timeout
        )

    async def sign_in(self, *roles: str) -> Metadata:
        """Metadata of a new user with a session."""
        user_id, session_id = uuid4(), uuid4()
        await self.database.pool.execute(
            "INSERT INTO users (id, username, password_hash, full_name, email, roles)"
            " VALUES ($1, $2, 'x', 'Somebody', 'a@example.org', $3)",
            user_id,
            f"u{user_id.hex[:12]}",
            ["DEPOSITOR", *roles],
        )
        await self.database.pool.execute(
            "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
            " VALUES ($1, $2, 'test', '127.0.0.1', now() + '1 h', now() + '1 h')",
            session_id,
            user_id,
        )
        return bearer(self.tokens.issue(user_id, session_id, datetime.now(UTC))[0])


async def tell() -> str:
    """What a handler can read about its call."""
    caller, origin = current_caller(), current_origin()
    return json.dumps(
        {
            "user_id": str(caller.user_id),
            "roles": sorted(caller.roles),
            "idempotency_key": current_idempotency_key(),
            "client_address": origin.client_address,
            "user_agent": origin.user_agent,
        }
    )


@asynccontextmanager
async def serving(clone_database: CloneDatabase, quota: CallQuota | None = None) -> AsyncIterator[Sample]:
    tokens = AccessTokens(new_keys(), "paseto", 900)
    async with clone_database() as database:
        interceptor = CallInterceptor(
            ACCESS, tokens, CallerStates(Database(database.pool)), "https://bank.example/errors", quota
        )
        server = grpc.aio.server(interceptors=[interceptor])
        port = server.add_insecure_port("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            sample = Sample(database, channel, tokens)
            handler = grpc.unary_unary_rpc_method_handler(
                sample.handle, StringValue.FromString, StringValue.SerializeToString
            )
            names = [method.rpartition("/")[2] for method in ACCESS]
            server.add_generic_rpc_handlers(
                [grpc.method_handlers_generic_handler(SERVICE, dict.fromkeys([*names, "Unlisted"], handler))]
            )
            await server.start()
            yield sample
        await server.stop(None)


@pytest.fixture(scope="module")
async def running(clone_database: CloneDatabase) -> AsyncIterator[Sample]:
    async with serving(clone_database) as sample:
        yield sample


@pytest.fixture
def sample(running: Sample) -> Sample:
    running.behave, running.calls = tell, 0
    return running


async def nothing() -> str:
    return ""


def failing(error: BaseException) -> Callable[[], Awaitable[str]]:
    async def fail() -> str:
        raise error

    return fail


class TestAdmission:
    async def test_public_method_needs_no_token(self, sample: Sample) -> None:
        sample.behave = nothing
        assert (await sample.call("Open")).value == ""

    async def test_signed_in_caller_arrives_with_roles(self, sample: Sample) -> None:
        told = json.loads((await sample.call("Own", await sample.sign_in("MERCHANT"))).value)
        assert told["roles"] == ["DEPOSITOR", "MERCHANT"]

    @pytest.mark.parametrize("method", ["Own", "Administer", "Pay"])
    @pytest.mark.parametrize(
        "metadata",
        [
            (),
            (("authorization", ""),),
            (("authorization", "Bearer"),),
            (("authorization", "Bearer "),),
            (("authorization", "Basic YWxpY2U6cGFzc3dvcmQ="),),
            (("authorization", "Bearer v4.public.x"),),
            (("authorization", "Bearer " + "x" * 7000),),
            (("x-authorization", "Bearer x"),),
        ],
        ids=["none", "empty", "word", "blank", "basic", "garbage", "long", "other header"],
    )
    async def test_what_proves_nothing_is_refused_before_the_handler(
        self, sample: Sample, method: str, metadata: Metadata
    ) -> None:
        refused = await refusal_of(sample.call(method, metadata))
        assert refused.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert refused.status.message == "send a valid access token as `authorization: Bearer …`"
        assert sample.calls == 0

    async def test_one_good_token_among_two_headers_proves_nothing(self, sample: Sample) -> None:
        good = await sample.sign_in()
        for other in (*good, ("authorization", "Bearer x"), ("authorization", "")):
            for metadata in ((other, *good), (*good, other), (*good, ("x-a", "1"), ("x-a", "2"), other)):
                refused = await refusal_of(sample.call("Own", metadata))
                assert refused.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert sample.calls == 0
        await sample.call("Own", (*good, ("x-a", "1"), ("x-a", "2")))
        assert sample.calls == 1

    async def test_scheme_may_be_written_in_any_case_and_the_token_only_as_it_is(self, sample: Sample) -> None:
        ((_, value),) = await sample.sign_in()
        token = value.removeprefix("Bearer ")
        for scheme in ("bearer", "BEARER"):
            await sample.call("Own", (("authorization", f"{scheme} {token}"),))
        for other in (
            f"Digest {token}",
            f"Bearer_{token}",
            f"Bearer  {token}",
            f"Bearer {token}x",
            f"Bearer {token}, Bearer {token}",
        ):
            refused = await refusal_of(sample.call("Own", (("authorization", other),)))
            assert refused.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")

    async def test_role_is_required_where_it_says_so(self, sample: Sample) -> None:
        assert (await sample.call("Administer", await sample.sign_in("ADMIN"))).value
        refused = await refusal_of(sample.call("Administer", await sample.sign_in("BANKER")))
        assert refused.why == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        assert sample.calls == 1

    async def test_ended_session_is_refused(self, sample: Sample) -> None:
        metadata = await sample.sign_in()
        await sample.call("Own", metadata)
        await sample.database.pool.execute("UPDATE sessions SET revoke_time = now()")
        await asyncio.sleep(REMEMBERED_S)
        assert (await refusal_of(sample.call("Own", metadata))).why == ("UNAUTHENTICATED", "SESSION_REVOKED")

    async def test_call_that_moves_money_leaves_the_session_to_the_ledger(self, sample: Sample) -> None:
        metadata = await sample.sign_in("BANKER")
        await sample.database.pool.execute("UPDATE sessions SET revoke_time = now()")
        told = json.loads((await sample.call("Pay", metadata)).value)
        assert told["roles"] == []

    async def test_unlisted_method_is_refused_to_everyone(self, sample: Sample) -> None:
        for metadata in ((), await sample.sign_in("ADMIN", "BANKER")):
            refused = await refusal_of(sample.call("Unlisted", metadata))
            assert refused.why == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        assert sample.calls == 0

    async def test_unknown_method_is_unimplemented(self, sample: Sample) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sample.call("Nonsense", await sample.sign_in())
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


class TestHeaders:
    async def test_idempotency_key_and_origin_arrive(self, sample: Sample) -> None:
        headers = (
            ("idempotency-key", "018f6b3e-5a1c-7c3d-9a57-0242ac120002"),
            ("x-envoy-external-address", "203.0.113.7"),
        )
        told = json.loads((await sample.call("Own", (*await sample.sign_in(), *headers))).value)
        assert told["idempotency_key"] == "018f6b3e-5a1c-7c3d-9a57-0242ac120002"
        assert told["client_address"] == "203.0.113.7"
        assert told["user_agent"].startswith("grpc-python-asyncio")

    async def test_one_calls_headers_are_not_the_next_ones(self, sample: Sample) -> None:
        metadata = await sample.sign_in()
        await sample.call("Own", (*metadata, ("idempotency-key", "018f6b3e-5a1c-7c3d-9a57-0242ac120002")))
        told = json.loads((await sample.call("Own", metadata)).value)
        assert (told["idempotency_key"], told["client_address"]) == ("", "")

    async def test_address_that_a_client_claims_is_not_believed(self, sample: Sample) -> None:
        claimed = (("x-forwarded-for", "198.51.100.1, 192.0.2.1"), ("x-real-ip", "198.51.100.1"))
        told = json.loads((await sample.call("Own", (*await sample.sign_in(), *claimed))).value)
        assert told["client_address"] == ""

    async def test_callers_at_the_same_time_are_not_mixed_up(self, sample: Sample) -> None:
        async def tell_late() -> str:
            await asyncio.sleep(0.05)
            return await tell()

        sample.behave = tell_late
        people = [await sample.sign_in() for _ in range(10)]
        expected = [str(sample.tokens.verify(metadata[0][1].removeprefix("Bearer ")).user_id) for metadata in people]
        answers = await asyncio.gather(*(sample.call("Own", metadata) for metadata in people))
        assert [json.loads(answer.value)["user_id"] for answer in answers] == expected


class TestQuota:
    """One call a second, two at once."""

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock(1000.0)

    @pytest.fixture
    async def sample(self, clone_database: CloneDatabase, clock: Clock) -> AsyncIterator[Sample]:
        async with serving(clone_database, CallQuota(1, clock)) as sample:
            sample.behave = nothing
            yield sample

    @pytest.mark.parametrize("method", ["Own", "Pay"])
    async def test_user_beyond_it_is_refused_before_the_handler_and_told_when(
        self, sample: Sample, clock: Clock, method: str
    ) -> None:
        metadata = await sample.sign_in()
        for _ in range(2):
            await sample.call(method, metadata)
        refused = await refusal_of(sample.call(method, metadata))
        assert refused.why == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        delay_s = refused.detail(RetryInfo).retry_delay.ToTimedelta().total_seconds()
        assert 0 < delay_s <= 1
        assert refused.detail(QuotaFailure).violations[0].subject == "RATE_LIMITED"
        assert sample.calls == 2
        clock.now += delay_s
        await sample.call(method, metadata)

    async def test_users_do_not_share_and_addresses_do_not_count_for_them(self, sample: Sample) -> None:
        address = (("x-envoy-external-address", "203.0.113.7"),)
        for metadata in (await sample.sign_in(), await sample.sign_in()):
            for _ in range(2):
                await sample.call("Own", (*metadata, *address))
        await sample.call("Open", address)

    async def test_calls_without_token_are_counted_by_address(self, sample: Sample) -> None:
        for address in ("203.0.113.7", "2001:db8::1"):
            for _ in range(2):
                await sample.call("Open", (("x-envoy-external-address", address),))
        for address in ("203.0.113.7", "2001:db8::2"):
            refused = await refusal_of(sample.call("Open", (("x-envoy-external-address", address),)))
            assert refused.why == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
        await sample.call("Open", (("x-envoy-external-address", "203.0.113.8"),))

    async def test_forged_token_uses_up_nothing_of_a_user(self, sample: Sample) -> None:
        ((_, value),) = metadata = await sample.sign_in()
        for _ in range(5):
            refused = await refusal_of(sample.call("Own", (("authorization", f"{value}x"),)))
            assert refused.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        await sample.call("Own", metadata)


class TestFailures:
    @pytest.mark.parametrize("raw", [b"\xff", b"\x0a\x05abc", b"\x0a\x02\xff\xfe"], ids=["tag", "cut", "not UTF-8"])
    async def test_message_that_cannot_be_decoded_is_invalid(self, sample: Sample, raw: bytes) -> None:
        refused = await refusal_of(sample.call("Open", raw=raw))
        assert refused.why == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert sample.calls == 0

    async def test_nobody_learns_about_decoding_before_they_are_let_in(self, sample: Sample) -> None:
        refused = await refusal_of(sample.call("Own", raw=b"\xff"))
        assert refused.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")

    async def test_broken_rule_comes_with_its_details(self, sample: Sample) -> None:
        account_id = uuid4()
        sample.behave = failing(AccountFrozen(account_id))
        refused = await refusal_of(sample.call("Open", (("x-request-id", TRACE_ID),)))
        assert refused.why == ("FAILED_PRECONDITION", "ACCOUNT_FROZEN")
        assert refused.metadata == {"account_id": str(account_id)}
        assert refused.trace_id == TRACE_ID

    async def test_retry_delay_arrives(self, sample: Sample) -> None:
        sample.behave = failing(Overloaded())
        refused = await refusal_of(sample.call("Open"))
        assert refused.why == ("UNAVAILABLE", "OVERLOADED")
        assert refused.detail(RetryInfo).retry_delay.ToMilliseconds() == 500

    @pytest.mark.parametrize(
        ("error", "why"),
        [
            (asyncpg.DeadlockDetectedError(), ("ABORTED", "CONTENTION")),
            (asyncpg.LockNotAvailableError(), ("ABORTED", "CONTENTION")),
            (asyncpg.ConnectionDoesNotExistError(), ("UNAVAILABLE", "DATABASE_UNAVAILABLE")),
            (asyncpg.TooManyConnectionsError(), ("UNAVAILABLE", "DATABASE_UNAVAILABLE")),
            (asyncpg.DiskFullError(), ("UNAVAILABLE", "DATABASE_UNAVAILABLE")),
            (ConnectionRefusedError(), ("UNAVAILABLE", "DATABASE_UNAVAILABLE")),
            (asyncpg.QueryCanceledError(), ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")),
            (TimeoutError(), ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")),
            (asyncpg.CheckViolationError(SECRET), ("INTERNAL", "INTERNAL")),
            (ValueError(SECRET), ("INTERNAL", "INTERNAL")),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_failure_below_has_its_code(self, sample: Sample, error: Exception, why: tuple[str, str]) -> None:
        sample.behave = failing(error)
        with capture_logs():
            assert (await refusal_of(sample.call("Open"))).why == why

    async def test_defect_tells_the_trace_id_and_nothing_of_itself(self, sample: Sample) -> None:
        sample.behave = failing(RuntimeError(SECRET))
        with capture_logs() as lines:
            refused = await refusal_of(sample.call("Open", (("x-request-id", TRACE_ID),)))
        assert refused.why == ("INTERNAL", "INTERNAL")
        assert refused.status.message == "internal error: tell the operator the trace id"
        assert refused.trace_id == TRACE_ID
        assert refused.metadata == {}
        assert refused.detail(ErrorInfo).domain == "bank.v1"
        assert SECRET.encode() not in refused.status.SerializeToString()
        defect, _ = lines
        assert (defect["event"], defect["trace_id"]) == ("defect", TRACE_ID)
        assert isinstance(defect["exc_info"], RuntimeError)

    async def test_call_past_the_gateway_gets_a_trace_id_of_its_own(self, sample: Sample) -> None:
        sample.behave = failing(Overloaded())
        with capture_logs() as lines:
            first, second = await refusal_of(sample.call("Open")), await refusal_of(sample.call("Open"))
        assert len(first.trace_id) == 32
        assert [line["trace_id"] for line in lines] == [first.trace_id, second.trace_id]
        assert first.trace_id != second.trace_id

    async def test_long_trace_id_is_cut(self, sample: Sample) -> None:
        refused = await refusal_of(sample.call("Own", (("x-request-id", "x" * 4000),)))
        assert refused.trace_id == "x" * 64


class TestDeadline:
    async def test_call_without_a_deadline_gets_that_of_its_rpc(self, sample: Sample) -> None:
        sample.behave = self.forever
        started = asyncio.get_running_loop().time()
        refused = await refusal_of(sample.call("Impatient"))
        assert refused.why == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert 0.25 < asyncio.get_running_loop().time() - started < 2

    async def test_longer_deadline_of_the_caller_does_not_lengthen_it(self, sample: Sample) -> None:
        sample.behave = self.forever
        refused = await refusal_of(sample.call("Impatient", timeout=30))
        assert refused.why == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")

    async def test_nearer_deadline_of_the_caller_ends_the_handler(self, sample: Sample) -> None:
        ended = asyncio.Event()

        async def forever() -> str:
            try:
                return await self.forever()
            finally:
                ended.set()

        sample.behave = forever
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await sample.call("Open", timeout=0.3)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(2):
            await ended.wait()

    async def test_caller_that_leaves_ends_the_handler_and_is_logged(self, sample: Sample) -> None:
        began, ended = asyncio.Event(), asyncio.Event()

        async def forever() -> str:
            began.set()
            try:
                return await self.forever()
            finally:
                ended.set()

        sample.behave = forever
        with capture_logs() as lines:
            call = sample.call("Open")
            await began.wait()
            call.cancel()  # type: ignore[attr-defined]  # a call, not any awaitable
            async with asyncio.timeout(2):
                await ended.wait()
                await asyncio.sleep(0.05)
        assert [line["code"] for line in lines] == ["CANCELLED"]

    @staticmethod
    async def forever() -> str:
        await asyncio.sleep(60)
        return ""


class TestLog:
    async def test_good_call_is_one_line(self, sample: Sample) -> None:
        metadata = await sample.sign_in()
        with capture_logs() as lines:
            answer = await sample.call("Own", (*metadata, ("x-request-id", TRACE_ID)))
        (line,) = lines
        assert 0 <= line.pop("duration_ms") < 5000
        assert line == {
            "event": "call",
            "log_level": "info",
            "rpc_method": f"{SERVICE}/Own",
            "code": "OK",
            "message": None,
            "user_id": json.loads(answer.value)["user_id"],
            "trace_id": TRACE_ID,
            "request_id": TRACE_ID,
        }

    async def test_call_of_a_trace_is_found_by_its_id_and_that_of_the_request(self, sample: Sample) -> None:
        traceparent = f"00-{TRACE_ID}-00f067aa0ba902b7-00"
        with capture_logs() as lines:
            refused = await refusal_of(
                sample.call("Own", (("traceparent", traceparent), ("x-request-id", "of-gateway")))
            )
        assert refused.trace_id == TRACE_ID
        assert [(line["trace_id"], line["request_id"]) for line in lines] == [(TRACE_ID, "of-gateway")]
        assert "span_id" not in lines[0]

    async def test_refused_call_is_one_line(self, sample: Sample) -> None:
        with capture_logs() as lines:
            await refusal_of(sample.call("Own"))
        assert [(line["event"], line["code"], line["user_id"]) for line in lines] == [("call", "UNAUTHENTICATED", None)]

    async def test_neither_token_nor_body_nor_header_is_logged(
        self, sample: Sample, caplog: pytest.LogCaptureFixture
    ) -> None:
        metadata = await sample.sign_in()
        headers = (("idempotency-key", SECRET), ("cookie", SECRET), ("user-agent", SECRET))
        body = StringValue(value=SECRET).SerializeToString()
        with caplog.at_level(logging.DEBUG), capture_logs() as lines:
            await sample.call("Own", (*metadata, *headers), raw=body)
            sample.behave = failing(Overloaded())
            await refusal_of(sample.call("Own", (*metadata, *headers), raw=body))
            await refusal_of(sample.call("Own", (("authorization", f"{metadata[0][1]}x"), *headers), raw=body))
        assert len(lines) == 3
        written = f"{lines} {caplog.text}"
        assert SECRET not in written
        assert metadata[0][1].removeprefix("Bearer ") not in written
