"""Proof that the ledger adds up, or where it does not."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from bankdb import verification as queries
from bankdb.verification import CountLedgerRow

from server.database import Connection, Database

DIFFERENCES_MAX = 100
VERIFY_TIMEOUT_S = 600


class Rule(StrEnum):
    """What must hold; the names of the contract's LedgerRule."""

    ZERO_SUM = "ZERO_SUM"
    BALANCE = "BALANCE"
    BALANCE_CHAIN = "BALANCE_CHAIN"
    SEQUENCE = "SEQUENCE"
    TWO_ENTRIES = "TWO_ENTRIES"
    LIMIT = "LIMIT"
    HELD = "HELD"
    CAPTURE = "CAPTURE"
    REVERSAL = "REVERSAL"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a rule does not hold."""

    rule: Rule
    subject: str
    expected: int
    actual: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked, and at most DIFFERENCES_MAX places where it does not add up."""

    counts: CountLedgerRow
    differences: list[Difference]


_CHECKS = (
    (Rule.ZERO_SUM, queries.list_unbalanced_currencies),
    (Rule.BALANCE, queries.list_wrong_balances),
    (Rule.BALANCE_CHAIN, queries.list_broken_balance_chains),
    (Rule.SEQUENCE, queries.list_broken_sequences),
    (Rule.TWO_ENTRIES, queries.list_broken_transfers),
    (Rule.TWO_ENTRIES, queries.list_orphan_entries),
    (Rule.LIMIT, queries.list_overdrawn_accounts),
    (Rule.HELD, queries.list_wrong_held_amounts),
    (Rule.CAPTURE, queries.list_wrong_captures),
    (Rule.REVERSAL, queries.list_wrong_reversals),
)


class _Patient:
    """A connection whose queries may take VERIFY_TIMEOUT_S by the driver's clock too."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def execute(self, query: str, /, *args: Any) -> str:  # noqa: ANN401 - as the driver has it
        return await self._connection.execute(query, *args, timeout=VERIFY_TIMEOUT_S)

    async def fetch(self, query: str, /, *args: Any) -> list[Any]:  # noqa: ANN401
        return await self._connection.fetch(query, *args, timeout=VERIFY_TIMEOUT_S)

    async def fetchrow(self, query: str, /, *args: Any) -> Any:  # noqa: ANN401
        return await self._connection.fetchrow(query, *args, timeout=VERIFY_TIMEOUT_S)

    async def fetchval(self, query: str, /, *args: Any) -> Any:  # noqa: ANN401
        return await self._connection.fetchval(query, *args, timeout=VERIFY_TIMEOUT_S)


async def verify(database: Database) -> Verdict:
    """Check every rule within one snapshot, without holding up anybody."""
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        await connection.execute(f"SET LOCAL statement_timeout = '{VERIFY_TIMEOUT_S}s'")
        patient = _Patient(connection)
        differences: list[Difference] = []
        for rule, check in _CHECKS:
            rows = await check(patient, most=DIFFERENCES_MAX - len(differences))
            differences += [Difference(rule, row.subject, row.expected, row.actual) for row in rows]
        counts = await queries.count_ledger(patient)
        assert counts is not None  # an aggregate always has a row
    return Verdict(counts, differences)
