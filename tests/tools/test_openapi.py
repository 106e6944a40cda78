"""gen/openapi.json describes what the gateway really offers."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodDescriptorProto
from openapi_spec_validator import validate

from server.access import ACCESS
from tools.generate import ROOT
from tools.openapi import answer_content

ONE_EVENT: dict[str, Any] = {"application/json": {"schema": {"$ref": "#/components/schemas/bank.v1.Event"}}}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "gen/openapi.json").read_text())
    return loaded


@pytest.fixture(scope="module")
def contract() -> FileDescriptorSet:
    return FileDescriptorSet.FromString((ROOT / "gen/bank.binpb").read_bytes())


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """HTTP method, path and operation by operation id."""
    return {
        operation["operationId"]: (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def http_rules(contract: FileDescriptorSet) -> Iterator[tuple[str, str, str, str]]:
    """Full RPC name, operation id, HTTP method and path of every RPC that has a rule."""
    for file in contract.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                if verb := rule.WhichOneof("pattern"):
                    full_name = f"/{file.package}.{service.name}/{method.name}"
                    yield full_name, f"{service.name}_{method.name}", verb, getattr(rule, verb)


def objects(node: object) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from objects(child)
    elif isinstance(node, list):
        for child in node:
            yield from objects(child)


class TestDocument:
    def test_document_is_valid_openapi(self, document: dict[str, Any]) -> None:
        validate(document)
        assert document["openapi"].startswith("3.1")
        assert document["info"]["title"] == "Transactions API"
        assert document["servers"] == [{"url": "/"}]

    def test_every_rpc_with_a_rule_is_an_operation_and_nothing_else_is(
        self, contract: FileDescriptorSet, operations: dict[str, tuple[str, str, dict[str, Any]]]
    ) -> None:
        expected = {name: (verb, path.replace(".", "_")) for _, name, verb, path in http_rules(contract)}
        assert {name: (verb, path) for name, (verb, path, _) in operations.items()} == expected
        assert "UserService_UpdateUser" in expected

    def test_path_parameters_are_declared_and_have_no_dots(
        self, operations: dict[str, tuple[str, str, dict[str, Any]]]
    ) -> None:
        for _, path, operation in operations.values():
            declared = {each["name"] for each in operation.get("parameters", []) if each["in"] == "path"}
            assert declared == set(re.findall(r"\{(\w+)\}", path))
            assert "." not in "".join(re.findall(r"\{[^}]*\}", path))

    def test_fields_have_the_names_of_the_contract(self, document: dict[str, Any], contract: FileDescriptorSet) -> None:
        messages = {
            f"{file.package}.{message.name}": {field.name for field in message.field}
            for file in contract.file
            for message in file.message_type
        }
        schemas = document["components"]["schemas"]
        described = {name: set(schema.get("properties", {})) for name, schema in schemas.items() if name in messages}
        assert described == {name: messages[name] for name in described}
        assert "bank.v1.Transfer" in described

    def test_numbers_of_64_bits_are_strings_of_digits(self, document: dict[str, Any]) -> None:
        longs = [node for node in objects(document) if node.get("format") == "int64"]
        assert longs
        assert {(node["type"], node["pattern"]) for node in longs} == {("string", "^-?[0-9]{1,19}$")}

    def test_only_public_methods_need_no_token(
        self,
        document: dict[str, Any],
        contract: FileDescriptorSet,
        operations: dict[str, tuple[str, str, dict[str, Any]]],
    ) -> None:
        assert document["security"] == [{"bearerAuth": []}]
        assert document["components"]["securitySchemes"]["bearerAuth"]["scheme"] == "bearer"
        for full_name, name, _, _ in http_rules(contract):
            assert (operations[name][2].get("security") == []) == ACCESS[full_name].public, full_name

    def test_request_id_may_come_in_the_header_instead_of_the_body(
        self, contract: FileDescriptorSet, operations: dict[str, tuple[str, str, dict[str, Any]]]
    ) -> None:
        requests = {
            f"{service.name}_{method.name}"
            for file in contract.file
            for service in file.service
            for method in service.method
            for message in file.message_type
            if method.input_type == f".{file.package}.{message.name}"
            and any(field.name == "request_id" for field in message.field)
        }
        offered = set()
        for name, (_, _, operation) in operations.items():
            headers = [each for each in operation.get("parameters", []) if each["name"] == "Idempotency-Key"]
            if headers:
                body = operation["requestBody"]["content"]["application/json"]["schema"]
                assert headers[0]["required"] is False
                assert "request_id" in body["properties"]
                assert "request_id" not in body.get("required", [])
                offered.add(name)
        assert offered == requests
        assert "TransferService_CreateTransfer" in offered

    def test_every_operation_describes_its_errors(
        self, document: dict[str, Any], operations: dict[str, tuple[str, str, dict[str, Any]]]
    ) -> None:
        assert set(document["components"]["schemas"]["Error"]["properties"]) == {"code", "message", "details"}
        for _, _, operation in operations.values():
            assert operation["responses"]["default"] == {"$ref": "#/components/responses/Error"}

    def test_every_tag_and_operation_is_explained(
        self, document: dict[str, Any], operations: dict[str, tuple[str, str, dict[str, Any]]]
    ) -> None:
        tags = {tag["name"]: tag["description"] for tag in document["tags"]}
        for _, _, operation in operations.values():
            assert operation["summary"]
            assert tags[operation["tags"][0]]


class TestAnswerContent:
    def test_message_stays_as_it_is(self) -> None:
        assert answer_content(ONE_EVENT, MethodDescriptorProto(output_type=".bank.v1.Event")) == ONE_EVENT

    def test_stream_is_an_array(self) -> None:
        method = MethodDescriptorProto(output_type=".bank.v1.Event", server_streaming=True)
        item = ONE_EVENT["application/json"]["schema"]
        assert answer_content(ONE_EVENT, method) == {"application/json": {"schema": {"type": "array", "items": item}}}

    def test_http_body_is_bare_bytes_even_in_a_stream(self) -> None:
        method = MethodDescriptorProto(
            name="ExportStatement", output_type=".google.api.HttpBody", server_streaming=True
        )
        assert answer_content(ONE_EVENT, method) == {"text/csv": {"schema": {"type": "string"}}}
