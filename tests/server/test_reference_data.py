"""Currencies and cash accounts: read once, whole or not at all."""

import asyncpg
import pytest

from server.database import Database
from server.errors import DatabaseUnavailable
from server.reference_data import ReferenceData
from tests.conftest import Database as MigratedDatabase


class TestReferenceData:
    async def test_currencies_come_by_code_with_their_digits(self, database: MigratedDatabase) -> None:
        reference = ReferenceData()
        await reference.load(Database(database.pool))
        assert reference.loaded
        assert list(reference.currencies) == sorted(reference.currencies)
        assert {code: reference.currencies[code].minor_unit_digits for code in ("USD", "JPY", "KWD", "CLF")} == {
            "USD": 2,
            "JPY": 0,
            "KWD": 3,
            "CLF": 4,
        }
        assert not reference.currencies.keys() & {"XAU", "XXX", "XTS", "XDR"}

    async def test_cash_accounts_take_turns(self, database: MigratedDatabase) -> None:
        reference = ReferenceData()
        await reference.load(Database(database.pool))
        rows = await database.pool.fetch("SELECT id FROM accounts WHERE currency_code = 'USD' AND kind = 'SYSTEM_CASH'")
        turns = [reference.cash_account("USD") for _ in range(2 * len(rows))]
        assert set(turns) == {row[0] for row in rows}
        assert turns[: len(rows)] == turns[len(rows) :]
        assert len(rows) > 1

    async def test_every_currency_has_cash_accounts(self, database: MigratedDatabase) -> None:
        reference = ReferenceData()
        await reference.load(Database(database.pool))
        assert len({reference.cash_account(code) for code in reference.currencies}) == len(reference.currencies)

    async def test_customers_accounts_are_not_among_them(self, database: MigratedDatabase) -> None:
        await database.pool.execute(
            "INSERT INTO users (id, username, password_hash, full_name, email)"
            " VALUES (gen_random_uuid(), 'alice', 'x', 'Alice Example', 'a@example.org')"
        )
        account_id = await database.pool.fetchval(
            "INSERT INTO accounts (id, owner_user_id, currency_code)"
            " SELECT gen_random_uuid(), id, 'USD' FROM users RETURNING id"
        )
        reference = ReferenceData()
        await reference.load(Database(database.pool))
        assert account_id not in {reference.cash_account("USD") for _ in range(100)}

    async def test_before_it_is_read_the_database_is_said_to_be_away(self) -> None:
        reference = ReferenceData()
        assert not reference.loaded
        with pytest.raises(DatabaseUnavailable):
            _ = reference.currencies

    async def test_failed_reading_keeps_nothing_and_can_be_repeated(self, database: MigratedDatabase) -> None:
        reference = ReferenceData()
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute("ALTER TABLE currencies RENAME TO hidden")
        with pytest.raises(asyncpg.UndefinedTableError):
            await reference.load(Database(database.pool))
        assert not reference.loaded
        await owner.execute("ALTER TABLE hidden RENAME TO currencies")
        await owner.close()
        await reference.load(Database(database.pool))
        assert reference.loaded
