"""Forged access tokens against running servers of both formats: through the gateway, over both wires, and past it."""

import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest

from local.demo import DEMO_PASSWORD
from local.ports import free_ports
from local.probes import serves_grpc
from local.process import Child, Service, start_service
from server.config import Settings
from server.keys import Keys, load, write_new
from server.tokens import RESET_PASSWORD, VERIFY_EMAIL, MailTokens
from tests.e2e.conftest import Bank, Person
from tests.e2e.wire import Answer, GrpcWire, JsonWire, Wire
from tests.envoy.gateway import running_gateway, wait_for_status
from tests.server.identity import NOBODY
from tests.server.token_vectors import (
    FORMATS,
    REFUSED_BY_THE_SESSION,
    Format,
    changes,
    forgeries,
    genuine,
    true_claims,
)


@dataclass(frozen=True)
class Door:
    """A server process that takes tokens of one format.

    Attributes:
        wires: The ways to it: over JSON, over gRPC, and past the gateway.
    """

    wire_format: Format
    wires: tuple[Wire, ...]
    keys: Keys
    logs: tuple[Path, ...]

    async def ask(self, token: str, rpc: str = "GetUser", fields: dict[str, Any] | None = None) -> Answer:
        """Call every way; all answers must be one."""
        first, *others = [
            await wire.call(rpc, {"user_id": "me"} if fields is None else fields, token) for wire in self.wires
        ]
        assert all(other == first for other in others)
        return first


@asynccontextmanager
async def server_process(
    bank: Bank, folder: Path, wire_format: Format, keys_file: Path, port: int
) -> AsyncIterator[Child]:
    """A server of this format beside those of the shared stack, on the same database."""
    environment = {
        **os.environ,
        "BANK_ENVIRONMENT": "test",
        "DATABASE_URL": bank.stack.app_url,
        "REDIS_URL": "redis://:nobody@127.0.0.1:1/0",
        "SERVER_PORT": str(port),
        "METRICS_PORT": "0",
        "TOKEN_FORMAT": wire_format,
        "TOKEN_KEYS_FILE": str(keys_file),
    }
    command = [sys.executable, "-m", "server", "--process", "0"]
    child = await start_service(Service("server", command, partial(serves_grpc, port), environment), folder)
    try:
        await asyncio.wait_for(child.wait_ready(), 20)
        yield child
    finally:
        await child.stop()


@pytest.fixture(scope="module", params=FORMATS)
async def door(
    bank: Bank, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Door]:
    folder, port = tmp_path_factory.mktemp(request.param), free_ports(1)
    keys_file = bank.stack.state_dir / "token_keys.json"
    settings = Settings(BANK_ENVIRONMENT="test", database_url="-", redis_url="-", token_keys_file=keys_file)
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(server_process(bank, folder, request.param, keys_file, port))
        gateway = await stack.enter_async_context(running_gateway(folder, [port]))
        await wait_for_status(gateway, "/readyz", 200, within_s=10)
        far, near = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{at}"))
            for at in (gateway.grpc_port, port)
        ]
        logs = (child.log, gateway.log)
        wires = JsonWire(gateway), GrpcWire(far), GrpcWire(near)
        yield Door(request.param, wires, load(settings), logs)


@pytest.fixture(scope="module")
async def victim(bank: Bank) -> Person:
    return await bank.person()


def claims_of(person: Person) -> dict[str, Any]:
    return true_claims(UUID(person.user_id), UUID(person.session_id), int(time.time()))


class TestForgeries:
    async def test_token_made_by_hand_as_the_service_makes_them_opens_the_door(
        self, door: Door, victim: Person
    ) -> None:
        """So that what is refused below is refused for what was changed."""
        answer = await door.ask(genuine(door.wire_format, door.keys, claims_of(victim)))
        assert answer.reply["user"]["id"] == victim.user_id

    async def test_every_forgery_is_answered_like_no_token_at_all(self, bank: Bank, door: Door, victim: Person) -> None:
        before = await bank.state()
        nothing = await door.ask("")
        assert (nothing.code, nothing.reason) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        forged = forgeries(door.wire_format, door.keys, UUID(victim.user_id), UUID(victim.session_id), int(time.time()))
        assert len(forged) > 80
        by_session = {f"claims {change}" for change in REFUSED_BY_THE_SESSION}
        for name, token in forged.items():
            answer = await door.ask(token)
            if name in by_session:
                assert (answer.code, answer.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED"), name
            else:
                assert answer == nothing, name
        assert await bank.state() == before

    async def test_forgeries_move_no_money(self, bank: Bank, door: Door, victim: Person) -> None:
        """The ledger proves sessions by itself."""
        account = await bank.account(victim, 100)
        fields = {
            "request_id": str(NOBODY),
            "source_account_id": account,
            "destination_account_id": await bank.account(victim),
            "amount_minor": 1,
            "currency_code": "USD",
        }
        before = await bank.state()
        true = claims_of(victim)
        for change in changes(true["iat"], UUID(victim.user_id)):
            token = genuine(
                door.wire_format,
                door.keys,
                {name: value for name, value in {**true, **change}.items() if value is not None},
            )
            answer = await door.ask(token, "CreateTransfer", fields)
            assert answer.code == "UNAUTHENTICATED", change
        assert await bank.state() == before

    async def test_forgeries_leave_no_defect_in_any_log(self, door: Door) -> None:
        for log in door.logs:
            text = log.read_text()
            for trace in ("defect", "Traceback", '"level":"error"', "/etc/passwd", "attacker.example.com", "OR 1=1"):
                assert trace not in text, (log, trace)


class TestConfusion:
    async def test_no_token_serves_another_purpose(self, bank: Bank, door: Door, victim: Person) -> None:
        before = await bank.state()
        access = genuine(door.wire_format, door.keys, claims_of(victim))
        token_id = UUID(victim.session_id)
        mailed = [
            MailTokens(door.keys.mail_token_key).make(purpose, token_id, UUID(victim.user_id))
            for purpose in (VERIFY_EMAIL, RESET_PASSWORD)
        ]
        for token in (victim.refresh_token, *mailed):
            assert (await door.ask(token)).reason == "UNAUTHENTICATED"
        for token in (access, *mailed):
            answer = await door.ask("", "RefreshSession", {"refresh_token": token})
            assert answer.code == "UNAUTHENTICATED"
        for token in (access, victim.refresh_token):
            for rpc, others in (("VerifyEmail", {}), ("ResetPassword", {"new_password": "nine grey geese at dawn"})):
                answer = await door.ask("", rpc, {"token": token, **others})
                assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "TOKEN_INVALID"), rpc
        assert await bank.state() == before


class TestRotation:
    @pytest.mark.parametrize("wire_format", FORMATS)
    async def test_keys_are_replaced_as_documented_and_nobody_is_signed_out(
        self, bank: Bank, tmp_path: Path, wire_format: Format
    ) -> None:
        """Append the new key, put it first, drop the old one; a restart after each."""
        port, username, path = free_ports(1), await bank.sign_up(), tmp_path / "keys.json"
        write_new(path)
        content = json.loads(path.read_text())
        old, new = content["access_token_keys"][0], secrets.token_urlsafe(32)
        session: dict[str, Any] = {}
        issued: list[str] = []
        accepted = []
        for listed in ([old], [old, new], [new, old], [new]):
            path.write_text(json.dumps({**content, "access_token_keys": listed}))
            async with (
                server_process(bank, tmp_path, wire_format, path, port),
                grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]) as channel,
            ):
                wire = GrpcWire(channel)
                if not session:
                    fields = {"username": username, "password": DEMO_PASSWORD}
                    session = (await wire.call("CreateSession", fields)).reply
                    issued.append(session["access_token"])
                answers = [await wire.call("GetUser", {"user_id": "me"}, token) for token in issued]
                accepted.append([answer.code == "OK" for answer in answers])
                refreshed = await wire.call("RefreshSession", {"refresh_token": session["refresh_token"]})
                assert refreshed.code == "OK", refreshed
                session = refreshed.reply
                issued.append(session["access_token"])
                assert (await wire.call("GetUser", {"user_id": "me"}, issued[-1])).code == "OK"
        # In the last step what the old key signed is over: three tokens from before it was put second.
        assert accepted == [[True], [True] * 2, [True] * 3, [False] * 3 + [True]]
