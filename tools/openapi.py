"""OpenAPI 3.1 from the descriptor set: what a JSON client of the gateway sees.

`protoc-gen-openapiv3` writes one document for each proto file, in the way its own gateway behaves.
Here they are merged and corrected where Envoy behaves otherwise: field names as in the contract,
streams as arrays, path parameters without dots.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet, MethodDescriptorProto

# A JSON object of the document.
Json = dict[str, Any]

PROGRAM = "protoc-gen-openapiv3"
INSTALL = f"go install github.com/grpc-ecosystem/grpc-gateway/v2/{PROGRAM}@v2.31.0"
PACKAGE = "bank."
TITLE = "Transactions API"
DESCRIPTION = (
    "Users, accounts and transfers on a double-entry ledger. The same contract is served as gRPC.\n\n"
    "Sign in with `POST /v1/sessions`, then press *Authorize* and paste the `access_token`. Amounts are in minor "
    "units of their currency; 64-bit integers are strings. A call that carries a request id may be sent again "
    "unchanged: it takes effect once."
)
# Which sources a document was made from, so that a stale one is recognised without the program.
DIGEST = "x-source-sha256"
HTTP_BODY = "google.api.HttpBody"
CONTENT_TYPES = {"ExportStatement": "text/csv", "StreamEvents": "text/event-stream"}
"""What the bytes of an HttpBody are, by the name of the method."""
REQUEST_ID = "request_id"
METHODS = ("get", "post", "put", "patch", "delete")
SECURITY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "`access_token` of CreateSession or RefreshSession.",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "UUID made by the client; may carry `request_id` instead of the body.",
    "required": False,
    "schema": {"type": "string", "format": "uuid"},
}
ERROR_SCHEMA = {
    "type": "object",
    "description": "Every error has this shape, whoever refused the call.",
    "required": ["code", "message", "details"],
    "properties": {
        "code": {"type": "integer", "format": "int32", "description": "Canonical gRPC status code."},
        "message": {"type": "string", "description": "For a developer to read; not a contract."},
        "details": {
            "type": "array",
            "description": "Typed details. google.rpc.ErrorInfo names the `reason` to act on.",
            "items": {
                "type": "object",
                "required": ["@type"],
                "properties": {"@type": {"type": "string"}},
                "additionalProperties": True,
            },
        },
    },
    "example": {
        "code": 9,
        "message": "The account has too little money.",
        "details": [
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "INSUFFICIENT_FUNDS",
                "domain": "bank.v1",
                "metadata": {"needed_minor": "1234", "available_minor": "1000"},
            }
        ],
    },
}


class ProgramMissingError(Exception):
    """protoc-gen-openapiv3 is not installed."""


class ProgramFailedError(Exception):
    """protoc-gen-openapiv3 refused the contract; the message is what it said."""


def digest(image: bytes, public: Collection[str]) -> str:
    """Fingerprint of what a document is made from."""
    return hashlib.sha256(image + "\0".join(sorted(public)).encode()).hexdigest()


def document(image: bytes, *, version: str, public: Collection[str]) -> str:
    """The whole document as text.

    Args:
        image: Serialized descriptor set with imports and comments.
        version: Version of the API, for display.
        public: Full method names (`/package.Service/Method`) that need no access token.

    Raises:
        ProgramMissingError: protoc-gen-openapiv3 is not on this machine.
        ProgramFailedError: It refused the contract.
    """
    contract = FileDescriptorSet.FromString(image)
    parts = _run_program(contract)
    merged: Json = {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": version, "description": DESCRIPTION},
        DIGEST: digest(image, public),
        "servers": [{"url": "/"}],
        "security": [{"bearerAuth": []}],
        "tags": [tag for part in parts for tag in part.get("tags", [])],
        "paths": {},
        "components": {
            "schemas": {"Error": ERROR_SCHEMA},
            "responses": {
                "Error": {
                    "description": "The call was refused.",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
                }
            },
            "securitySchemes": {"bearerAuth": SECURITY_SCHEME},
        },
    }
    for part in parts:
        merged["components"]["schemas"] |= part.get("components", {}).get("schemas", {})
        for path, operations in part.get("paths", {}).items():
            merged["paths"].setdefault(_without_dots(path), {}).update(operations)
    _correct_operations(merged, contract, public)
    merged["components"]["schemas"].pop(HTTP_BODY, None)
    _correct_values(merged)
    merged["paths"] = dict(sorted(merged["paths"].items()))
    merged["components"]["schemas"] = dict(sorted(merged["components"]["schemas"].items()))
    return json.dumps(merged, indent=2, ensure_ascii=False) + "\n"


def _run_program(contract: FileDescriptorSet) -> list[Json]:
    """One raw document for each file of the contract, in the order of the files."""
    request = CodeGeneratorRequest(parameter="disable_default_errors=true")
    for file in contract.file:
        copied = request.proto_file.add()
        copied.CopyFrom(file)
        copied.options.go_package = copied.options.go_package or copied.package.replace(".", "/")
        for message in copied.message_type:
            _name_json_as_proto(message)
        if file.package.startswith(PACKAGE):
            request.file_to_generate.append(file.name)
    answer = subprocess.run([_program()], input=request.SerializeToString(), capture_output=True, check=False)
    response = CodeGeneratorResponse.FromString(answer.stdout)
    if answer.returncode != 0 or response.error:
        raise ProgramFailedError(response.error or answer.stderr.decode(errors="replace").strip())
    return [json.loads(file.content) for file in sorted(response.file, key=lambda file: file.name)]


def _program() -> str:
    """Where the program is: on PATH, or where `go install` puts it."""
    folders = [os.environ.get("PATH", ""), str(Path.home() / "go" / "bin")]
    if go := shutil.which("go"):
        answer = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=False)
        folders += [f"{folder}/bin" for folder in answer.stdout.strip().split(os.pathsep)]
    found = shutil.which(PROGRAM, path=os.pathsep.join(folders))
    if not found:
        raise ProgramMissingError
    return found


def _name_json_as_proto(message: DescriptorProto) -> None:
    """Envoy prints the names of the contract, not camelCase."""
    for field in message.field:
        field.json_name = field.name
    for nested in message.nested_type:
        _name_json_as_proto(nested)


def _without_dots(path: str) -> str:
    """/v1/users/{user.id} -> /v1/users/{user_id}: some clients read a dot as an attribute."""
    return re.sub(r"\{([^}=]+)", lambda parameter: parameter[0].replace(".", "_"), path)


def _correct_operations(merged: Json, contract: FileDescriptorSet, public: Collection[str]) -> None:
    methods: dict[str, tuple[str, MethodDescriptorProto]] = {
        f"{service.name}_{method.name}": (f"/{file.package}.{service.name}/{method.name}", method)
        for file in contract.file
        for service in file.service
        for method in service.method
    }
    for operations in merged["paths"].values():
        for operation in (operations[method] for method in METHODS if method in operations):
            full_name, method = methods[operation["operationId"]]
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["name"] = parameter["name"].replace(".", "_")
            if full_name in public:
                operation["security"] = []
            _offer_idempotency_key(operation)
            answer = operation["responses"]["200"]
            answer["content"] = answer_content(answer["content"], method)
            if method.output_type == f".{HTTP_BODY}":
                answer["description"] = "The file."
            operation["responses"]["default"] = {"$ref": "#/components/responses/Error"}


def _offer_idempotency_key(operation: Json) -> None:
    """Where the body has a request id, the header may carry it instead."""
    content = operation.get("requestBody", {}).get("content", {})
    body = content.get("application/json", {}).get("schema", {})
    if REQUEST_ID not in body.get("properties", {}):
        return
    body["properties"][REQUEST_ID]["format"] = "uuid"
    if REQUEST_ID in body.get("required", []):
        body["required"].remove(REQUEST_ID)
        operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
    if not body.get("required", True):
        del body["required"]


def answer_content(content: Json, method: MethodDescriptorProto) -> Json:
    """What Envoy answers with: an array of a stream's messages, and the bare bytes of an HttpBody."""
    if method.output_type == f".{HTTP_BODY}":
        return {CONTENT_TYPES[method.name]: {"schema": {"type": "string"}}}
    if method.server_streaming:
        return {kind: {"schema": {"type": "array", "items": item["schema"]}} for kind, item in content.items()}
    return content


def _correct_values(merged: Json) -> None:
    """Numbers of 64 bits travel as strings; comments are wrapped for an editor, not for a page."""
    for node in _objects(merged):
        if node.get("type") == "string" and node.get("format") in ("int64", "uint64"):
            node["pattern"] = "^-?[0-9]{1,19}$"
        for key in ("summary", "description"):
            if isinstance(node.get(key), str):
                node[key] = re.sub(r"(?<!\n)\n(?!\n|[-*] |\d+\. )", " ", node[key])


def _objects(node: object) -> Iterator[Json]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _objects(child)
    elif isinstance(node, list):
        for child in node:
            yield from _objects(child)
