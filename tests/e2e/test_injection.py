"""Text that means something to a database, a log or a reader of errors is only text."""

import json
import re
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from bank.v1 import account_service_pb2, user_service_pb2

from server.logs import LINE_BYTES_MAX
from tests.e2e.conftest import ABSENT, Bank, Scene, transfer_fields
from tests.e2e.stage import signing_up
from tests.e2e.wire import METHODS, Answer, GrpcWire, as_protobuf_json, filled

pytestmark = pytest.mark.usefixtures("settled")

SQL = [
    "'",
    "';--",
    '";--',
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    "1; SELECT pg_sleep(9)",
    "\\'; TRUNCATE entries; --",
    "%",
    "_",
    "\\",
    "$1",
    "{}",
    "$$",
    "/*",
]
CONTROLS = [
    'a"}\n{"level":"error","event":"forged"}',
    "a\r\nevent=forged",
    "\x1b[2J\x1b[31m",
    "a\u2028b\u2029c\u0085d",
    "a\x00b",
    "\x7f\x9b",
]
INNARDS = re.compile(
    r"select |insert |update |asyncpg|psycopg|traceback|\.py\b|/work|/usr|/root|exception|relation|constraint|"
    r"violates|[a-z]+_[a-z_]*_(?:key|fkey|pkey|known|positive|range|here)\b|server\.|[a-z]Error\b|line \d",
    re.IGNORECASE,
)


def log_lines(bank: Bank, name: str) -> list[bytes]:
    return (bank.stack.state_dir / "logs" / f"{name}.log").read_bytes().split(b"\n")[:-1]


class TestSql:
    """S41."""

    @pytest.mark.parametrize("text", SQL)
    async def test_every_field_of_every_call_takes_it_for_text(self, bank: Bank, text: str) -> None:
        """As an admin, a banker and a depositor, so that no call ends at its door."""
        people = [await bank.person(roles=("DEPOSITOR", *roles)) for roles in (("ADMIN",), ("BANKER",), ())]
        tables = await bank.owner.fetchval("SELECT count(*) FROM pg_class WHERE relkind = 'r'")
        for rpc, method in METHODS.items():
            if rpc == "ExportStatement":
                continue  # a stream, which the test below calls
            for person in people:
                fields = as_protobuf_json({**filled(method.input_type, text), "update_mask": "displayName"})
                if "update_mask" not in {field.name for field in method.input_type.fields}:
                    del fields["update_mask"]
                answer = await bank.grpc.call(rpc, fields, person.token)
                assert answer.code in {
                    *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "FAILED_PRECONDITION"),
                    *("UNAUTHENTICATED", "RESOURCE_EXHAUSTED"),
                }, (rpc, answer)
            if rpc == "RevokeAllSessions":
                people = [await bank.person(roles=("DEPOSITOR", *roles)) for roles in (("ADMIN",), ("BANKER",), ())]
        assert await bank.owner.fetchval("SELECT count(*) FROM pg_class WHERE relkind = 'r'") == tables

    @pytest.mark.parametrize("text", SQL)
    async def test_it_is_stored_as_it_stands_and_filters_match_it_alone(
        self, bank: Bank, scene: Scene, text: str
    ) -> None:
        opening = {"currency_code": "USD", "request_id": str(uuid4()), "display_name": text}
        opened = await bank.json.call("CreateAccount", opening, scene.alice.token)
        assert opened.reply["account"]["display_name"] == text
        reference = f"{text}{uuid4().hex[:8]}"
        for label in (reference, f"x{uuid4().hex}"):
            labels = {"description": text, "reference": label, "metadata": {text: label}}
            fields = transfer_fields(scene.source, scene.second, **labels)
            assert (await bank.json.call("CreateTransfer", fields, scene.alice.token)).code == "OK"
        for filters in ({"reference": reference}, {"metadata_key": text, "metadata_value": reference}):
            answer = await bank.both("ListTransfers", filters, scene.alice.token)
            found = answer.reply["transfers"]
            assert [each["reference"] for each in found] == [reference], filters
            assert found[0]["description"] == text
        assert (await bank.both("ListTransfers", {"reference": text}, scene.alice.token)).reply["transfers"] == []

    async def test_ids_and_cursors_are_refused_before_any_query(self, bank: Bank, scene: Scene) -> None:
        for text in SQL:
            for rpc, name in (
                *(("GetAccount", "account_id"), ("GetTransfer", "transfer_id"), ("GetUser", "user_id")),
                *(("ListAccounts", "page_token"), ("ListTransfers", "page_token"), ("ListSessions", "page_token")),
            ):
                answer = await bank.grpc.call(rpc, {name: text}, scene.alice.token)
                assert answer.code == "INVALID_ARGUMENT", (rpc, text)


class TestLogs:
    """S39."""

    async def test_every_line_is_one_escaped_event_whatever_is_sent(
        self, bank: Bank, scene: Scene, direct: GrpcWire
    ) -> None:
        token = scene.alice.token
        for text in CONTROLS:
            for rpc, fields in (
                ("CreateUser", {**signing_up(), "username": text, "full_name": text}),
                ("CreateSession", {"username": text, "password": text}),
                ("CreateTransfer", transfer_fields(scene.source, scene.second, description=text, currency_code=text)),
                ("CreateAccount", {"currency_code": text, "request_id": ABSENT, "display_name": text}),
                ("ListTransfers", {"reference": text, "page_token": text}),
                ("UpdateUser", {"user": {"id": text, "full_name": text}, "update_mask": "full_name"}),
            ):
                for wire in (bank.json, bank.grpc, direct):
                    await wire.call(rpc, fields if wire is bank.json else as_protobuf_json(fields), token)
        forged = '","level":"error","event":"forged'
        for name in ("user-agent", "x-request-id", "idempotency-key", "referer", "x-forwarded-for"):
            await bank.json.gateway.get(f"/v1/users/me?x={forged}".replace('"', "%22"), (name, forged))
            await direct.call("GetUser", {"user_id": "me"}, token, [(name, forged)])
        for path in ("/v1/users/%0a%1b%5b2J%22", "/v1/%e2%80%a8", "/%0d%0aforged", "/v1/users/" + "a" * 7_000):
            await bank.json.gateway.get(path)
        huge = transfer_fields(scene.source, scene.second, description="\n" * 30_000)
        await bank.json.call("CreateTransfer", huge, token)
        for process in ("server", "worker", "gateway"):
            lines = log_lines(bank, process)
            assert lines, process
            for line in lines:
                event = json.loads(line)
                assert event.get("event") != "forged", line
                assert event.get("level") != "error", line
                assert line.isascii(), line
                assert line.decode().isprintable(), line
                assert len(line) <= (LINE_BYTES_MAX if process != "gateway" else 16_384), line


class TestErrors:
    """S40."""

    @pytest.fixture
    async def broken(self, bank: Bank) -> AsyncIterator[dict[str, str]]:
        """Names of accounts at which the database fails, by how."""
        names = {"raised": f"a{uuid4().hex}", "check": f"b{uuid4().hex}"}
        await bank.owner.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'relation secret_table of /usr/lib has no column'; END $$"
        )
        await bank.owner.execute(
            f"CREATE TRIGGER fail BEFORE INSERT ON accounts FOR EACH ROW"
            f" WHEN (NEW.display_name = '{names['raised']}') EXECUTE FUNCTION fail()"
        )
        await bank.owner.execute(
            f"ALTER TABLE accounts ADD CONSTRAINT accounts_secret_here CHECK (display_name <> '{names['check']}')"
        )
        yield names
        await bank.owner.execute("ALTER TABLE accounts DROP CONSTRAINT accounts_secret_here")
        await bank.owner.execute("DROP TRIGGER fail ON accounts")
        await bank.owner.execute("DROP FUNCTION fail")

    async def test_failing_handler_tells_a_trace_id_and_no_more(
        self, bank: Bank, scene: Scene, direct: GrpcWire, broken: dict[str, str]
    ) -> None:
        before = await bank.state()
        for how, name in broken.items():
            fields = {"currency_code": "USD", "request_id": str(uuid4()), "display_name": name}
            reply = await bank.json.send("CreateAccount", fields, scene.alice.token)
            assert reply.status == 500, how
            found = reply.json()
            trace_ids = [detail["request_id"] for detail in found["details"] if "request_id" in detail]
            answers = [await wire.call("CreateAccount", fields, scene.alice.token) for wire in (bank.grpc, direct)]
            assert {answer.code for answer in answers} == {"INTERNAL"}
            texts = [found["message"], *(answer.message for answer in answers)]
            assert texts == ["internal error: tell the operator the trace id"] * 3
            for text in (reply.body.decode(), *(answer.without() for answer in answers)):
                assert not INNARDS.search(text), text
            log = b"\n".join(line for line in log_lines(bank, "server") if b'"defect"' in line).decode()
            for trace_id in (*trace_ids, *(answer.trace_id for answer in answers)):
                assert trace_id
                assert f'"trace_id":"{trace_id}"' in log
        assert await bank.state() == before

    async def test_no_refusal_names_what_is_inside(self, bank: Bank, scene: Scene, direct: GrpcWire) -> None:
        """Unique names, foreign keys and malformed messages end in sentences of the contract."""
        taken = {**signing_up(), "username": scene.alice.username}
        answers: list[Answer] = []
        for wire in (bank.json, bank.grpc, direct):
            answers += [
                await wire.call("CreateUser", taken),
                await wire.call("CreateTransfer", transfer_fields(ABSENT, scene.second), scene.alice.token),
                await wire.call("GetAccount", {"account_id": "'"}, scene.alice.token),
            ]
        for grpc_wire in (bank.grpc, direct):
            for raw in (b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x08", b"\x20" + b"\xff" * 11):
                for rpc in ("CreateTransfer", "CreateSession", "GetUser"):
                    answers.append(await grpc_wire.send(rpc, raw, scene.alice.token))
        assert len(answers) > 30
        for answer in answers:
            assert answer.code not in ("OK", "INTERNAL", "UNKNOWN"), answer
            assert answer.trace_id, answer
            assert not INNARDS.search(answer.without()), answer

    async def test_no_page_of_the_gateway_names_what_is_inside(self, bank: Bank) -> None:
        for path in ("/", "/docs/", "/nothing", "/v1/nothing", "/healthz", "/readyz"):
            reply = await bank.json.gateway.get(path)
            for name, value in reply.headers.items():
                assert not re.search(r"envoy/|python|grpc-python|postgres", value, re.IGNORECASE), (name, value)


class TestText:
    """S43."""

    @pytest.mark.parametrize(
        "username",
        [
            *(
                "\u0430lice",
                "al\u0131ce",
                "alice\u200b",
                "\u202eecila",
                "ali\u0301ce",
                "\uff41lice",
                "alice\0",
                "a lice",
            ),
            *("alice\n", "Ａlice", "ali\u00adce", "a" * 33, "al", "1alice", "al.ice", "\U0001f600alice"),
        ],
        ids=ascii,
    )
    async def test_name_that_looks_like_another_is_refused(self, bank: Bank, username: str) -> None:
        answer = await bank.both("CreateUser", {**signing_up(), "username": username})
        assert (answer.code, answer.violated_fields) == ("INVALID_ARGUMENT", ["username"])

    async def test_names_in_other_case_are_one_name(self, bank: Bank, scene: Scene) -> None:
        answer = await bank.both("CreateUser", {**signing_up(), "username": scene.alice.username.upper()})
        assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "USERNAME_TAKEN")

    async def test_twins_of_a_text_are_stored_in_one_form(self, bank: Bank, scene: Scene) -> None:
        names = []
        for name in ("Jose\u0301 Peña", "José Pen\u0303a"):
            fields = {"user": {"id": "me", "full_name": name}, "update_mask": "full_name"}
            names.append((await bank.json.call("UpdateUser", fields, scene.bob.token)).reply["user"]["full_name"])
        assert names == ["José Peña"] * 2

    async def test_half_a_surrogate_pair_is_malformed(self, bank: Bank, scene: Scene) -> None:
        """Only bytes can say such a thing: it is no UTF-8."""
        before = await bank.state()
        for rpc, request, number in (
            ("CreateAccount", account_service_pb2.CreateAccountRequest(currency_code="USD", request_id=ABSENT), 2),
            ("CreateUser", user_service_pb2.CreateUserRequest(**signing_up() | {"full_name": ""}), 3),
        ):
            raw = request.SerializeToString() + bytes([number << 3 | 2, 3]) + b"\xed\xa0\x80"
            answer = await bank.grpc.send(rpc, raw, scene.alice.token)
            assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST"), rpc
        assert await bank.state() == before
