"""What is wrong with a call is told alike over gRPC and JSON, and a refused call leaves nothing behind."""

import json
from typing import Any
from uuid import uuid4

import grpc
import pytest
from bank.v1 import transfer_service_pb2

from tests.e2e.conftest import ABSENT, Bank, Scene, transfer_fields
from tests.e2e.wire import Fields, read_reply

UTF8_OF_2_BYTES = "é"


def case(name: str, code: str, reason: str, *about: str, **changes: Any) -> Any:
    """A transfer with these fields changed; `about` is what the answer names: fields, or metadata as `key=value`."""
    return pytest.param(changes, code, reason, list(about), id=name)


IA, FP, NF = "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND"
BAD = "INVALID_REQUEST"
TRANSFERS = [
    case("source unknown", NF, NF, "resource=account", f"name={ABSENT}", source_account_id=ABSENT),
    case("source somebody else's", NF, NF, "resource=account", source_account_id="{bobs}"),
    case("source of the bank", NF, NF, "resource=account", source_account_id="{cash}"),
    case("source missing", IA, BAD, "source_account_id", source_account_id=None),
    case("source malformed", IA, BAD, "source_account_id", source_account_id="1' OR '1'='1"),
    case("source without dashes", IA, BAD, "source_account_id", source_account_id=ABSENT.replace("-", "")),
    case("destination unknown", NF, NF, "resource=account", f"name={ABSENT}", destination_account_id=ABSENT),
    case("destination of the bank", NF, NF, "resource=account", destination_account_id="{cash}"),
    case("to itself", IA, "SAME_ACCOUNT", "destination_account_id", destination_account_id="{source}"),
    case("currency of neither", FP, "CURRENCY_MISMATCH", "currency_code=EUR", currency_code="EUR"),
    case("destination in euros", FP, "CURRENCY_MISMATCH", destination_account_id="{euros}"),
    case("currency missing", IA, BAD, "currency_code", currency_code=None),
    case("currency in lower case", IA, "UNKNOWN_CURRENCY", "currency_code", "currency_code=usd", currency_code="usd"),
    case("currency unknown", IA, "UNKNOWN_CURRENCY", "currency_code=ZZZ", currency_code="ZZZ"),
    case("currency without minor units", IA, "UNKNOWN_CURRENCY", "currency_code=XAU", currency_code="XAU"),
    case("currency very long", IA, "UNKNOWN_CURRENCY", f"currency_code={'U' * 16}", currency_code="U" * 5_000),
    case("amount zero", IA, BAD, "amount_minor", amount_minor=0),
    case("amount missing", IA, BAD, "amount_minor", amount_minor=None),
    case("amount negative", IA, BAD, "amount_minor", amount_minor=-1),
    case("amount above the limit", IA, BAD, "amount_minor", amount_minor=10**17 + 1),
    case("amount largest of its type", IA, BAD, "amount_minor", amount_minor=2**63 - 1),
    case("amount smallest of its type", IA, BAD, "amount_minor", amount_minor=-(2**63)),
    case(
        "funds short by one",
        FP,
        "INSUFFICIENT_FUNDS",
        "needed_minor=10001",
        "available_minor=10000",
        amount_minor=10_001,
    ),
    case("amount at the limit", FP, "INSUFFICIENT_FUNDS", f"needed_minor={10**17}", amount_minor=10**17),
    case("request id missing", IA, BAD, "request_id", request_id=None),
    case("request id malformed", IA, BAD, "request_id", request_id="nonsense"),
    case("request id with blanks", IA, BAD, "request_id", request_id=f" {ABSENT[:-2]} "),
    case("request id with underscores", IA, BAD, "request_id", request_id=ABSENT.replace("-7", "7_")),
    case("request id in other digits", IA, BAD, "request_id", request_id=ABSENT.replace("0", "\u0660")),
    case("request id in braces", IA, BAD, "request_id", request_id=f"{{{ABSENT[:-4]}--}}".replace("{", "}", 1)),
    case("request id very long", IA, BAD, "request_id", request_id="0" * 10_000),
    case("description with NUL", IA, BAD, "description", description="a\0b"),
    case("description with a line end", IA, BAD, "description", description="a\nb"),
    case("description with escape", IA, BAD, "description", description="\x1b[2J"),
    case("description turning direction", IA, BAD, "description", description="a\u202eb"),
    case("description isolating direction", IA, BAD, "description", description="a\u2066b"),
    case("description too long", IA, BAD, "description", description="x" * 201),
    case("description of combining marks", IA, BAD, "description", description="a" + "\u0301" * 10_000),
    case("reference too long", IA, BAD, "reference", reference="x" * 65),
    case("reference with a control", IA, BAD, "reference", reference="\x7f"),
    case("metadata with 21 keys", IA, BAD, "metadata", metadata={f"k{number}": "" for number in range(21)}),
    case("metadata of 1025 bytes", IA, BAD, "metadata", metadata={"k": UTF8_OF_2_BYTES * 512}),
    case("metadata with an empty key", IA, BAD, "metadata", metadata={"": "x"}),
    case("metadata with NUL in a key", IA, BAD, "metadata", metadata={"\0": "x"}),
    case("metadata with NUL in a value", IA, BAD, "metadata", metadata={"k": "\0"}),
    case(
        "everything at once",
        IA,
        BAD,
        *("request_id", "source_account_id", "destination_account_id", "amount_minor", "currency_code"),
        *("description", "reference", "metadata"),
        request_id="x",
        source_account_id="x",
        destination_account_id="x",
        amount_minor=0,
        currency_code="",
        description="\0",
        reference="\0",
        metadata={"": ""},
    ),
]


class TestCreateTransfer:
    @pytest.mark.parametrize(("changes", "code", "reason", "about"), TRANSFERS)
    async def test_bad_field_is_named(
        self, bank: Bank, scene: Scene, changes: Fields, code: str, reason: str, about: list[str]
    ) -> None:
        fields = scene.fill(transfer_fields(scene.source, scene.second, **changes))
        answer = await bank.both("CreateTransfer", fields, scene.alice.token)
        assert (answer.code, answer.reason) == (code, reason)
        metadata = [f"{name}={value}" for name, value in answer.metadata.items()]
        named = [each for each in about if "=" not in each]
        assert set(about) - set(named) <= set(metadata)
        if named:
            assert answer.violated_fields == named

    async def test_all_limits_are_just_allowed(self, bank: Bank, scene: Scene) -> None:
        fields = transfer_fields(
            scene.source,
            scene.second,
            10_000,
            description="\U0001f600" * 200,
            reference="é" * 64,
            metadata={f"k{number:02}": "x" * (48 if number < 17 else 49) for number in range(20)} | {"k00": "x" * 49},
            validate_only=True,
        )
        assert sum(len(key) + len(value) for key, value in fields["metadata"].items()) == 1024
        assert (await bank.both("CreateTransfer", fields, scene.alice.token)).code == "OK"

    async def test_somebody_elses_account_looks_like_no_account(self, bank: Bank, scene: Scene) -> None:
        for field in ("source_account_id", "destination_account_id"):
            hidden = scene.cash if field == "destination_account_id" else scene.bobs
            refused = [
                await bank.both(
                    "CreateTransfer",
                    transfer_fields(scene.source, scene.second, **{field: account_id}),
                    scene.alice.token,
                )
                for account_id in (hidden, ABSENT)
            ]
            assert refused[0].without(hidden) == refused[1].without(ABSENT)

    @pytest.mark.parametrize(
        "amount",
        [
            "9223372036854775808",
            '"9223372036854775808"',
            "1e19",
            "-9223372036854775809",
            "1.5",
            '"1.5"',
            '"NaN"',
            '"x"',
            "true",
            "[1]",
            "{}",
        ],
    )
    async def test_amount_that_no_int64_holds_is_malformed(self, bank: Bank, scene: Scene, amount: str) -> None:
        """Only JSON can say such a thing."""
        before = await bank.state()
        fields = transfer_fields(scene.source, scene.second)
        body = json.dumps(fields).replace('"amount_minor": 1', f'"amount_minor": {amount}')
        assert amount in body
        reply = await bank.json.gateway.post("/v1/transfers", body, ("authorization", f"Bearer {scene.alice.token}"))
        assert (reply.status, read_reply(reply).reason) == (400, BAD)
        assert await bank.state() == before

    async def test_unverified_user_moves_nothing(self, bank: Bank, scene: Scene) -> None:
        stranger = await bank.person(verified=False)
        account = await bank.account(stranger, 100)
        answer = await bank.both("CreateTransfer", transfer_fields(account, scene.source), stranger.token)
        assert (answer.code, answer.reason) == (FP, "EMAIL_NOT_VERIFIED")

    async def test_disabled_user_calls_nothing_from_then_on(self, bank: Bank, scene: Scene) -> None:
        stranger = await bank.person()
        account = await bank.account(stranger, 100)
        admin = bank.people["admin"].token
        assert (await bank.json.call("DisableUser", {"user_id": stranger.user_id}, admin)).code == "OK"
        answer = await bank.both("CreateTransfer", transfer_fields(account, scene.source), stranger.token)
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        credited = await bank.grpc.call("CreateTransfer", transfer_fields(scene.source, account), scene.alice.token)
        assert credited.code == "OK"

    async def test_unknown_json_field_is_dropped(self, bank: Bank, scene: Scene) -> None:
        """As the documentation says: so a misspelt amount is a missing one."""
        before = await bank.state()
        fields = transfer_fields(scene.source, scene.second, amount_minor=None, amount=5, colour="red")
        answer = await bank.json.call("CreateTransfer", fields, scene.alice.token)
        assert (answer.reason, answer.violated_fields) == (BAD, ["amount_minor"])
        assert await bank.state() == before


class TestIdempotencyKey:
    async def test_header_alone_is_the_request_id(self, bank: Bank, scene: Scene) -> None:
        key = str(uuid4())
        fields = transfer_fields(scene.source, scene.second, request_id=None)
        first = await bank.json.call("CreateTransfer", fields, scene.alice.token, [("Idempotency-Key", key)])
        again = await bank.both("CreateTransfer", fields, scene.alice.token, idempotency_key=key.upper())
        assert first.reply["transfer"]["request_id"] == key
        assert again.reply == {**first.reply, "replayed": True}

    async def test_equal_to_the_field_is_accepted(self, bank: Bank, scene: Scene) -> None:
        fields = transfer_fields(scene.source, scene.second, validate_only=True)
        answer = await bank.both("CreateTransfer", fields, scene.alice.token, idempotency_key=fields["request_id"])
        assert answer.code == "OK"

    @pytest.mark.parametrize("with_field", [True, False])
    @pytest.mark.parametrize("key", [ABSENT[:-1], f"{ABSENT}, {ABSENT}", "x" * 1000])
    async def test_different_or_malformed_is_refused(
        self, bank: Bank, scene: Scene, key: str, with_field: bool
    ) -> None:
        fields = transfer_fields(scene.source, scene.second)
        if not with_field:
            del fields["request_id"]
        answer = await bank.both("CreateTransfer", fields, scene.alice.token, idempotency_key=key)
        assert (answer.code, answer.reason, answer.violated_fields) == (IA, BAD, ["request_id"])

    async def test_request_id_with_any_other_field_is_reused(self, bank: Bank, scene: Scene) -> None:
        fields = transfer_fields(
            scene.source, scene.second, description="a", reference=str(uuid4()), metadata={"a": "b"}
        )
        assert (await bank.grpc.call("CreateTransfer", fields, scene.alice.token)).code == "OK"
        others: dict[str, Any] = {
            "source_account_id": scene.second,
            "destination_account_id": scene.bobs,
            "amount_minor": 2,
            "currency_code": "EUR",
            "description": "b",
            "reference": "",
            "metadata": {"a": "c"},
        }
        others["destination_account_id"] = scene.bobs
        for name, value in others.items():
            changed = {**fields, name: value}
            if name == "source_account_id":
                changed["destination_account_id"] = scene.source
            answer = await bank.both("CreateTransfer", changed, scene.alice.token)
            assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED"), name
            assert answer.metadata == {"resource": "request", "name": fields["request_id"]}

    async def test_request_id_of_another_rpc_is_reused(self, bank: Bank, scene: Scene) -> None:
        fields = transfer_fields(scene.source, scene.second)
        assert (await bank.grpc.call("CreateTransfer", fields, scene.alice.token)).code == "OK"
        opening = {"currency_code": "USD", "request_id": fields["request_id"]}
        answer = await bank.both("CreateAccount", opening, scene.alice.token)
        assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")


class TestPages:
    @pytest.mark.parametrize("rpc", ["ListAccounts", "ListTransfers", "ListEntries", "ListSessions"])
    async def test_token_is_good_for_its_list_caller_and_filter_only(self, bank: Bank, scene: Scene, rpc: str) -> None:
        alice = scene.alice.token
        await bank.grpc.call("CreateTransfer", transfer_fields(scene.source, scene.second), alice)
        await bank.sign_in(scene.alice.username)
        own = {"account_id": scene.source} if rpc == "ListEntries" else {}
        first = await bank.both(rpc, {**own, "page_size": 1}, alice)
        token = first.reply["next_page_token"]
        assert token
        middle = len(token) // 2
        bad = [
            token[:-1],
            token + "A",
            token + "=",
            "x",
            "\0",
            "é",
            "x" * 5_000,
            token[:middle] + ("A" if token[middle] != "A" else "B") + token[middle + 1 :],
        ]
        bad += [token[:-1] + chr(ord(token[-1]) ^ 1)]
        tries = [({**own, "page_token": each}, alice) for each in bad]
        banker = bank.people["banker"].token
        tries.append(({**own, "page_token": token}, banker))
        if rpc != "ListSessions":
            other = {"owner_user_id": scene.bob.user_id} if rpc == "ListAccounts" else {"account_id": scene.bobs}
            tries.append(({**other, "page_token": token}, banker))
        if rpc == "ListTransfers":
            for narrower in (
                {"account_id": scene.source},
                {"kind": "TRANSFER_KIND_TRANSFER"},
                {"reference": "x"},
                {"start_time": "2020-01-01T00:00:00Z"},
            ):
                tries.append(({**narrower, "page_token": token}, alice))
        for fields, caller in tries:
            answer = await bank.both(rpc, fields, caller)
            assert (answer.code, answer.reason) == (IA, "INVALID_PAGE_TOKEN"), fields
        for other_list in {"ListAccounts", "ListTransfers", "ListSessions"} - {rpc}:
            answer = await bank.both(other_list, {"page_token": token}, alice)
            assert answer.reason == "INVALID_PAGE_TOKEN", other_list

    async def test_page_size_is_clamped_and_never_negative(self, bank: Bank, scene: Scene) -> None:
        owner = scene.bob.user_id
        await bank.owner.executemany(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')",
            [(uuid4(), owner) for _ in range(205)],
        )
        for size, expected in ((0, 50), (1, 1), (199, 199), (200, 200), (1000, 200), (2**31 - 1, 200)):
            answer = await bank.both("ListAccounts", {"page_size": size}, scene.bob.token)
            assert len(answer.reply["accounts"]) == expected, size
        for size in (-1, -(2**31)):
            answer = await bank.both("ListAccounts", {"page_size": size}, scene.bob.token)
            assert (answer.code, answer.violated_fields) == (IA, ["page_size"])

    async def test_filter_that_means_nothing_is_refused(self, bank: Bank, scene: Scene) -> None:
        answer = await bank.both(
            "ListTransfers", {"account_id": "x", "reference": "\0", "page_size": -1}, scene.alice.token
        )
        assert answer.violated_fields == ["account_id", "reference", "page_size"]

    async def test_kind_that_does_not_exist_is_refused(self, bank: Bank, scene: Scene) -> None:
        """Over JSON the gateway refuses it by itself."""
        answers = [await wire.call("ListTransfers", {"kind": 99}, scene.alice.token) for wire in bank.wires]
        assert [(answer.code, answer.reason) for answer in answers] == [(IA, BAD)] * 2
        assert answers[0].violated_fields == ["kind"]

    async def test_time_that_no_calendar_has_is_refused(self, bank: Bank, scene: Scene) -> None:
        """Over JSON the gateway refuses it by itself."""
        before = await bank.state()
        for seconds, nanos in ((2**63 - 1, 0), (-(2**63), 0), (253402300800, 0), (0, -1), (0, 2**31 - 1)):
            request = transfer_service_pb2.ListTransfersRequest()
            request.start_time.seconds, request.start_time.nanos = seconds, nanos
            answer = await bank.grpc.send("ListTransfers", request.SerializeToString(), scene.alice.token)
            assert (answer.code, answer.violated_fields) == (IA, ["start_time"]), (seconds, nanos)
        for time in ("10000-01-01T00:00:00Z", "yesterday", "2020-13-01T00:00:00Z"):
            refused = await bank.json.call("ListTransfers", {"start_time": time}, scene.alice.token)
            assert (refused.code, refused.reason) == (IA, BAD), time
        assert await bank.state() == before


class TestTransport:
    async def test_oversize_body_is_refused_by_both(self, bank: Bank, scene: Scene) -> None:
        before = await bank.state()
        fields = transfer_fields(scene.source, scene.second, description="x" * 70_000)
        refused = await bank.json.call("CreateTransfer", fields, scene.alice.token)
        assert (refused.code, refused.reason) == (IA, "REQUEST_TOO_LARGE")
        assert (await bank.grpc.call("CreateTransfer", fields, scene.alice.token)).code == IA
        assert await bank.state() == before

    @pytest.mark.parametrize(
        ("verb", "path"),
        [
            ("GET", "/v1/nothing"),
            ("POST", "/v1/"),
            ("PUT", "/v1/transfers"),
            ("DELETE", "/v1/transfers"),
            ("GET", "/v1/ledger:verify"),
            ("POST", "/v1/ledger:fix"),
            ("GET", "/v2/transfers"),
            ("TRACE", "/v1/transfers"),
        ],
    )
    async def test_unknown_path_or_method_is_not_found(self, bank: Bank, scene: Scene, verb: str, path: str) -> None:
        before = await bank.state()
        reply = await bank.json.gateway.send(verb, path, [("authorization", f"Bearer {scene.alice.token}")])
        assert (reply.status, reply.reason) == (404, NF)
        assert await bank.state() == before

    async def test_unknown_grpc_method_is_unimplemented(self, bank: Bank) -> None:
        async with grpc.aio.insecure_channel(bank.stack.grpc_target) as channel:
            for path in ("/bank.v1.TransferService/Steal", "/bank.v2.TransferService/CreateTransfer", "/a/b"):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(path)(b"")
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED

    @pytest.mark.parametrize(
        "body",
        [
            "{",
            "[]",
            '"x"',
            "nonsense",
            '{"amount_minor": 1,}',
            '{"metadata": []}',
            '{"request_id": 5, ',
            "\0",
            "{" * 5_000,
        ],
    )
    async def test_malformed_json_is_refused(self, bank: Bank, scene: Scene, body: str) -> None:
        before = await bank.state()
        reply = await bank.json.gateway.post("/v1/transfers", body, ("authorization", f"Bearer {scene.alice.token}"))
        assert (reply.status, reply.reason) == (400, BAD)
        assert await bank.state() == before

    @pytest.mark.parametrize(
        "raw",
        [b"\xff", b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x08", b"\x42\x03\x0a\x05k", b"\x20" + b"\xff" * 11, b"\0" * 9],
        ids=bytes.hex,
    )
    async def test_malformed_protobuf_is_refused(self, bank: Bank, scene: Scene, raw: bytes) -> None:
        before = await bank.state()
        answer = await bank.grpc.send("CreateTransfer", raw, scene.alice.token)
        assert (answer.code, answer.reason) == (IA, BAD)
        assert answer.violated_fields == [""]
        assert await bank.state() == before

    async def test_unknown_query_parameter_is_refused(self, bank: Bank, scene: Scene) -> None:
        answer = await bank.json.call("ListAccounts", {"owner": scene.bob.user_id}, scene.alice.token)
        assert (answer.code, answer.reason) == (IA, BAD)
