"""The one interceptor: decodes, admits, calls, turns failures into status, logs and measures.

One instead of a chain, because each link costs every call; see docs/decisions/0001.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from contextvars import ContextVar
from datetime import datetime
from time import perf_counter
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from server.access import Access
from server.caller import Caller, Origin, set_caller, set_idempotency_key, set_origin, set_token_expire_time
from server.database import TIMEOUT_ERRORS, as_bank_error
from server.error_status import code_of, plain_status, status_of
from server.errors import BankError, FieldViolation, Forbidden, InvalidRequest, Unauthenticated
from server.metrics import RPC_REFUSALS, RPC_SECONDS
from server.quotas import CallQuota
from server.throttles import network_of
from server.tracing import Trace, Tracing, current_trace, parse_traceparent

_ANSWER_S = 0.05
"""Left before the caller's deadline for telling them, with details, that it was missed."""
_USER_AGENT_LENGTH_MAX = 200
_TRACE_ID_LENGTH_MAX = 64

_metadata: ContextVar[dict[str, str]] = ContextVar("metadata")
_log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"  # generic for the checker only
Behavior = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncGenerator[Any, None]]


class TokenVerifier(Protocol):
    """Proves who an access token was issued to."""

    def verify(self, token: str) -> "VerifiedToken":
        """Raises Unauthenticated."""


class VerifiedToken(Protocol):
    """What an access token proves."""

    @property
    def user_id(self) -> UUID: ...

    @property
    def session_id(self) -> UUID: ...

    @property
    def expire_time(self) -> datetime: ...


class CallerReader(Protocol):
    """Tells whether a session is still in force, and the roles of its user."""

    async def read(self, session_id: UUID, user_id: UUID) -> Caller:
        """Raises SessionRevoked, Unauthenticated."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every RPC of the server.

    Args:
        access: Who may call what; an RPC that is not listed is refused.
        tokens: Verifies access tokens.
        callers: Reads sessions and roles for RPCs that the ledger does not check.
        help_url: Page that describes the reasons of refusals.
        quota: How many calls one user may make, or one address without access token; None: any number.
        tracing: Where the spans of sampled calls go; None: nowhere.
    """

    def __init__(
        self,
        access: dict[str, Access],
        tokens: TokenVerifier,
        callers: CallerReader,
        help_url: str,
        quota: CallQuota | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self._access = access
        self._tokens = tokens
        self._callers = callers
        self._help_url = help_url
        self._quota = quota
        self._tracing = tracing
        self._wrapped: dict[str, MethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["MethodHandler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "MethodHandler | None":
        """Return the wrapped handler of the called method; it runs in the same task."""
        _metadata.set(dict(handler_call_details.invocation_metadata))  # type: ignore[arg-type]  # pairs of strings
        method: str = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: MethodHandler) -> MethodHandler:
        if handler.unary_unary is not None:
            return self._wrap_unary(method, handler)
        if method.startswith("/grpc."):
            return handler  # health and reflection streams, which bring their own handling
        return self._wrap_stream(method, handler)

    def _wrap_unary(self, method: str, handler: MethodHandler) -> MethodHandler:
        access = self._access.get(method)
        quiet = method.startswith("/grpc.health.")  # asked for twice a second by every gateway
        quota = None if quiet else self._quota
        tracing = None if quiet else self._tracing
        behavior: Behavior = handler.unary_unary  # type: ignore[assignment]  # typed as if synchronous
        deserialize: Callable[[bytes], Any] = handler.request_deserializer  # type: ignore[assignment]
        # The label children are looked up once, not per call.
        seconds_ok = RPC_SECONDS.labels(method[1:], "OK")

        async def call(raw: bytes, context: Context) -> Any:  # noqa: ANN401 - any response message
            started = perf_counter()
            trace = None if tracing is None else tracing.begin_call(method[1:], _metadata.get())
            code, error_status, caller = "OK", None, None
            try:
                async with asyncio.timeout(_time_limit_s(access, context)):
                    caller = await self._admit(access, _metadata.get(), quota)
                    return await behavior(_decode(deserialize, raw, access), context)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except grpc.aio.AbortError:
                # Health answers by itself, such as NOT_FOUND for a service it does not know.
                code = context.code().name
                raise
            except Exception as error:  # turned into a status below
                code, error_status = self._describe(method, error)
            finally:
                duration = perf_counter() - started
                if code == "OK":
                    seconds_ok.observe(duration)
                else:
                    RPC_SECONDS.labels(method[1:], code).observe(duration)
                if trace is not None:
                    trace.answer(code)
                    trace.end()
                if not quiet or code != "OK":
                    _log_call(method, code, error_status, caller, duration, trace)
            return await context.abort_with_status(rpc_status.to_status(error_status))

        return grpc.unary_unary_rpc_method_handler(call, None, handler.response_serializer)

    def _wrap_stream(self, method: str, handler: MethodHandler) -> MethodHandler:
        """As for one answer; the time limit, the log line and the status are those of the whole stream."""
        access = self._access.get(method)
        tracing = self._tracing
        behavior: Stream = handler.unary_stream  # type: ignore[assignment]  # typed as if synchronous
        deserialize: Callable[[bytes], Any] = handler.request_deserializer  # type: ignore[assignment]

        async def call(raw: bytes, context: Context) -> None:
            started = perf_counter()
            trace = None if tracing is None else tracing.begin_call(method[1:], _metadata.get())
            code, error_status, caller = "OK", None, None
            try:
                async with asyncio.timeout(_time_limit_s(access, context)):
                    caller = await self._admit(access, _metadata.get(), self._quota)
                    async with aclosing(behavior(_decode(deserialize, raw, access), context)) as answers:
                        async for answer in answers:
                            # Waits for a reader who is slow, so that little is kept for them here.
                            await context.write(answer)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except Exception as error:  # turned into a status below
                code, error_status = self._describe(method, error)
            finally:
                duration = perf_counter() - started
                RPC_SECONDS.labels(method[1:], code).observe(duration)
                if trace is not None:
                    trace.answer(code)
                    trace.end()
                _log_call(method, code, error_status, caller, duration, trace)
            if error_status is not None:
                await context.abort_with_status(rpc_status.to_status(error_status))

        return grpc.unary_stream_rpc_method_handler(call, None, handler.response_serializer)

    async def _admit(self, access: Access | None, metadata: dict[str, str], quota: CallQuota | None) -> Caller | None:
        """Prove who calls and that they may; leaves what the handlers read about the call."""
        if access is None:
            raise Forbidden("this RPC may not be called")
        set_idempotency_key(metadata.get("idempotency-key", ""))
        address = metadata.get("x-envoy-external-address", "")
        set_origin(
            Origin(
                client_address=address,
                user_agent=metadata.get("user-agent", "")[:_USER_AGENT_LENGTH_MAX],
                trace_id=_trace_id(),
            )
        )
        if access.public:
            if quota is not None and (network := network_of(address)):
                quota.take(network)
            return None
        authorization = metadata.get("authorization", "")
        if authorization[:7].lower() != "bearer ":
            raise Unauthenticated
        verified = self._tokens.verify(authorization[7:])
        if quota is not None:
            quota.take(verified.user_id)
        if access.checked_by_ledger:
            caller = Caller(verified.user_id, verified.session_id)
        else:
            caller = await self._callers.read(verified.session_id, verified.user_id)
            if access.roles and access.roles.isdisjoint(caller.roles):
                raise Forbidden
            set_token_expire_time(verified.expire_time)
        set_caller(caller)
        return caller

    def _describe(self, method: str, error: Exception) -> tuple[str, Status]:
        """Code name and full status of a failure; defects are logged with their traceback here."""
        trace_id = _trace_id()
        if isinstance(error, TIMEOUT_ERRORS):
            code = grpc.StatusCode.DEADLINE_EXCEEDED
            RPC_REFUSALS.labels(code.name).inc()
            return code.name, plain_status(
                code, "DEADLINE_EXCEEDED", "the call took too long: send the same call again", trace_id
            )
        expected = error if isinstance(error, BankError) else as_bank_error(error)
        if expected is None:
            _log.error("defect", rpc_method=method[1:], trace_id=trace_id, exc_info=error)
            code = grpc.StatusCode.INTERNAL
            RPC_REFUSALS.labels(code.name).inc()
            return code.name, plain_status(code, "INTERNAL", "internal error: tell the operator the trace id", trace_id)
        RPC_REFUSALS.labels(expected.reason).inc()
        return code_of(expected).name, status_of(expected, trace_id, self._help_url)


def _decode(deserialize: Callable[[bytes], Any], raw: bytes, access: Access | None) -> Any:  # noqa: ANN401 - any message
    if access is not None and len(raw) > access.request_bytes_max:
        raise InvalidRequest([FieldViolation("", f"the message is larger than {access.request_bytes_max} bytes")])
    try:
        return deserialize(raw)
    except (DecodeError, ValueError):
        raise InvalidRequest([FieldViolation("", "the message cannot be decoded")]) from None


def _trace_id() -> str:
    """The id under which gateway, server and worker log this call.

    That of the W3C trace where the gateway traces, otherwise the id of the request; made here for calls past the
    gateway.
    """
    if trace := current_trace():
        return trace.trace_id
    metadata = _metadata.get()
    if (traceparent := metadata.get("traceparent")) and parse_traceparent(traceparent):
        return traceparent[3:35]
    request_id = metadata.get("x-request-id") or metadata.setdefault("x-request-id", os.urandom(16).hex())
    return request_id[:_TRACE_ID_LENGTH_MAX]


def _time_limit_s(access: Access | None, context: Context) -> float:
    """The RPC's own limit, or the caller's deadline if that is nearer."""
    limit_s = access.deadline_s if access else 0.0
    remaining_s: float | None = context.time_remaining()
    return limit_s if remaining_s is None else min(limit_s, max(0.0, remaining_s - _ANSWER_S))


def _log_call(
    method: str, code: str, status: Status | None, caller: Caller | None, duration_s: float, trace: Trace | None
) -> None:
    _log.info(
        "call",
        rpc_method=method[1:],
        code=code,
        message=status.message if status else None,
        user_id=str(caller.user_id) if caller else None,
        trace_id=_trace_id(),
        request_id=_metadata.get().get("x-request-id"),
        duration_ms=round(duration_s * 1000, 2),
        **({"span_id": trace.span_id} if trace else {}),
    )


def streams_requests(services: Iterable[ServiceDescriptor]) -> list[str]:
    """Methods whose requests are streams, which nobody here admits or limits."""
    return sorted(method.full_name for service in services for method in service.methods if method.client_streaming)


def unlisted(methods: Iterable[str], access: dict[str, Access]) -> list[str]:
    """Methods that nobody has said who may call."""
    return sorted(set(methods) - access.keys())
