"""The running server against the plain model: every money RPC, repeats, and restarts in between."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from bank.v1.account_service_pb2 import GetAccountRequest
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from bank.v1.hold_service_pb2 import CaptureHoldRequest, CreateHoldRequest, VoidHoldRequest
from bank.v1.hold_service_pb2_grpc import HoldServiceStub
from bank.v1.transfer_service_pb2 import (
    BatchCreateTransfersRequest,
    BatchMode,
    CreateTransferRequest,
    ReverseTransferRequest,
)
from bank.v1.transfer_service_pb2_grpc import TransferServiceStub
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from local.ports import free_ports
from server.config import Settings
from server.database import Database, open_pool
from server.keys import load, write_new
from server.ledger.verification import verify
from server.tokens import AccessTokens
from tests.conftest import Database as MigratedDatabase
from tests.server.model import ModelAccount, ModelBank

EXAMPLES = int(os.environ.get("MODEL_EXAMPLES", "15"))
STEPS = int(os.environ.get("MODEL_STEPS", "50"))
USERS = ("alice", "bob", "carol")
ACCOUNTS = {"a1": "alice", "a2": "alice", "b1": "bob", "c1": "carol"}
START = 100
Result = TypeVar("Result")

names = st.sampled_from(sorted(ACCOUNTS))
users = st.sampled_from(USERS)
amounts = st.integers(1, 150)
parts = st.none() | st.integers(1, 120)
keys = st.sampled_from([f"k{number}" for number in range(30)])
picks = st.integers(0, 1000)


class Server:
    """One server process on a database, which can be stopped and killed and started again."""

    def __init__(self, database: MigratedDatabase, folder: Path) -> None:
        self.port = free_ports(1)
        self.keys_file = folder / "keys.json"
        write_new(self.keys_file)
        self.database = database
        self.environment = {
            **os.environ,
            "BANK_ENVIRONMENT": "test",
            "DATABASE_URL": database.app_url,
            "REDIS_URL": "redis://unused",
            "TOKEN_KEYS_FILE": str(self.keys_file),
            "SERVER_PORT": str(self.port),
            "METRICS_PORT": "0",
            "SERVER_PROCESSES": "1",
            "CALLS_PER_SECOND": "0",
            "LOG_LEVEL": "error",
        }
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}")
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "server"], env=self.environment)

    def restart(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        self.start()

    def tokens(self) -> AccessTokens:
        given = {name.lower(): value for name, value in self.environment.items()}
        return AccessTokens(
            load(
                Settings(
                    BANK_ENVIRONMENT="test",
                    database_url=given["database_url"],
                    redis_url="redis://unused",
                    token_keys_file=self.keys_file,
                )
            ),
            "paseto",
            3600,
        )


class ServiceMachine(RuleBasedStateMachine):
    """Three users with four accounts of their own in every example."""

    server: Server

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelBank({name: ModelAccount(owner, START) for name, owner in ACCOUNTS.items()})
        self.request_ids: dict[str, str] = {}
        self.made: dict[str, str] = {}  # ids of holds and transfers, by the model's key
        self.tokens: dict[str, str] = {}
        self.accounts: dict[str, str] = {}
        run(self.set_the_scene())
        channel = self.server.channel
        self.transfers, self.holds = TransferServiceStub(channel), HoldServiceStub(channel)
        self.account_service = AccountServiceStub(channel)

    async def set_the_scene(self) -> None:
        connection = await asyncpg.connect(self.server.database.owner_url)
        issue = self.server.tokens().issue
        ids: dict[str, UUID] = {}
        for user in USERS:
            ids[user], session_id = uuid4(), uuid4()
            await connection.execute(
                "INSERT INTO users (id, username, password_hash, full_name, email, email_verified)"
                " VALUES ($1, $2, '', 'Somebody', $2 || '@example.org', true)",
                ids[user],
                f"u{ids[user].hex[:20]}",
            )
            await connection.execute(
                "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
                " VALUES ($1, $2, '', '', now() + '1 h', now() + '1 h')",
                session_id,
                ids[user],
            )
            self.tokens[user] = issue(ids[user], session_id, datetime.now(UTC))[0]
        cash = await connection.fetchval("SELECT id FROM accounts WHERE kind = 'SYSTEM_CASH' AND currency_code = 'USD'")
        for name, owner in ACCOUNTS.items():
            account_id = uuid4()
            self.accounts[name] = str(account_id)
            await connection.execute(
                "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", account_id, ids[owner]
            )
            await self.open_with(connection, cash, account_id, ids[owner])
        await connection.close()

    async def open_with(self, connection: asyncpg.Connection, cash: UUID, account_id: UUID, user_id: UUID) -> None:
        """Book the first money as a deposit, so that the ledger adds up."""
        async with connection.transaction():
            before = await connection.fetchrow(
                "SELECT posted_minor, entry_count FROM accounts WHERE id = $1 FOR UPDATE", cash
            )
            assert before is not None
            transfer_id = uuid4()
            await connection.execute(
                "INSERT INTO transfers (id, kind, source_account_id, destination_account_id, amount_minor,"
                " currency_code, initiator_user_id, request_id, description, source_sequence, destination_sequence,"
                " create_time) VALUES ($1, 'DEPOSIT', $2, $3, $4, 'USD', $5, $1, '', $6, 1, now())",
                transfer_id,
                cash,
                account_id,
                START,
                user_id,
                before["entry_count"] + 1,
            )
            for entry in (
                (cash, before["entry_count"] + 1, -START, before["posted_minor"] - START),
                (account_id, 1, START, START),
            ):
                await connection.execute(
                    "INSERT INTO entries (account_id, sequence, transfer_id, amount_minor, balance_after_minor,"
                    " create_time) VALUES ($1, $2, $5, $3, $4, now())",
                    *entry,
                    transfer_id,
                )
                await connection.execute(
                    "UPDATE accounts SET posted_minor = $3, entry_count = $2, last_entry_time = now() WHERE id = $1",
                    entry[0],
                    entry[1],
                    entry[3],
                )
            await connection.execute(
                "INSERT INTO events (type, subject_id) VALUES ('transfer.posted', $1)", transfer_id
            )

    def request_id(self, user: str, key: str) -> str:
        return self.request_ids.setdefault(f"{user} {key}", str(uuid4()))

    def call(self, method: Callable[..., Any], request: object, user: str) -> Any:
        """Call until the service is there; a restarting one is UNAVAILABLE, and repeats are safe."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return method(request, metadata=[("authorization", f"Bearer {self.tokens[user]}")], timeout=10)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:  # type: ignore[attr-defined]
                    return error
                time.sleep(0.05)

    def expect(self, reply: Any, expected: str, key: str | None, made: Callable[[Any], str]) -> None:
        if isinstance(reply, grpc.RpcError):
            status = rpc_status.from_call(reply)
            assert status is not None, reply
            assert reason_of(status) == expected, (reason_of(status), expected, status.message)
            return
        replayed = getattr(reply, "replayed", False)
        assert expected in (("replayed",) if replayed else ("posted", "held")), (reply, expected)
        if key is not None:
            assert self.made.setdefault(key, made(reply)) == made(reply)

    @rule(user=users, key=keys, source=names, destination=names, amount=amounts)
    def transfer(self, user: str, key: str, source: str, destination: str, amount: int) -> None:
        if source != destination:
            reply = self.call(
                self.transfers.CreateTransfer, self.new_transfer(user, key, source, destination, amount), user
            )
            expected = self.model.transfer(user, key, source, destination, amount)
            self.expect(reply, expected, f"{user} {key}", lambda reply: reply.transfer.id)

    def new_transfer(self, user: str, key: str, source: str, destination: str, amount: int) -> CreateTransferRequest:
        return CreateTransferRequest(
            request_id=self.request_id(user, key),
            source_account_id=self.accounts[source],
            destination_account_id=self.accounts[destination],
            amount_minor=amount,
            currency_code="USD",
        )

    @rule(user=users, items=st.lists(st.tuples(keys, names, names, amounts), min_size=1, max_size=6))
    def batch(self, user: str, items: list[tuple[str, str, str, int]]) -> None:
        items = [item for item in items if item[1] != item[2]]
        if not items:
            return
        request = BatchCreateTransfersRequest(
            transfers=[self.new_transfer(user, *item) for item in items], mode=BatchMode.BATCH_MODE_INDEPENDENT
        )
        reply = self.call(self.transfers.BatchCreateTransfers, request, user)
        assert not isinstance(reply, grpc.RpcError), reply
        for (key, *item), result in zip(items, reply.results, strict=True):
            expected = self.model.transfer(user, key, *item)  # type: ignore[arg-type]  # a tuple of known shape
            if result.HasField("status"):
                assert reason_of(result.status) == expected
            else:
                assert expected == ("replayed" if result.replayed else "posted")
                assert self.made.setdefault(f"{user} {key}", result.transfer.id) == result.transfer.id

    @rule(user=users, key=keys, source=names, destination=names, amount=amounts)
    def hold(self, user: str, key: str, source: str, destination: str, amount: int) -> None:
        if source != destination:
            request = CreateHoldRequest(
                request_id=self.request_id(user, key),
                source_account_id=self.accounts[source],
                destination_account_id=self.accounts[destination],
                amount_minor=amount,
                currency_code="USD",
            )
            reply = self.call(self.holds.CreateHold, request, user)
            expected = self.model.hold(user, key, source, destination, amount)
            self.expect(reply, expected, f"{user} {key}", lambda reply: reply.hold.id)

    @rule(user=users, key=keys, pick=picks, amount=parts)
    def capture(self, user: str, key: str, pick: int, amount: int | None) -> None:
        known = sorted(self.model.holds)
        if known:
            hold_key = known[pick % len(known)]
            request = CaptureHoldRequest(
                hold_id=self.made[hold_key],
                request_id=self.request_id(user, key),
                amount_minor=amount or 0,
                full=amount is None,
            )
            reply = self.call(self.holds.CaptureHold, request, user)
            expected = self.model.capture(user, key, hold_key, amount)
            self.expect(reply, expected, f"{user} {key}", lambda reply: reply.transfer.id)

    @rule(user=users, pick=picks)
    def void(self, user: str, pick: int) -> None:
        known = sorted(self.model.holds)
        if known:
            hold_key = known[pick % len(known)]
            reply = self.call(self.holds.VoidHold, VoidHoldRequest(hold_id=self.made[hold_key]), user)
            self.expect(reply, self.model.void(user, hold_key), None, lambda reply: reply.hold.id)

    @rule(user=users, key=keys, pick=picks, amount=parts)
    def reverse(self, user: str, key: str, pick: int, amount: int | None) -> None:
        known = sorted(self.model.transfers)
        if known:
            transfer_key = known[pick % len(known)]
            request = ReverseTransferRequest(
                transfer_id=self.made[transfer_key],
                request_id=self.request_id(user, key),
                amount_minor=amount or 0,
                full=amount is None,
            )
            reply = self.call(self.transfers.ReverseTransfer, request, user)
            expected = self.model.reverse(user, key, transfer_key, amount)
            self.expect(reply, expected, f"{user} {key}", lambda reply: reply.transfer.id)

    @rule(name=names)
    def balances_equal_the_model(self, name: str) -> None:
        model = self.model.accounts[name]
        reply = self.call(
            self.account_service.GetAccount, GetAccountRequest(account_id=self.accounts[name]), model.owner
        )
        account = reply.account
        assert (account.posted_minor, account.held_minor, account.available_minor) == (
            model.posted,
            model.held,
            model.available,
        )

    @rule(pick=st.integers(0, 40), kill=st.booleans())
    def restart(self, pick: int, kill: bool) -> None:
        if pick == 0:
            self.server.restart(signal.SIGKILL if kill else signal.SIGTERM)

    def teardown(self) -> None:
        for name in ACCOUNTS:
            self.balances_equal_the_model(name)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end on a loop of its own: the machine is synchronous."""
    with asyncio.Runner() as runner:
        return runner.run(work)


def reason_of(status: Status) -> str:
    info = ErrorInfo()
    status.details[0].Unpack(info)
    return info.reason


async def _differences(url: str) -> list[object]:
    database = Database(await open_pool(url, size=1))
    verdict = await verify(database)
    await database.close()
    return list(verdict.differences)


@pytest.mark.timeout(900)
def test_service_behaves_like_the_model(database: MigratedDatabase, tmp_path: Path) -> None:
    server = Server(database, tmp_path)

    class Machine(ServiceMachine):
        pass

    Machine.server = server
    try:
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        server.channel.close()
        server.process.terminate()
        server.process.wait(20)
    assert run(_differences(database.app_url)) == []
