"""Who has proven nothing is let in nowhere, and what is not the caller's looks like nothing."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
import pytest

from server.config import Settings
from server.keys import load
from server.tokens import AccessTokens
from tests.e2e.conftest import ABSENT, Bank, Scene, transfer_fields
from tests.e2e.test_orders import place
from tests.e2e.wire import METHODS, Answer, GrpcWire, Headers, as_protobuf_json

pytestmark = pytest.mark.usefixtures("settled")

PUBLIC = {
    "CreateUser",
    "VerifyEmail",
    "ResendVerificationEmail",
    "CreateSession",
    "ListCurrencies",
    "RequestPasswordReset",
    "ResetPassword",
}
"""What answers otherwise than UNAUTHENTICATED without a token; RefreshSession goes by another one."""
IA, NF = "INVALID_ARGUMENT", "NOT_FOUND"
BAD = "INVALID_REQUEST"


@pytest.fixture(scope="module")
def tokens(bank: Bank, scene: Scene) -> dict[str, str]:
    """Tokens that prove nothing, by what is wrong with them."""
    settings = Settings(
        BANK_ENVIRONMENT="test",
        database_url="postgresql://",
        redis_url="redis://",
        token_keys_file=bank.stack.state_dir / "token_keys.json",
    )
    keys = load(settings)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    user_id, session_id = uuid4(), uuid4()
    good = scene.alice.token
    return {
        "missing": "",
        "garbage": "abc",
        "expired": AccessTokens(keys, "paseto", 900).issue(user_id, session_id, yesterday)[0],
        "of tomorrow": AccessTokens(keys, "paseto", 900).issue(user_id, session_id, yesterday + timedelta(days=2))[0],
        "in the other format": AccessTokens(keys, "jwt", 900).issue(user_id, session_id, datetime.now(UTC))[0],
        "of an old version": good.replace("v4.public", "v2.public"),
        "encrypted": good.replace("v4.public", "v4.local"),
        "cut short": good[:-1],
        "without its signature": good.rsplit(".", 1)[0],
        "one bit off": good[:40] + chr(ord(good[40]) ^ 1) + good[41:],
        "refresh token": scene.alice.refresh_token,
        "two": f"{good}, Bearer {good}",
        "very long": "x" * 6_000,
    }


def fields_about(rpc: str, thing_id: str) -> dict[str, Any]:
    """A request that names a thing, and is wrong in no other way that matters without a token."""
    names = {field.name for field in METHODS[rpc].input_type.fields}
    ids = names & {
        *("user_id", "account_id", "transfer_id", "hold_id", "scheduled_transfer_id", "session_id"),
        *("product_id", "order_id", "webhook_id", "delivery_id"),
    }
    holder = {
        "UpdateAccount": "account",
        "UpdateUser": "user",
        "UpdateProduct": "product",
        "UpdateWebhook": "webhook",
    }.get(rpc)
    if rpc == "GetPayee":
        return {"username": "nobody"}
    return {holder: {"id": thing_id}} if holder else dict.fromkeys(sorted(ids), thing_id)


class TestDenyByDefault:
    @pytest.mark.parametrize("rpc", METHODS)
    async def test_every_rpc_but_the_public_ones_wants_a_token(
        self, bank: Bank, scene: Scene, direct: GrpcWire, rpc: str
    ) -> None:
        before, fields = await bank.state(), fields_about(rpc, ABSENT)
        good = f"Bearer {scene.alice.token}"
        proofs: list[Headers] = [
            [],
            [("authorization", "")],
            [("authorization", "Bearer")],
            [("authorization", "Bearer ")],
            [("authorization", f"Basic {scene.alice.token}")],
            [("authorization", scene.alice.token)],
            [("authorization", f"{good}, {good}")],
            [("authorization", f"Bearer {'x' * 6_000}")],
            [("x-user-id", scene.alice.user_id), ("x-role", "ADMIN"), ("grpc-metadata-role", "ADMIN")],
            [("cookie", f"authorization={good}"), ("proxy-authorization", good), ("x-authorization", good)],
        ]
        answers: list[Answer] = []
        for headers in proofs:
            for wire in (bank.json, bank.grpc, direct):
                answers.append(await wire.call(rpc, fields, "", headers))
        # Twice the header, and one of them would do: the gateway joins them, which is one that proves nothing.
        for wire in (*bank.wires, direct):
            for other in (good, "Bearer x"):
                answers.append(await wire.call(rpc, fields, "", [("authorization", other), ("authorization", good)]))
        answers.append(await direct.call(rpc, fields, "", [("authorization", f"Bearer {'x' * 10_000}")]))
        for answer in answers:
            assert (answer.reason == "UNAUTHENTICATED") == (rpc not in PUBLIC), answer
            assert answer.trace_id or answer.code == "OK"
        if rpc not in PUBLIC:
            assert all(answer == answers[0] for answer in answers)
        assert await bank.state() == before

    async def test_token_too_long_for_the_gateway_is_refused_by_it(self, bank: Bank) -> None:
        reply = await bank.json.gateway.get("/v1/users/me", ("authorization", f"Bearer {'x' * 10_000}"))
        assert (reply.status, reply.reason) == (431, "REQUEST_TOO_LARGE")

    async def test_what_is_no_rpc_is_unimplemented_also_past_the_gateway(self, bank: Bank, scene: Scene) -> None:
        metadata = [("authorization", f"Bearer {bank.people['admin'].token}")]
        for target in (bank.stack.grpc_target, f"127.0.0.1:{bank.stack.environment['SERVER_PORT']}"):
            async with grpc.aio.insecure_channel(target) as channel:
                for path in (
                    *("/bank.v1.UserService/DeleteUser", "/bank.v1.Internal/Steal", "/bank.v2.UserService/GetUser"),
                    *("/grpc.channelz.v1.Channelz/GetServers", "/", "/a", "/a/b"),
                ):
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await channel.unary_unary(path)(b"", metadata=metadata)
                    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, (target, path)


class TestAccessToken:
    @pytest.mark.parametrize(
        "name",
        [
            *("missing", "garbage", "expired", "of tomorrow", "in the other format", "of an old version", "encrypted"),
            *("cut short", "without its signature", "one bit off", "refresh token", "two", "very long"),
        ],
    )
    async def test_token_that_proves_nothing_opens_no_rpc(
        self, bank: Bank, scene: Scene, tokens: dict[str, str], name: str
    ) -> None:
        answers = {
            (await bank.both(rpc, fields, tokens[name])).without()
            for rpc, fields in (
                ("CreateTransfer", transfer_fields(scene.source, scene.second)),
                ("GetAccount", {"account_id": scene.source}),
                ("VerifyLedger", {}),
            )
        }
        assert len(answers) == 1
        assert '"UNAUTHENTICATED"' in answers.pop()

    async def test_other_schemes_prove_nothing(self, bank: Bank, scene: Scene) -> None:
        for value in ("Basic YTpi", "Bearer", "Bearer ", scene.alice.token, f"Token {scene.alice.token}"):
            answer = await bank.both("GetUser", {"user_id": "me"}, authorization=value)
            assert answer.reason == "UNAUTHENTICATED", value

    async def test_access_token_refreshes_nothing(self, bank: Bank, scene: Scene) -> None:
        for token in (scene.alice.token, "", "abc", "\0", "x" * 5_000):
            answer = await bank.both("RefreshSession", {"refresh_token": token})
            assert answer.code == "UNAUTHENTICATED", token

    async def test_revoked_session_moves_nothing(self, bank: Bank, scene: Scene) -> None:
        person = await bank.person()
        account = await bank.account(person, 100)
        assert (await bank.json.call("RevokeSession", {"session_id": person.session_id}, person.token)).code == "OK"
        answer = await bank.both("CreateTransfer", transfer_fields(account, scene.source), person.token)
        assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")

    async def test_ordinary_user_may_call_nothing_of_the_staff(self, bank: Bank, scene: Scene) -> None:
        for rpc, fields in (
            ("ListUsers", {}),
            ("SetUserRoles", {"user_id": "me", "roles": ["ROLE_ADMIN"]}),
            ("DisableUser", {"user_id": scene.bob.user_id}),
            ("EnableUser", {"user_id": scene.bob.user_id}),
            ("VerifyLedger", {}),
            ("CreateProduct", {}),
            ("ArchiveProduct", {"product_id": ABSENT}),
            ("AdjustInventory", {"product_id": ABSENT}),
            ("ListInventoryMovements", {"product_id": ABSENT}),
            ("CreateAccount", {"currency_code": "USD", "request_id": ABSENT, "owner_user_id": scene.bob.user_id}),
            *(
                (rpc, {"account_id": scene.bobs, "amount_minor": 1, "currency_code": "USD", "request_id": ABSENT})
                for rpc in ("DepositFunds", "WithdrawFunds")
            ),
        ):
            answer = await bank.both(rpc, fields, scene.alice.token)
            assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED"), rpc


class TestOtherPeoplesThings:
    async def test_they_look_like_nothing(self, bank: Bank, scene: Scene) -> None:
        moved = await bank.grpc.call(
            "CreateTransfer", transfer_fields(scene.bobs, await bank.account(scene.bob)), scene.bob.token
        )
        order_id = str((await place(bank, scene.bob, scene.bobs))["id"])
        for rpc, name, hidden in (
            ("GetAccount", "account_id", scene.bobs),
            ("GetAccount", "account_id", scene.cash),
            ("ListEntries", "account_id", scene.bobs),
            ("ListEntries", "account_id", scene.cash),
            ("ListAccounts", "owner_user_id", scene.bob.user_id),
            ("ListTransfers", "account_id", scene.bobs),
            ("ListTransfers", "account_id", scene.cash),
            ("GetTransfer", "transfer_id", moved.reply["transfer"]["id"]),
            ("GetUser", "user_id", scene.bob.user_id),
            ("RevokeSession", "session_id", scene.bob.session_id),
            *((rpc, "order_id", order_id) for rpc in ("GetOrder", "CancelOrder", "ShipOrder", "DeliverOrder")),
        ):
            seen, absent = [await bank.both(rpc, {name: value}, scene.alice.token) for value in (hidden, ABSENT)]
            assert (seen.code, seen.reason) == (NF, NF), rpc
            assert seen.without(hidden) == absent.without(ABSENT), rpc
            malformed = await bank.both(rpc, {name: "not-a-uuid"}, scene.alice.token)
            assert (malformed.code, malformed.reason, malformed.violated_fields) == (IA, BAD, [name]), rpc

    async def test_path_never_says_another_thing_than_the_rest(self, bank: Bank, scene: Scene) -> None:
        before = await bank.state()
        fields = {"amount_minor": 1, "currency_code": "USD", "request_id": ABSENT}
        for query, body in (
            ("", {"account_id": scene.bobs, **fields}),
            (f"?account_id={scene.bobs}", fields),
            (f"?accountId={scene.bobs}", fields),
            (f"?amount_minor=5&account_id={scene.bobs}", {}),
        ):
            reply = await bank.json.gateway.post(
                f"/v1/accounts/{scene.source}:deposit{query}",
                json.dumps(body),
                ("authorization", f"Bearer {bank.people['banker'].token}"),
            )
            assert (reply.status, reply.reason) == (400, BAD), query
        reply = await bank.json.gateway.get(
            f"/v1/accounts/{scene.source}?account_id={scene.bobs}", ("authorization", f"Bearer {scene.alice.token}")
        )
        assert scene.bobs not in json.dumps(reply.json().get("account", {}))
        assert await bank.state() == before

    async def test_body_never_says_another_id_than_the_path(self, bank: Bank, scene: Scene) -> None:
        """PATCH, whose body is the resource and so has a place for an id."""
        before = await bank.state()
        token = ("authorization", f"Bearer {scene.bob.token}")
        for mine, theirs, noun, field in (
            (scene.bob.user_id, scene.alice.user_id, "user", "full_name"),
            (scene.bobs, scene.source, "account", "display_name"),
        ):
            body = json.dumps({"id": theirs, field: "Stolen"})
            path = f"/v1/{noun}s/{mine}?update_mask={field}"
            replies = [await bank.json.gateway.send("PATCH", path, [token], body)]
            for query in (f"{noun}.id={theirs}", f"{noun}_id={theirs}", f"id={theirs}"):
                whole = json.dumps({field: "Stolen"})
                replies.append(await bank.json.gateway.send("PATCH", f"{path}&{query}", [token], whole))
            # Where a query takes the place of the path, it is the decoded id that is asked about.
            assert {(reply.status, reply.reason) for reply in replies} <= {(400, BAD), (404, NF)}, noun
        assert await bank.state() == before

    async def test_nobody_pays_with_anothers_money(self, bank: Bank, scene: Scene) -> None:
        """Whatever the call: one at a time, reserved, later, or hidden among one's own in a batch."""
        mine = await bank.account(scene.bob, 100)
        before = await bank.posted_minor(scene.source)
        steal, own = transfer_fields(scene.source, mine), transfer_fields(scene.bobs, mine)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for rpc, fields in (
            ("CreateTransfer", steal),
            ("CreateHold", steal),
            ("CreateScheduledTransfer", {**steal, "execute_time": tomorrow}),
            ("BatchCreateTransfers", {"transfers": [own, steal], "mode": "BATCH_MODE_ATOMIC"}),
        ):
            answer = await bank.both(rpc, fields, scene.bob.token)
            assert (answer.code, answer.reason) == (NF, NF), rpc
        each = {"transfers": [own, steal], "mode": "BATCH_MODE_INDEPENDENT"}
        results = (await bank.json.call("BatchCreateTransfers", each, scene.bob.token)).reply["results"]
        assert ["transfer" in result for result in results] == [True, False]
        assert results[1]["status"]["code"] == grpc.StatusCode.NOT_FOUND.value[0]
        assert await bank.posted_minor(scene.source) == before

    async def test_replies_hold_no_secret_and_nothing_of_the_other_party(self, bank: Bank, scene: Scene) -> None:
        alice, bob = scene.alice, scene.bob
        labels = {"description": "rent", "reference": str(uuid4()), "metadata": {"inner": "thought"}}
        paid = await bank.json.call("CreateTransfer", transfer_fields(scene.source, scene.bobs, **labels), alice.token)
        transfer = paid.reply["transfer"]
        assert {entry["account_id"] for entry in paid.reply["entries"]} == {scene.source}
        told = [
            await bank.json.call(rpc, fields, bob.token)
            for rpc, fields in (
                ("GetTransfer", {"transfer_id": transfer["id"]}),
                ("ListTransfers", {}),
                ("ListEntries", {"account_id": scene.bobs}),
                ("GetStatement", {"account_id": scene.bobs}),
                ("GetUser", {"user_id": "me"}),
                ("ListSessions", {}),
                ("ListAccounts", {}),
                ("GetUser", {"user_id": alice.user_id}),
                ("CreateTransfer", transfer_fields(scene.bobs, scene.source, 10**9)),
            )
        ]
        email = await bank.owner.fetchval("SELECT email FROM users WHERE id = $1", alice.user_id)
        hidden = [labels["reference"], transfer["request_id"], "thought", email, alice.session_id, "argon2", "hash"]
        for answer in told:
            for text in hidden:
                assert text not in answer.without(), (text, answer)
        assert told[0].reply["transfer"]["description"] == "rent"


class TestEscalation:
    @pytest.mark.parametrize(
        "mask",
        [
            *("roles", "role", "*", "Roles", "role.x", "user.role", "user.roles", "id", "username", "password_hash"),
            *("email", "email_verified", "disabled", "create_time", "pending_email", "full_name,roles", "unknown"),
            *("full_name,full_name", "", ",", "full_name.x", " full_name"),
        ],
    )
    async def test_mask_that_names_more_than_the_name_is_refused(self, bank: Bank, scene: Scene, mask: str) -> None:
        before = await bank.owner.fetchrow("SELECT * FROM users WHERE id = $1", scene.bob.user_id)
        body = {"full_name": "New", "roles": ["ROLE_ADMIN"], "email": "x@example.com", "email_verified": True}
        reply = await bank.json.gateway.send(
            "PATCH",
            f"/v1/users/me?update_mask={mask.replace(' ', '%20')}",
            [("authorization", f"Bearer {scene.bob.token}")],
            json.dumps(body),
        )
        assert (reply.status, reply.reason) == (400, BAD)
        assert await bank.owner.fetchrow("SELECT * FROM users WHERE id = $1", scene.bob.user_id) == before

    async def test_mask_of_a_thousand_paths_is_refused(self, bank: Bank, scene: Scene) -> None:
        answer = await bank.grpc.call(
            "UpdateUser",
            {"user": {"id": "me", "full_name": "New"}, "updateMask": ",".join(f"p{n}" for n in range(1_000))},
            scene.bob.token,
        )
        assert (answer.code, answer.violated_fields) == (IA, ["update_mask"])

    async def test_fields_that_only_the_service_sets_are_not_taken_from_a_client(
        self, bank: Bank, scene: Scene
    ) -> None:
        """The stored rows prove it: what the transcoder drops and what a handler would have to ignore."""
        username = f"u{uuid4().hex[:16]}"
        sign_up: dict[str, Any] = {
            "username": username,
            "password": "nine grey geese at dawn",
            "full_name": "Somebody",
            "email": f"{username}@example.com",
        }
        sign_up |= {"roles": ["ROLE_ADMIN"], "role": "ADMIN", "email_verified": True, "id": ABSENT}
        sign_up |= {"password_hash": "x", "create_time": "2001-01-01T00:00:00Z", "user": {"roles": ["ROLE_ADMIN"]}}
        assert (await bank.json.gateway.post("/v1/users", json.dumps(sign_up))).status == 200
        stored = await bank.owner.fetchrow("SELECT * FROM users WHERE username = $1", username)
        assert (stored["roles"], stored["email_verified"], str(stored["id"]) == ABSENT) == (["DEPOSITOR"], False, False)
        assert stored["create_time"].year > 2001
        assert stored["password_hash"].startswith("$argon2id$")

        opening: dict[str, Any] = {"currency_code": "USD", "request_id": str(uuid4()), "display_name": "Own"}
        opening |= {"posted_minor": "5", "overdraft_limit_minor": "5", "id": ABSENT, "state": "ACCOUNT_STATE_FROZEN"}
        opening |= {"account": {"posted_minor": "5"}, "kind": "SYSTEM_CASH", "owner": scene.alice.user_id}
        reply = await bank.json.gateway.post(
            "/v1/accounts", json.dumps(opening), ("authorization", f"Bearer {scene.bob.token}")
        )
        account_id = reply.json()["account"]["id"]
        row = await bank.owner.fetchrow("SELECT * FROM accounts WHERE id = $1", account_id)
        assert (row["posted_minor"], row["overdraft_limit_minor"], row["state"], row["kind"]) == (
            *(0, 0, "OPEN"),
            "CUSTOMER",
        )
        assert str(row["owner_user_id"]) == scene.bob.user_id
        fields = {
            "account": {
                "id": account_id,
                "owner_user_id": scene.alice.user_id,
                "posted_minor": "7",
                "overdraft_limit_minor": "7",
                "state": "ACCOUNT_STATE_CLOSED",
                "display_name": "Mine",
            },
            "update_mask": "display_name",
        }
        for wire in bank.wires:
            sent = fields if wire is bank.json else as_protobuf_json(fields)
            assert (await wire.call("UpdateAccount", sent, scene.bob.token)).code == "OK"
        after = await bank.owner.fetchrow("SELECT * FROM accounts WHERE id = $1", account_id)
        changed = {name for name in dict(row) if row[name] != after[name]}
        assert changed == {"display_name", "version", "update_time"}


class TestLostRights:
    """With the access token from before, on every process: the gateway takes the next one each time."""

    NOTICED_S = 1.0

    async def assert_soon(self, bank: Bank, rpc: str, fields: dict[str, Any], token: str, code: str) -> None:
        await asyncio.sleep(self.NOTICED_S)
        for _ in range(6):
            answer = await bank.json.call(rpc, fields, token)
            assert answer.code == code, answer

    async def test_lost_role_moves_no_money_at_once_and_nothing_else_soon(self, bank: Bank, scene: Scene) -> None:
        banker, admin = await bank.person(roles=("BANKER", "DEPOSITOR")), bank.people["admin"].token
        deposit = {"account_id": scene.source, "amount_minor": 1, "currency_code": "USD"}
        for _ in range(4):
            fields = {**deposit, "request_id": str(uuid4())}
            assert (await bank.json.call("DepositFunds", fields, banker.token)).code == "OK"
            assert (await bank.json.call("ListUsers", {}, banker.token)).code == "OK"
        assert (await bank.json.call("SetUserRoles", {"user_id": banker.user_id}, admin)).code == "OK"
        for _ in range(6):
            answer = await bank.both("DepositFunds", {**deposit, "request_id": str(uuid4())}, banker.token)
            assert answer.code == "PERMISSION_DENIED"
        await self.assert_soon(bank, "ListUsers", {}, banker.token, "PERMISSION_DENIED")
        await self.assert_soon(bank, "GetAccount", {"account_id": scene.source}, banker.token, NF)

    async def test_disabled_user_moves_no_money_at_once_and_nothing_else_soon(self, bank: Bank, scene: Scene) -> None:
        person, admin = await bank.person(), bank.people["admin"].token
        account = await bank.account(person, 100)
        for _ in range(4):
            assert (await bank.json.call("GetAccount", {"account_id": account}, person.token)).code == "OK"
        assert (await bank.json.call("DisableUser", {"user_id": person.user_id}, admin)).code == "OK"
        for _ in range(6):
            answer = await bank.both("CreateTransfer", transfer_fields(account, scene.source), person.token)
            assert answer.code == "UNAUTHENTICATED"
        await self.assert_soon(bank, "GetAccount", {"account_id": account}, person.token, "UNAUTHENTICATED")
        for rpc, fields in (
            ("RefreshSession", {"refresh_token": person.refresh_token}),
            ("CreateSession", {"username": person.username, "password": "local demo passphrase"}),
        ):
            assert (await bank.json.call(rpc, fields)).code == "UNAUTHENTICATED", rpc
