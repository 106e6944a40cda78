"""Verdicts, currencies and the audit log on the wire."""

import json
import re
from collections.abc import Iterable, Sequence
from uuid import UUID

from bank.v1.ledger_service_pb2 import AuditEvent as AuditEventMessage
from bank.v1.ledger_service_pb2 import AuditEventType as AuditEventTypeMessage
from bank.v1.ledger_service_pb2 import Currency as CurrencyMessage
from bank.v1.ledger_service_pb2 import (
    CurrencyBalance,
    GetTrialBalanceResponse,
    LedgerDifference,
    LedgerHead,
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    ListCurrenciesResponse,
    VerifyLedgerRequest,
    VerifyLedgerResponse,
)
from bankdb.models import AuditEvent, Currency
from bankdb.verification import ListTrialBalancesRow

from server.audit.operations import AuditFilter
from server.audit.recording import AuditEventType
from server.caller import Caller
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


def parse_list_audit_events(request: ListAuditEventsRequest, caller: Caller) -> AuditFilter:
    """Check all filters; `me` is the caller.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    type_ = check.enum("type", request.type, AuditEventTypeMessage.items(), "AUDIT_EVENT_TYPE_")
    user_id = check.user_id_or_none("user_id", request.user_id, caller)
    actor_user_id = check.user_id_or_none("actor_user_id", request.actor_user_id, caller)
    start_time, end_time = check.time_range(request)
    wanted = AuditFilter(
        type=AuditEventType(type_) if type_ is not None else None,
        user_id=user_id,
        actor_user_id=actor_user_id,
        start_time=start_time,
        end_time=end_time,
        page_size=check.page_size(request.page_size),
        page_token=request.page_token,
    )
    check.raise_if_any()
    return wanted


def render_audit_events(events: Sequence[AuditEvent], next_page_token: str) -> ListAuditEventsResponse:
    """One page."""
    return ListAuditEventsResponse(
        audit_events=[
            AuditEventMessage(
                id=str(event.id),
                type=f"AUDIT_EVENT_TYPE_{event.type}",
                user_id=_id_or_empty(event.user_id),
                actor_user_id=_id_or_empty(event.actor_user_id),
                session_id=_id_or_empty(event.session_id),
                account_id=_id_or_empty(event.account_id),
                client_address=event.client_address,
                user_agent=event.user_agent,
                trace_id=event.trace_id,
                details=json.loads(event.details),
                create_time=to_proto(event.create_time),
            )
            for event in events
        ],
        next_page_token=next_page_token,
    )


def _id_or_empty(value: UUID | None) -> str:
    return str(value) if value is not None else ""
