"""What takes too long for one row is cut off, and the worker goes on with the others."""

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from server.database import Database, open_pool
from server.ledger.movements import Kind
from tests.server.bank import Bank, Person, movement
from worker.holds import HoldSweep
from worker.retention import Retention
from worker.schedules import Schedules


async def slow_down(bank: Bank, table: str, operation: str, condition: str) -> None:
    """Have a change of some rows take longer than a statement may."""
    await bank.as_owner(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_sleep(5); RETURN coalesce(NEW, OLD); END $$"
    )
    await bank.as_owner(
        f"CREATE TRIGGER dawdle BEFORE {operation} ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION dawdle()"
    )


@pytest.fixture
async def impatient(bank: Bank) -> AsyncIterator[Database]:
    """Of a worker whose statements may take half a second."""
    database = Database(await open_pool(bank.url, size=2, statement_timeout_s=0.5))
    yield database
    await database.close()


@pytest.fixture
async def people(bank: Bank) -> list[tuple[Person, UUID]]:
    """Two people and their accounts, the first of which is slow to change from `slow_down` on."""
    found = [await bank.person() for _ in range(2)]
    return [(person, await bank.account(person, 100)) for person in found]


class TestCutOff:
    async def test_schedule_of_somebody_else_is_executed(
        self, bank: Bank, people: list[tuple[Person, UUID]], impatient: Database
    ) -> None:
        destination = await bank.account(await bank.person())
        for (person, account_id), due_s in zip(people, (2, 1), strict=True):
            await bank.pool.execute(
                "INSERT INTO scheduled_transfers (id, creator_user_id, source_account_id, destination_account_id,"
                " amount_minor, currency_code, description, execute_time, create_time, update_time)"
                " VALUES ($1, $2, $3, $4, 1, 'USD', '', now() - make_interval(secs => $5), now(), now())",
                *(uuid4(), person.user_id, account_id, destination, float(due_s)),
            )
        await slow_down(bank, "accounts", "UPDATE", f"OLD.id = '{people[0][1]}'")
        assert await Schedules(impatient).execute_due() == 1
        states = await bank.pool.fetch("SELECT state FROM scheduled_transfers ORDER BY execute_time")
        assert [row["state"] for row in states] == ["SCHEDULED", "POSTED"]
        assert [await bank.posted_minor(account_id) for _, account_id in people] == [100, 99]
        assert await bank.adds_up()

    async def test_holds_of_somebody_else_expire(
        self, bank: Bank, people: list[tuple[Person, UUID]], impatient: Database
    ) -> None:
        destination = await bank.account(await bank.person())
        for person, account_id in people:
            await bank.ledger.post(movement(person, account_id, destination, 10, kind=Kind.HOLD))
        await bank.as_owner(
            "UPDATE holds SET expire_time = now() - CASE source_account_id WHEN $1 THEN 2 ELSE 1 END * interval '1 s'",
            people[0][1],
        )
        await slow_down(bank, "accounts", "UPDATE", f"OLD.id = '{people[0][1]}'")
        assert await HoldSweep(impatient).sweep() == 1
        assert [(await bank.get(account_id)).held_minor for _, account_id in people] == [10, 0]
        assert await bank.adds_up()

    async def test_rows_of_other_kinds_are_removed(self, bank: Bank, impatient: Database) -> None:
        person = await bank.person()
        await bank.as_owner(
            "INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, create_time, expire_time)"
            " VALUES (gen_random_uuid(), $1, 'VERIFY_EMAIL', 'x@example.org', '\\x01', now() - interval '1 y',"
            " now() - interval '1 y')",
            person.user_id,
        )
        await bank.as_owner("UPDATE sessions SET expire_time = now() - interval '1 y', idle_expire_time = now()")
        await slow_down(bank, "mail_tokens", "DELETE", "true")
        await Retention(impatient).sweep()
        kept = "SELECT (SELECT count(*) FROM mail_tokens), (SELECT count(*) FROM sessions)"
        assert tuple(await bank.pool.fetchrow(kept)) == (1, 0)
