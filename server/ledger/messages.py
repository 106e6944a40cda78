"""Verdicts and currencies on the wire."""

from collections.abc import Iterable

from bank.v1.ledger_service_pb2 import Currency as CurrencyMessage
from bank.v1.ledger_service_pb2 import (
    LedgerDifference,
    ListCurrenciesResponse,
    VerifyLedgerResponse,
)
from bankdb.models import Currency

from server.ledger.verification import Verdict
from server.timestamps import to_proto


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
            )
            for difference in verdict.differences
        ],
        account_count=verdict.counts.account_count,
        transfer_count=verdict.counts.transfer_count,
        entry_count=verdict.counts.entry_count,
        snapshot_time=to_proto(verdict.counts.snapshot_time),
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
