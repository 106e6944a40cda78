"""bank.v1.LedgerService: call, render."""

from typing import Any

import grpc
from bank.v1.ledger_service_pb2 import (
    GetTrialBalanceRequest,
    GetTrialBalanceResponse,
    ListCurrenciesRequest,
    ListCurrenciesResponse,
    VerifyLedgerRequest,
    VerifyLedgerResponse,
)
from bank.v1.ledger_service_pb2_grpc import LedgerServiceServicer

from server.database import Database
from server.ledger.messages import (
    parse_verify_ledger,
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
    """

    def __init__(self, whole_ledger: Database, reference: ReferenceData) -> None:
        self._whole_ledger = whole_ledger
        self._reference = reference

    async def VerifyLedger(self, request: VerifyLedgerRequest, context: Context) -> VerifyLedgerResponse:
        return render_verdict(await verify(self._whole_ledger, parse_verify_ledger(request)))

    async def GetTrialBalance(self, request: GetTrialBalanceRequest, context: Context) -> GetTrialBalanceResponse:
        return render_trial_balances(await trial_balances(self._whole_ledger))

    async def ListCurrencies(self, request: ListCurrenciesRequest, context: Context) -> ListCurrenciesResponse:
        return render_currencies(self._reference.currencies.values())
