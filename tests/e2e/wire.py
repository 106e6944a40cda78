"""One call, made over gRPC and over JSON through the gateway, answered in one form."""

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from urllib.parse import quote, urlencode

import grpc
from bank.v1 import (
    account_service_pb2,
    event_service_pb2,
    hold_service_pb2,
    ledger_service_pb2,
    order_service_pb2,
    product_service_pb2,
    session_service_pb2,
    transfer_service_pb2,
    user_service_pb2,
    webhook_service_pb2,
)
from google.api import annotations_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from tests.envoy.gateway import Gateway, Reply

Fields: TypeAlias = Mapping[str, Any]
"""A request in JSON form."""
Headers: TypeAlias = Sequence[tuple[str, str]]

CALL_TIMEOUT_S = 20.0
METHODS: dict[str, MethodDescriptor] = {
    method.name: method
    for module in (
        account_service_pb2,
        event_service_pb2,
        webhook_service_pb2,
        hold_service_pb2,
        ledger_service_pb2,
        order_service_pb2,
        product_service_pb2,
        session_service_pb2,
        transfer_service_pb2,
        user_service_pb2,
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    # The streams of the feed are no calls with one answer.
    if method.name not in ("WatchEvents", "StreamEvents")
}
HTTP_STATUS = {
    "OK": 200,
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
"""What a code looks like over HTTP; any other one, such as INTERNAL, is no answer a test expects."""
_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}
_DETAILS = {
    f"google.rpc.{name}": message_factory.GetMessageClass(descriptor)
    for name, descriptor in error_details_pb2.DESCRIPTOR.message_types_by_name.items()
}


@dataclass(frozen=True)
class Answer:
    """What a call came to: equal over both wires when code, reply and every detail but the trace id are."""

    code: str
    reply: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    details: tuple[dict[str, Any], ...] = ()
    trace_id: str = field(default="", compare=False)

    def detail(self, kind: str) -> dict[str, Any]:
        """The detail of a kind such as `ErrorInfo`; empty if there is none."""
        wanted = f"type.googleapis.com/google.rpc.{kind}"
        return next((detail for detail in self.details if detail["@type"] == wanted), {})

    @property
    def reason(self) -> str:
        return str(self.detail("ErrorInfo").get("reason", ""))

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.detail("ErrorInfo").get("metadata", {}))

    @property
    def violated_fields(self) -> list[str]:
        """Of a BadRequest, in order."""
        return [violation["field"] for violation in self.detail("BadRequest").get("field_violations", [])]

    def without(self, *texts: str) -> str:
        """The whole answer as text, with each of these blotted out."""
        text = json.dumps([self.code, self.reply, self.message, self.details], sort_keys=True)
        for each in texts:
            text = text.replace(each, "…")
        return text


class Wire(Protocol):
    """A way to call the service."""

    name: str

    async def call(self, rpc: str, fields: Fields, token: str = "", headers: Headers = ()) -> Answer: ...


class GrpcWire:
    """A native gRPC client."""

    name = "grpc"

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self._channel = channel
        self._timeout_s = timeout_s

    async def call(self, rpc: str, fields: Fields, token: str = "", headers: Headers = ()) -> Answer:
        method = METHODS[rpc]
        request = json_format.ParseDict(dict(fields), message_factory.GetMessageClass(method.input_type)())
        return await self.send(rpc, request.SerializeToString(), token, headers)

    async def send(self, rpc: str, raw: bytes, token: str = "", headers: Headers = ()) -> Answer:
        """Call with these bytes as the request, whatever they mean."""
        method = METHODS[rpc]
        reply_class = message_factory.GetMessageClass(method.output_type)
        stub = self._channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}", response_deserializer=reply_class.FromString
        )
        try:
            reply = await stub(raw, metadata=[*headers, *_bearer(token)], timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            return refusal_of(error)
        return Answer("OK", _as_json(reply))


class JsonWire:
    """An HTTP client; where the fields of a call go is read from the contract."""

    name = "json"

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway

    async def call(self, rpc: str, fields: Fields, token: str = "", headers: Headers = ()) -> Answer:
        return read_reply(await self.send(rpc, fields, token, headers))

    async def send(self, rpc: str, fields: Fields, token: str = "", headers: Headers = ()) -> Reply:
        """Call, and return what came back as it is."""
        verb, path, body = _as_http(METHODS[rpc], deepcopy(dict(fields)))
        return await self.gateway.send(verb, path, [*headers, *_bearer(token)], body)


def read_reply(reply: Reply) -> Answer:
    """The answer in an HTTP reply; its shape and status are checked on the way."""
    body = reply.json()
    if reply.status == 200:
        return Answer("OK", body)
    assert body.keys() == {"code", "message", "details"}, body
    code = _CODE_NAMES[body["code"]]
    # A body that is too large has no code of its own in gRPC.
    assert reply.status == HTTP_STATUS.get(code) or (reply.status, code) == (413, "INVALID_ARGUMENT"), reply
    return _refusal(code, body["message"], body["details"])


def refusal_of(error: grpc.aio.AioRpcError) -> Answer:
    """The answer in a gRPC failure."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # made for the other client
    details = [_unpacked(detail) for detail in status.details] if status else []
    return _refusal(error.code().name, error.details() or "", details)


def as_protobuf_json(fields: Fields) -> dict[str, Any]:
    """The same fields as protobuf's own JSON reader wants them: paths of a mask in camel case."""
    changed = deepcopy(dict(fields))
    if "update_mask" in changed:
        changed["update_mask"] = re.sub(r"_([a-z])", lambda found: found[1].upper(), changed["update_mask"])
    return changed


def filled(message: Descriptor, text: str, depth: int = 0) -> dict[str, Any]:
    """A request with the text in every field that can hold one."""
    found: dict[str, Any] = {}
    for each in message.fields:
        value: Any = None
        if each.type == FieldDescriptor.TYPE_STRING:
            value = text
        elif each.type == FieldDescriptor.TYPE_MESSAGE and each.message_type.GetOptions().map_entry:
            found[each.name] = {text: text}
        elif each.type == FieldDescriptor.TYPE_MESSAGE and each.message_type.full_name.startswith("bank.v1."):
            value = filled(each.message_type, text, depth + 1) if depth < 3 else None
        elif each.type == FieldDescriptor.TYPE_MESSAGE and each.message_type.full_name.endswith("FieldMask"):
            value = text
        if value is not None:
            found[each.name] = [value] if each.is_repeated else value
    return found


def _refusal(code: str, message: str, details: list[dict[str, Any]]) -> Answer:
    trace = [detail for detail in details if detail["@type"].endswith("/google.rpc.RequestInfo")]
    rest = tuple(detail for detail in details if detail not in trace)
    return Answer(code, {}, message, rest, trace[0]["request_id"] if trace else "")


def _unpacked(packed: AnyMessage) -> dict[str, Any]:
    message = _DETAILS[packed.TypeName()]()
    assert packed.Unpack(message)
    return {"@type": packed.type_url, **_as_json(message)}


def _as_json(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def _as_http(method: MethodDescriptor, fields: dict[str, Any]) -> tuple[str, str, str]:
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")

    def fill(match: "re.Match[str]") -> str:
        owner, _, name = match[1].rpartition(".")
        holder = fields[owner] if owner else fields
        return quote(str(holder.pop(name)), safe=":")

    path = re.sub(r"\{([a-z_.]+)\}", fill, getattr(rule, verb))
    body = ""
    if rule.body == "*":
        body, fields = json.dumps(fields), {}
    elif rule.body:
        body = json.dumps(fields.pop(rule.body))
    return verb.upper(), f"{path}?{urlencode(fields)}" if fields else path, body


def _bearer(token: str) -> Headers:
    return [("authorization", f"Bearer {token}")] if token else []
