"""A bank on a real database: people, accounts and the ledger, without the network."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

import asyncpg
import pytest
from bankdb.accounts import GetAccountRow, get_account

from server.caller import Caller, Role
from server.database import Database, open_pool
from server.errors import BankError, InvalidRequest
from server.ledger.commit_queue import LEDGER_SETTINGS, CommitQueue
from server.ledger.movements import Kind, Movement, Posted, Replay, fingerprint_of
from server.ledger.verification import verify
from server.reference_data import ReferenceData
from tests.conftest import Database as TestDatabase


@dataclass(frozen=True)
class Person:
    """A user with one live session."""

    user_id: UUID
    session_id: UUID


class Bank:
    """Sets the scene by SQL and moves money through the ledger."""

    def __init__(self, url: str, pool: TestDatabase, database: Database, ledger: CommitQueue) -> None:
        self.url = url
        self.owner_url = pool.owner_url
        self.pool = pool.pool
        self.database = database
        self.ledger = ledger
        self.reference = ReferenceData()

    async def person(self, *, verified: bool = True, roles: tuple[str, ...] = ("DEPOSITOR",)) -> Person:
        person = Person(uuid4(), uuid4())
        await self.pool.execute(
            "INSERT INTO users (id, username, password_hash, full_name, email, email_verified, roles)"
            " VALUES ($1, $2, 'x', 'Somebody', $3, $4, $5)",
            person.user_id,
            f"u{person.user_id.hex[:12]}",
            f"{person.user_id.hex}@example.org",
            verified,
            list(roles),
        )
        await self.sign_in(person)
        return person

    async def sign_in(self, person: Person) -> None:
        await self.pool.execute(
            "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
            " VALUES ($1, $2, 'test', '127.0.0.1', now() + '1 h', now() + '1 h')",
            person.session_id,
            person.user_id,
        )

    async def banker(self) -> Person:
        return await self.person(roles=("DEPOSITOR", "BANKER"))

    async def account(self, owner: Person, balance_minor: int = 0, currency_code: str = "USD") -> UUID:
        account_id = uuid4()
        await self.pool.execute(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, $3)",
            account_id,
            owner.user_id,
            currency_code,
        )
        if balance_minor:
            await self.deposit(await self.banker(), account_id, balance_minor, currency_code)
        return account_id

    async def deposit(
        self, banker: Person, account_id: UUID, amount_minor: int, currency_code: str = "USD"
    ) -> Posted | Replay:
        return await self.ledger.post(
            movement(
                banker,
                self.reference.cash_account(currency_code),
                account_id,
                amount_minor,
                kind=Kind.DEPOSIT,
                currency_code=currency_code,
            )
        )

    async def place_holds(self, payer: Person, source_id: UUID, destination_id: UUID, count: int) -> None:
        """Hold 1 of what the payer's account has so many times, by SQL: fast."""
        connection = await asyncpg.connect(self.owner_url)
        await connection.execute(
            "INSERT INTO holds (id, source_account_id, destination_account_id, amount_minor, currency_code,"
            " creator_user_id, expire_time, create_time, update_time)"
            " SELECT gen_random_uuid(), $1, $2, 1, 'USD', $3, now() + interval '1 h', now(), now()"
            " FROM generate_series(1, $4)",
            source_id,
            destination_id,
            payer.user_id,
            count,
        )
        await connection.execute("UPDATE accounts SET held_minor = held_minor + $2 WHERE id = $1", source_id, count)
        await connection.close()

    async def get(self, account_id: UUID) -> GetAccountRow:
        row = await get_account(self.pool, id=account_id)
        assert row is not None
        return row

    async def posted_minor(self, account_id: UUID) -> int:
        return (await self.get(account_id)).posted_minor

    async def as_owner(self, statement: str, *values: object) -> None:
        """Change what the service may not."""
        connection = await asyncpg.connect(self.owner_url)
        await connection.execute(statement, *values)
        await connection.close()

    async def waits_for_locks(self, count: int) -> None:
        """Return as soon as so many transactions wait for one that holds what they need."""
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        async with asyncio.timeout(15):
            while await self.pool.fetchval(waiting) < count:
                await asyncio.sleep(0.005)

    async def counts(self) -> dict[str, int]:
        """How many rows each table of the ledger has: what a refused call must leave as it was."""
        tables = ("accounts", "transfers", "entries", "requests", "events")
        return {table: await self.pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}

    async def rows(self, tables: Sequence[str]) -> list[object]:
        """All rows of these tables."""
        return [await self.pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]

    async def refused(self, attempt: Awaitable[object], error: type[BankError], tables: Sequence[str]) -> BankError:
        """The refusal; nothing was changed by it in these tables."""
        before = await self.rows(tables)
        with pytest.raises(error) as caught:
            await attempt
        assert type(caught.value) is error
        assert await self.rows(tables) == before
        return caught.value

    async def adds_up(self) -> bool:
        """Whether every rule of the ledger holds."""
        verdict = await verify(self.database)
        assert not verdict.differences, verdict.differences
        return True


def caller(person: Person, *roles: Role) -> Caller:
    """How the interceptor would introduce a person."""
    return Caller(person.user_id, person.session_id, frozenset({Role.DEPOSITOR, *roles}))


def movement(
    caller: Person,
    source_id: UUID,
    destination_id: UUID,
    amount_minor: int | None,
    *,
    kind: Kind = Kind.TRANSFER,
    currency_code: str = "USD",
    request_id: UUID | None = None,
    description: str = "",
    reference: str | None = None,
    validate_only: bool = False,
    subject_id: UUID | None = None,
    expire_time: datetime | None = None,
) -> Movement:
    """A movement as the servicers make it; a request id of its own unless given."""
    return Movement(
        kind=kind,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=request_id or uuid4(),
        rpc=f"test/{kind}",
        fingerprint=fingerprint_of(
            source_id, destination_id, amount_minor, currency_code, description, reference, subject_id
        ),
        source_id=source_id,
        destination_id=destination_id,
        amount_minor=amount_minor,
        currency_code=currency_code,
        description=description,
        reference=reference,
        validate_only=validate_only,
        subject_id=subject_id,
        expire_time=expire_time,
    )


@asynccontextmanager
async def running_ledger(url: str) -> AsyncIterator[CommitQueue]:
    """A ledger of its own, as each server process has one."""
    pool = await open_pool(url, size=5, settings=LEDGER_SETTINGS)
    ledger = CommitQueue(pool, side_connections=4)
    try:
        yield ledger
    finally:
        await ledger.close()
        await pool.close()


def wrong_fields(parse: Callable[[], object]) -> list[str]:
    """The fields that parsing finds fault with, in the order they are told."""
    with pytest.raises(InvalidRequest) as refused:
        parse()
    assert refused.value.reason == "INVALID_REQUEST"
    return [violation.field for violation in refused.value.violations]
