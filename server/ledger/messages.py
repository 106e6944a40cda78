"""Verdicts and currencies on the wire."""

import re
from collections.abc import Iterable, Sequence

from bank.v1.ledger_service_pb2 import Currency as CurrencyMessage
from bank.v1.ledger_service_pb2 import (
    CurrencyBalance,
    GetTrialBalanceResponse,
    LedgerDifference,
    LedgerHead,
    ListCurrenciesResponse,
    VerifyLedgerRequest,
    VerifyLedgerResponse,
)
from bankdb.models import Currency
from bankdb.verification import ListTrialBalancesRow

from server.ledger.blocks import Head
from server.ledger.verification import Verdict
from server.timestamps import to_proto
from server.violations import Violations

_HASH = re.compile(r"[0-9A-Fa-f]{64}")


def parse_verify_ledger(request: VerifyLedgerRequest) -> Head | None:
    """The end that the hash chain is expected to have had; None if none is given.

    Raises:
        InvalidRequest: With every violation.
    """
    position, digits = request.expected_head_position, request.expected_head_hash
    if not position and not digits:
        return None
    check = Violations()
    if position < 1:
        check.add("expected_head_position", "must be the position of a head, together with its hash")
    if not _HASH.fullmatch(digits):
        check.add("expected_head_hash", "must be the 64 hexadecimal digits of a head's hash")
    check.raise_if_any()
    return Head(position, bytes.fromhex(digits))


def render_verdict(verdict: Verdict) -> VerifyLedgerResponse:
    """The answer to VerifyLedger."""
    return VerifyLedgerResponse(
        consistent=not verdict.differences,
        differences=[
            LedgerDifference(
                rule=f"LEDGER_RULE_{difference.rule}",
                subject=difference.subject,
                expected=difference.expected,
                actual=difference.actual,
                detail=difference.detail,
            )
            for difference in verdict.differences
        ],
        account_count=verdict.counts.account_count,
        transfer_count=verdict.counts.transfer_count,
        entry_count=verdict.counts.entry_count,
        snapshot_time=to_proto(verdict.counts.snapshot_time),
        head=LedgerHead(
            position=verdict.head.position, hash=verdict.head.hash.hex(), block_count=verdict.head.block_count
        )
        if verdict.head is not None
        else None,
    )


def render_trial_balances(rows: Sequence[ListTrialBalancesRow]) -> GetTrialBalanceResponse:
    """The answer to GetTrialBalance."""
    return GetTrialBalanceResponse(
        balances=[
            CurrencyBalance(
                currency_code=row.currency_code,
                customer_posted_minor=row.customer_posted_minor,
                cash_posted_minor=row.cash_posted_minor,
                difference_minor=row.difference_minor,
                held_minor=row.held_minor,
                customer_account_count=row.customer_account_count,
            )
            for row in rows
        ],
        snapshot_time=to_proto(rows[0].snapshot_time) if rows else None,
    )


def render_currencies(currencies: Iterable[Currency]) -> ListCurrenciesResponse:
    """The answer to ListCurrencies."""
    return ListCurrenciesResponse(
        currencies=[
            CurrencyMessage(
                currency_code=currency.currency_code,
                minor_unit_digits=currency.minor_unit_digits,
                name=currency.name,
            )
            for currency in currencies
        ]
    )
