"""bank.v1.LedgerService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.ledger_service_pb2 import (
    GetTrialBalanceRequest,
    GetTrialBalanceResponse,
    ListAuditEventsRequest,
    ListAuditEventsResponse,
    ListCurrenciesRequest,
    ListCurrenciesResponse,
    VerifyLedgerRequest,
    VerifyLedgerResponse,
)
from bank.v1.ledger_service_pb2_grpc import LedgerServiceServicer

from server.audit.operations import AuditLog
from server.caller import current_caller
from server.database import Database
from server.ledger.messages import (
    parse_list_audit_events,
    parse_verify_ledger,
    render_audit_events,
    render_currencies,
    render_trial_balances,
    render_verdict,
)
from server.ledger.verification import trial_balances, verify
from server.reference_data import ReferenceData

Context = grpc.aio.ServicerContext[Any, Any]


class LedgerServicer(LedgerServiceServicer):
    """bank.v1.LedgerService.

    Args:
        whole_ledger: Its connections let a statement take VERIFY_TIMEOUT_S.
        reference: Has the currencies.
        audit_log: What happened to users, sessions and accounts.
    """

    def __init__(self, whole_ledger: Database, reference: ReferenceData, audit_log: AuditLog) -> None:
        self._whole_ledger = whole_ledger
        self._reference = reference
        self._audit_log = audit_log

    async def VerifyLedger(self, request: VerifyLedgerRequest, context: Context) -> VerifyLedgerResponse:
        return render_verdict(await verify(self._whole_ledger, parse_verify_ledger(request)))

    async def GetTrialBalance(self, request: GetTrialBalanceRequest, context: Context) -> GetTrialBalanceResponse:
        return render_trial_balances(await trial_balances(self._whole_ledger))

    async def ListCurrencies(self, request: ListCurrenciesRequest, context: Context) -> ListCurrenciesResponse:
        return render_currencies(self._reference.currencies.values())

    async def ListAuditEvents(self, request: ListAuditEventsRequest, context: Context) -> ListAuditEventsResponse:
        caller = current_caller()
        return render_audit_events(*await self._audit_log.page(parse_list_audit_events(request, caller), caller))
