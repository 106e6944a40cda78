"""The whole server on a real database and a real port, and what it answers when it refuses."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RequestInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from server.app import _build, open_watches
from server.clock import DatabaseClock
from server.config import Settings
from server.database import Database, open_pool
from server.events.watching import Watches
from server.keys import Keys
from server.ledger.batches import Batches
from server.ledger.commit_queue import LEDGER_SETTINGS
from server.orders.transactions import ORDER_SETTINGS, ORDERS_AT_ONCE
from server.passwords import Passwords
from server.tokens import AccessTokens
from tests.conftest import Database as TestDatabase
from tests.server.bank import Bank, Person, running_ledger
from tests.server.identity import bearer, new_keys

Metadata = tuple[tuple[str, str], ...]
Detail = TypeVar("Detail", bound=Message)


@dataclass(frozen=True)
class ServedBank:
    """A bank that is called over a channel."""

    bank: Bank
    channel: grpc.aio.Channel
    tokens: AccessTokens
    keys: Keys
    watches: Watches

    def signed_in(self, person: Person) -> Metadata:
        """Metadata that proves that `person` calls."""
        return bearer(self.tokens.issue(person.user_id, person.session_id, datetime.now(UTC))[0])


@asynccontextmanager
async def serving_bank(database: TestDatabase) -> AsyncIterator[ServedBank]:
    """The server as it is put together in production, and a channel to it."""
    reads, keys, passwords = Database(await open_pool(database.app_url, size=8)), new_keys(), Passwords(1)
    settings = Settings(
        BANK_ENVIRONMENT="test",
        database_url=database.app_url,
        redis_url="redis://127.0.0.1/0",
        token_keys_file=Path("unread"),
        public_url="https://bank.example",
        calls_per_second=0,
        sign_ins_per_second=0,
    )
    pool = await open_pool(database.app_url, size=2, settings=LEDGER_SETTINGS)
    orders = Database(await open_pool(database.app_url, size=ORDERS_AT_ONCE, settings=ORDER_SETTINGS))
    async with running_ledger(database.app_url) as ledger:
        bank = Bank(database.app_url, database, reads, ledger)
        await bank.reference.load(reads)
        clock = DatabaseClock()
        watches = await open_watches(database.app_url, reads, clock)
        server, _ = _build(
            settings, keys, clock, reads, reads, orders, ledger, Batches(pool), bank.reference, passwords, watches
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            tokens = AccessTokens(keys, settings.token_format, settings.access_token_ttl_s, clock)
            yield ServedBank(bank, channel, tokens, keys, watches)
        await server.stop(None)
        await watches.close()
        await watches.events.database.close()
    await passwords.close()
    await pool.close()
    await orders.close()
    await reads.close()


@dataclass(frozen=True)
class Refusal:
    """What a refused call was told."""

    code: str
    status: Status

    @property
    def why(self) -> tuple[str, str]:
        """Code and reason."""
        return self.code, self.detail(ErrorInfo).reason

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self.detail(ErrorInfo).metadata)

    @property
    def fields(self) -> list[str]:
        """The fields that are wrong, in the order they were told."""
        return [violation.field for violation in self.detail(BadRequest).field_violations]

    @property
    def trace_id(self) -> str:
        return str(self.detail(RequestInfo).request_id)

    def detail(self, kind: type[Detail]) -> Detail:
        """The one detail of this type."""
        (packed,) = (detail for detail in self.status.details if detail.Is(kind.DESCRIPTOR))
        message = kind()
        packed.Unpack(message)
        return message


async def refusal_of(call: Awaitable[object]) -> Refusal:
    """What a call that must be refused is told."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    status = rpc_status.from_call(refused.value)
    assert status is not None, refused.value
    assert status.message == refused.value.details()
    return Refusal(refused.value.code().name, status)
