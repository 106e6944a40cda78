"""Proof that the ledger adds up, or where it does not."""

from dataclasses import dataclass
from enum import StrEnum

from bankdb import verification as queries
from bankdb.verification import CountLedgerRow, ListTrialBalancesRow

from server.database import Database
from server.ledger.blocks import Head, find_flaws, get_head
from server.metrics import LEDGER_VERIFICATIONS

DIFFERENCES_MAX = 100
VERIFY_TIMEOUT_S = 900


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
    CHAIN = "CHAIN"
    PAYMENT = "PAYMENT"
    STOCK = "STOCK"


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where a rule does not hold."""

    rule: Rule
    subject: str
    expected: int
    actual: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was checked, and at most DIFFERENCES_MAX places where it does not add up.

    Attributes:
        head: Where the hash chain ends; None before the first block.
    """

    counts: CountLedgerRow
    differences: list[Difference]
    head: Head | None


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
    (Rule.PAYMENT, queries.list_wrong_capture_counts),
    (Rule.PAYMENT, queries.list_wrong_payments),
    (Rule.PAYMENT, queries.list_wrong_refunds),
    (Rule.PAYMENT, queries.list_wrong_order_holds),
    (Rule.STOCK, queries.list_wrong_reservations),
    (Rule.STOCK, queries.list_wrong_stocks),
)


async def verify(database: Database, expected_head: Head | None = None) -> Verdict:
    """Check every rule within one snapshot, without holding up anybody.

    Args:
        database: Its connections let a statement take VERIFY_TIMEOUT_S.
        expected_head: An end of the hash chain that was kept elsewhere; None to believe the chain.
    """
    async with (
        database.connection() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        differences: list[Difference] = []
        for rule, check in _CHECKS:
            rows = await check(connection, most=DIFFERENCES_MAX - len(differences))
            differences += [Difference(rule, row.subject, row.expected, row.actual) for row in rows]
        head = await get_head(connection)
        flaws = await find_flaws(connection, head, expected_head, DIFFERENCES_MAX - len(differences))
        differences += [Difference(Rule.CHAIN, flaw.subject, 0, 0, flaw.detail) for flaw in flaws]
        counts = await queries.count_ledger(connection)
        assert counts is not None  # an aggregate always has a row
    LEDGER_VERIFICATIONS.labels("different" if differences else "consistent").inc()
    return Verdict(counts, differences, head)


async def trial_balances(database: Database) -> list[ListTrialBalancesRow]:
    """What all accounts of each currency have, within one snapshot; currencies of customers only."""
    async with database.connection() as connection, connection.transaction(readonly=True):
        return await queries.list_trial_balances(connection)
