"""Who has proven nothing is let in nowhere, and what is not the caller's looks like nothing."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from server.config import Settings
from server.keys import load
from server.tokens import AccessTokens
from tests.e2e.conftest import ABSENT, Bank, Scene, transfer_fields
from tests.e2e.test_orders import place
from tests.e2e.wire import METHODS

PUBLIC = {
    "CreateUser",
    "VerifyEmail",
    "ResendVerificationEmail",
    "CreateSession",
    "ListCurrencies",
}
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

    async def test_every_rpc_but_the_public_ones_wants_a_token(self, bank: Bank) -> None:
        for rpc, method in METHODS.items():
            names = {field.name for field in method.input_type.fields}
            fields: dict[str, Any] = dict.fromkeys(
                names
                & {
                    *("user_id", "account_id", "transfer_id", "hold_id", "scheduled_transfer_id", "session_id"),
                    *("product_id", "order_id"),
                },
                ABSENT,
            )
            if rpc == "UpdateAccount":
                fields = {"account": {"id": ABSENT}}
            if rpc == "UpdateProduct":
                fields = {"product": {"id": ABSENT}}
            if rpc == "UpdateUser":
                fields = {"user": {"id": ABSENT}}
            answer = await bank.both(rpc, fields)
            assert (answer.reason == "UNAUTHENTICATED") == (rpc not in PUBLIC), rpc
            assert answer.trace_id or answer.code == "OK", rpc

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
