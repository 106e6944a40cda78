"""The bank as its users meet it: through the gateway, over both wires, and the database to look behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import pytest
from uuid_utils.compat import uuid7

from local.demo import DEMO_PASSWORD, DEMO_USERS
from tests.conftest import Stack
from tests.e2e.wire import Answer, Fields, GrpcWire, JsonWire, Wire
from tests.envoy.gateway import Gateway

ABSENT = "018f6b3e-5a1c-7c3d-9a57-0242ac120002"
"""An id that nothing has."""


@dataclass(frozen=True)
class Person:
    """Somebody who has signed in."""

    user_id: str
    username: str
    token: str
    refresh_token: str
    session_id: str


@dataclass(frozen=True)
class Bank:
    """The running service.

    Attributes:
        wires: gRPC, then JSON.
        owner: Connection of the role that owns the tables, to look and to set the scene.
        people: The demo users, by name.
    """

    stack: Stack
    grpc: GrpcWire
    json: JsonWire
    owner: "asyncpg.Connection[asyncpg.Record]"
    people: dict[str, Person]

    @property
    def wires(self) -> tuple[Wire, Wire]:
        return self.grpc, self.json

    async def sign_up(self, *, verified: bool = True, roles: tuple[str, ...] = ("DEPOSITOR",)) -> str:
        """Store a user whose password is that of the demo users; the name."""
        username = f"u{uuid4().hex[:16]}"
        await self.owner.execute(
            "INSERT INTO users (id, username, password_hash, full_name, email, email_verified, roles)"
            " SELECT $1, $2, password_hash, 'Somebody', $3, $4, $5 FROM users WHERE username = 'alice'",
            uuid7(),
            username,
            f"{username}@example.com",
            verified,
            sorted(roles),
        )
        return username

    async def sign_in(self, username: str) -> Person:
        answer = await self.grpc.call("CreateSession", {"username": username, "password": DEMO_PASSWORD})
        assert answer.code == "OK", answer
        user = await self.grpc.call("GetUser", {"user_id": "me"}, answer.reply["access_token"])
        return Person(
            user.reply["user"]["id"],
            username,
            answer.reply["access_token"],
            answer.reply["refresh_token"],
            answer.reply["session"]["id"],
        )

    async def person(self, *, verified: bool = True, roles: tuple[str, ...] = ("DEPOSITOR",)) -> Person:
        """Somebody new, signed in."""
        return await self.sign_in(await self.sign_up(verified=verified, roles=roles))

    async def account(self, owner: Person, amount_minor: int = 0, currency_code: str = "USD") -> str:
        """Open an account, with money in it."""
        opened = await self.grpc.call(
            "CreateAccount", {"currency_code": currency_code, "request_id": str(uuid4())}, owner.token
        )
        account_id = str(opened.reply["account"]["id"])
        if amount_minor:
            deposited = await self.grpc.call(
                "DepositFunds",
                {
                    "account_id": account_id,
                    "amount_minor": amount_minor,
                    "currency_code": currency_code,
                    "request_id": str(uuid4()),
                },
                self.people["banker"].token,
            )
            assert deposited.code == "OK", deposited
        return account_id

    async def posted_minor(self, account_id: str) -> int:
        return int(await self.owner.fetchval("SELECT posted_minor FROM accounts WHERE id = $1", account_id))

    async def state(self) -> dict[str, Any]:
        """What no refused call may change: how many rows each table has, and every account."""
        tables = ("accounts", "transfers", "entries", "requests", "events", "outbox", "users", "sessions")
        counts = {table: await self.owner.fetchval(f"SELECT count(*) FROM {table}") for table in tables}
        accounts = "SELECT md5(string_agg(accounts::text, ',' ORDER BY id)) FROM accounts"
        return {**counts, "all accounts": await self.owner.fetchval(accounts)}

    async def idle(self) -> None:
        """Wait until the worker has done what earlier calls asked of it."""
        async with asyncio.timeout(45):
            while await self.owner.fetchval(
                "SELECT EXISTS (SELECT FROM outbox WHERE done_time IS NULL AND dead_time IS NULL)"
            ):
                await asyncio.sleep(0.05)

    async def both(self, rpc: str, fields: dict[str, Any], token: str = "", **headers: str) -> Answer:
        """Make a call over both wires that must be answered alike and change nothing; the answer."""
        before = await self.state()
        sent = [(name.replace("_", "-"), value) for name, value in headers.items()]
        answers = [await wire.call(rpc, fields, token, sent) for wire in self.wires]
        assert answers[0] == answers[1]
        assert await self.state() == before
        return answers[0]


def transfer_fields(source_id: str, destination_id: str, amount_minor: int = 1, **others: Any) -> dict[str, Any]:
    """A request of CreateTransfer in USD with a request id of its own; a field given as None is left out."""
    fields = {
        "request_id": str(uuid4()),
        "source_account_id": source_id,
        "destination_account_id": destination_id,
        "amount_minor": amount_minor,
        "currency_code": "USD",
        **others,
    }
    return {name: value for name, value in fields.items() if value is not None}


@pytest.fixture(scope="session")
async def bank(stack: Stack) -> AsyncIterator[Bank]:
    """The shared stack, its demo users signed in."""
    async with open_bank(stack) as opened:
        yield opened


@asynccontextmanager
async def open_bank(stack: Stack) -> AsyncIterator[Bank]:
    """A stack through its gateway, its demo users signed in."""
    gateway = Gateway(
        int(stack.environment["GATEWAY_PORT"]),
        int(stack.environment["GATEWAY_GRPC_PORT"]),
        stack.state_dir / "logs" / "gateway.log",
    )
    owner = await asyncpg.connect(stack.owner_url)
    try:
        async with grpc.aio.insecure_channel(stack.grpc_target) as channel:
            bank = Bank(stack, GrpcWire(channel), JsonWire(gateway), owner, {})
            for username in DEMO_USERS:
                bank.people[username] = await bank.sign_in(username)
            yield bank
    finally:
        await owner.close()


@dataclass(frozen=True)
class Scene:
    """Two people: the first has two accounts in dollars and one in euros, the second one in dollars."""

    alice: Person
    bob: Person
    source: str
    second: str
    euros: str
    bobs: str
    cash: str

    def fill(self, fields: Fields) -> dict[str, Any]:
        """Put ids in the place of `{names}`."""
        names = {name: getattr(self, name) for name in ("source", "second", "euros", "bobs", "cash")}
        return {
            name: value.format(**names) if isinstance(value, str) and value[:1] == "{" else value
            for name, value in fields.items()
        }


@pytest.fixture(scope="module")
async def scene(bank: Bank) -> Scene:
    alice, bob = await bank.person(), await bank.person()
    cash = await bank.owner.fetchval("SELECT id FROM accounts WHERE kind = 'SYSTEM_CASH' AND currency_code = 'USD'")
    return Scene(
        alice,
        bob,
        source=await bank.account(alice, 10_000),
        second=await bank.account(alice, 10_000),
        euros=await bank.account(alice, 10_000, "EUR"),
        bobs=await bank.account(bob, 10_000),
        cash=str(cash),
    )
