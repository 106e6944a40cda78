"""Traces: the spans of a sampled call, of what it does in the database, and of the jobs that follow from it.

The W3C header `traceparent` leads from the gateway to here, and in the outbox from here to the worker. A call that is
not sampled costs the look at that header; with no collector configured, not even that.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from time import time_ns
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)

_TRACEPARENT_LENGTH = 55
# Whose fault it was: the codes that count against the service; see docs/slo.md.
_FAILURES = frozenset(("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"))
_POSTGRESQL = {"db.system.name": "postgresql"}
_UNTRACED = nullcontext()


class Trace:
    """A span that is under way, and what is put below it.

    Args:
        tracer: Makes the spans.
        span: Sampled.
    """

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return f"{self._span.get_span_context().span_id:016x}"

    @property
    def traceparent(self) -> str:
        """By which others go on with the trace."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def answer(self, code: str) -> None:
        """Note with which code the call was answered."""
        self._span.set_attribute("rpc.response.status_code", code)
        if code in _FAILURES:
            _fail(self._span, code)

    def fail(self, error: BaseException) -> None:
        """Note why it failed: the kind of error alone, as its text may quote what the client sent."""
        _fail(self._span, type(error).__name__)

    def end(self) -> None:
        """What was begun is over."""
        self._span.end()

    def add_batch(self, start_ns: int, size: int) -> None:
        """Put a transaction of the ledger below this span, which it shares with others and which just ended.

        Args:
            start_ns: When it began, since 1970.
            size: Movements in it.
        """
        attributes: dict[str, str | int] = {**_POSTGRESQL, "db.operation.batch.size": size}
        parent = set_span_in_context(self._span)
        self._tracer.start_span("ledger transaction", parent, SpanKind.CLIENT, attributes, start_time=start_ns).end()

    def add_statement(self, record: Any) -> None:  # noqa: ANN401 - asyncpg does not export LoggedQuery
        """Put a statement below this span that the driver just ended; its values are left out."""
        name = _name_of(record.query)
        span = self._tracer.start_span(
            name,
            set_span_in_context(self._span),
            SpanKind.CLIENT,
            {**_POSTGRESQL, "db.operation.name": name},
            start_time=time_ns() - int(record.elapsed * 1e9),
        )
        if record.exception is not None:
            _fail(span, type(record.exception).__name__)
        span.end()

    @contextmanager
    def span(self, name: str, **attributes: str | int) -> Iterator[None]:
        """Put a span below this one that lasts as long as the context, and below which others are put meanwhile."""
        inner = self._tracer.start_span(name, set_span_in_context(self._span), attributes=attributes)
        token = _current.set(Trace(self._tracer, inner))
        try:
            yield
        except BaseException as error:
            _fail(inner, type(error).__name__)
            raise
        finally:
            _current.reset(token)
            inner.end()


class Tracing:
    """Begins traces, or goes on with those of others, and sends them to a collector.

    Args:
        endpoint: Base URL of a collector that takes OTLP over HTTP; OTEL_EXPORTER_OTLP_ENDPOINT. Further variables
            of the standard, such as OTEL_EXPORTER_OTLP_HEADERS and OTEL_TRACES_SAMPLER, are read by the SDK.
        service: What the spans are those of: `server` or `worker`.
        instance: Which of them.
        version: Of the program.
    """

    def __init__(self, endpoint: str, service: str, instance: str, version: str) -> None:
        resource = Resource.create(
            {
                "service.name": service,
                "service.namespace": "transactions",
                "service.instance.id": instance,
                "service.version": version,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("transactions")

    def begin_call(self, method: str, metadata: Mapping[str, str]) -> Trace | None:
        """Begin the span of a call; None if it is not sampled.

        Args:
            method: As in `bank.v1.UserService/CreateUser`.
            metadata: Of the call; who calls decides by `traceparent` whether it is sampled.
        """
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        return self._begin(method, metadata.get("traceparent", ""), SpanKind.SERVER, attributes)

    def begin_job(self, job: str, traceparent: str) -> Trace | None:
        """Begin the span of one try of a job; None if the call that asked for it was not sampled."""
        if not traceparent:
            return None
        return self._begin(job, traceparent, SpanKind.CONSUMER, {"messaging.operation.name": job})

    def close(self) -> None:
        """Send what is still here."""
        self._provider.shutdown()

    def _begin(self, name: str, traceparent: str, kind: SpanKind, attributes: Mapping[str, str]) -> Trace | None:
        parent = parse_traceparent(traceparent)
        if parent is not None and not parent.trace_flags.sampled:
            return None
        context = set_span_in_context(NonRecordingSpan(parent)) if parent else None
        span = self._tracer.start_span(name, context, kind, attributes)
        if not span.is_recording():
            return None
        trace = Trace(self._tracer, span)
        _current.set(trace)
        return trace


def open_tracing(endpoint: str, service: str, instance: str, version: str) -> Tracing | None:
    """As the settings say: None without an endpoint."""
    return Tracing(endpoint, service, instance, version) if endpoint else None


_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """The innermost span of the present call or job; None if it is not sampled."""
    return _current.get()


def traced(name: str) -> AbstractContextManager[None]:
    """A span as long as the context, if the present call or job is sampled."""
    trace = _current.get()
    return _UNTRACED if trace is None else trace.span(name)


def parse_traceparent(text: str) -> SpanContext | None:
    """What the W3C header says; None if it is absent or malformed."""
    if len(text) != _TRACEPARENT_LENGTH or text[:3] != "00-" or text[35] != "-" or text[52] != "-":
        return None
    try:
        trace_id, span_id, flags = (int(text[start:end], 16) for start, end in ((3, 35), (36, 52), (53, 55)))
    except ValueError:
        return None
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return context if context.is_valid else None


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _name_of(query: str) -> str:
    """The name that the query has in db/queries; of others the first word."""
    words = query.split(None, 3)
    return words[2] if words[:2] == ["--", "name:"] else words[0].strip(";").upper() if words else "EMPTY"
