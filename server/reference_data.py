"""What never changes while the service runs: currencies and the cash accounts of each."""

from collections.abc import Mapping
from uuid import UUID

from bankdb.accounts import list_system_accounts
from bankdb.currencies import list_currencies
from bankdb.models import Currency

from server.database import Database
from server.errors import DatabaseUnavailable


class ReferenceData:
    """Read once, as soon as the database can be reached."""

    def __init__(self) -> None:
        self._currencies: dict[str, Currency] = {}
        self._cash: dict[str, list[UUID]] = {}
        self._turn = 0

    @property
    def loaded(self) -> bool:
        """Whether it was read yet."""
        return bool(self._currencies)

    async def load(self, database: Database) -> None:
        """Read it.

        Raises:
            Exception: What the driver raises; nothing is kept then.
        """
        async with database.connection() as connection:
            cash: dict[str, list[UUID]] = {}
            for row in await list_system_accounts(connection):
                cash.setdefault(row.currency_code, []).append(row.id)
            currencies = {row.currency_code: row for row in await list_currencies(connection)}
        self._cash, self._currencies = cash, currencies

    @property
    def currencies(self) -> Mapping[str, Currency]:
        """Currencies by code, in the order of codes.

        Raises:
            DatabaseUnavailable: Not read yet.
        """
        if not self._currencies:
            raise DatabaseUnavailable
        return self._currencies

    def cash_account(self, currency_code: str) -> UUID:
        """The cash account of a known currency whose turn it is; several, so that none is a queue."""
        accounts = self._cash[currency_code]
        self._turn += 1
        return accounts[self._turn % len(accounts)]
