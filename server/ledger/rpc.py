"""bank.v1.LedgerService: call, render."""

from typing import Any

import grpc
from bank.v1.ledger_service_pb2 import (
    ListCurrenciesRequest,
    ListCurrenciesResponse,
    VerifyLedgerRequest,
    VerifyLedgerResponse,
)
from bank.v1.ledger_service_pb2_grpc import LedgerServiceServicer

from server.database import Database
from server.ledger.messages import render_currencies, render_verdict
from server.ledger.verification import verify
from server.reference_data import ReferenceData

Context = grpc.aio.ServicerContext[Any, Any]


class LedgerServicer(LedgerServiceServicer):
    """bank.v1.LedgerService."""

    def __init__(self, database: Database, reference: ReferenceData) -> None:
        self._database = database
        self._reference = reference

    async def VerifyLedger(self, request: VerifyLedgerRequest, context: Context) -> VerifyLedgerResponse:
        return render_verdict(await verify(self._database))

    async def ListCurrencies(self, request: ListCurrenciesRequest, context: Context) -> ListCurrenciesResponse:
        return render_currencies(self._reference.currencies.values())
