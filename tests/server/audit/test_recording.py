"""What is recorded: as it was told, with the transaction it happened in, and named as in the contract."""

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest
from bank.v1 import ledger_service_pb2 as pb

from local.settings import ROOT
from server.audit.recording import AuditEventType, record
from server.caller import Caller, Origin, set_origin
from server.database import Database, open_pool
from tests.conftest import Database as MigratedDatabase

NOWHERE = {"client_address": "", "user_agent": "", "trace_id": ""}


@pytest.fixture
async def bank(database: MigratedDatabase) -> AsyncIterator[Database]:
    opened = Database(await open_pool(database.app_url, size=2))
    yield opened
    await opened.close()


async def stored(database: MigratedDatabase) -> list[dict[str, object]]:
    rows = await database.pool.fetch("SELECT * FROM audit_events ORDER BY id")
    return [{name: value for name, value in row.items() if name not in ("id", "create_time")} for row in rows]


class TestRecord:
    async def test_what_is_told_is_stored(self, database: MigratedDatabase, bank: Database) -> None:
        user_id, account_id, actor = uuid4(), uuid4(), Caller(uuid4(), uuid4())
        await bank.transaction(
            lambda connection: record(
                connection,
                AuditEventType.OVERDRAFT_LIMIT_CHANGED,
                user_id=user_id,
                actor=actor,
                account_id=account_id,
                overdraft_limit_minor=5,
                currency_code="USD",
            )
        )
        (event,) = await stored(database)
        assert json.loads(str(event.pop("details"))) == {"overdraft_limit_minor": "5", "currency_code": "USD"}
        assert event == {
            "type": "OVERDRAFT_LIMIT_CHANGED",
            "user_id": user_id,
            "actor_user_id": actor.user_id,
            "session_id": actor.session_id,
            "account_id": account_id,
            **NOWHERE,
        }

    async def test_where_the_call_comes_from_is_added(self, database: MigratedDatabase, bank: Database) -> None:
        async def call() -> None:
            set_origin(Origin(**origin))
            await bank.transaction(lambda connection: record(connection, AuditEventType.SIGNED_IN, user_id=None))

        origin = {"client_address": "192.0.2.1", "user_agent": "agent", "trace_id": "trace"}
        await asyncio.create_task(call())  # which has a context of its own, as each call has
        (event,) = await stored(database)
        assert {name: event[name] for name in origin} == origin

    async def test_session_that_is_named_counts_more_than_the_actors(
        self, database: MigratedDatabase, bank: Database
    ) -> None:
        ended, actor = uuid4(), Caller(uuid4(), uuid4())
        await bank.transaction(
            lambda connection: record(
                connection, AuditEventType.SESSION_REVOKED, user_id=actor.user_id, actor=actor, session_id=ended
            )
        )
        (event,) = await stored(database)
        assert event["session_id"] == ended

    async def test_nobody_in_particular_is_null(self, database: MigratedDatabase, bank: Database) -> None:
        await bank.transaction(lambda connection: record(connection, AuditEventType.SIGN_IN_FAILED, user_id=None))
        (event,) = await stored(database)
        assert {event[name] for name in ("user_id", "actor_user_id", "session_id", "account_id")} == {None}
        assert event["details"] == "{}"

    async def test_it_goes_with_the_transaction_that_is_rolled_back(
        self, database: MigratedDatabase, bank: Database
    ) -> None:
        async def work(connection: asyncpg.Connection) -> None:
            await record(connection, AuditEventType.PASSWORD_CHANGED, user_id=uuid4(), notify=True)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await bank.transaction(work)
        assert await stored(database) == []
        assert await database.pool.fetch("SELECT FROM outbox") == []

    async def test_notice_is_asked_for_by_the_id_of_what_happened(
        self, database: MigratedDatabase, bank: Database
    ) -> None:
        for notify in (False, True):
            await bank.transaction(
                lambda connection, notify=notify: record(  # type: ignore[misc]  # default
                    connection, AuditEventType.PASSWORD_CHANGED, user_id=uuid4(), notify=notify
                )
            )
        last_id = await database.pool.fetchval("SELECT id FROM audit_events ORDER BY id DESC LIMIT 1")
        rows = await database.pool.fetch("SELECT job, payload FROM outbox")
        assert [(row["job"], json.loads(row["payload"])) for row in rows] == [
            ("send_security_notice", {"audit_event_id": str(last_id)})
        ]


class TestAuditEventType:
    def test_every_type_has_its_name_in_the_contract(self) -> None:
        names = {name.removeprefix("AUDIT_EVENT_TYPE_") for name, _ in pb.AuditEventType.items()}
        assert names == {"UNSPECIFIED", *AuditEventType}

    def test_every_type_is_documented(self) -> None:
        page = (ROOT / "docs" / "operations.md").read_text()
        assert [type_ for type_ in AuditEventType if f"`{type_}`" not in page] == []
