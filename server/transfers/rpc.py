"""bank.v1.TransferService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.transfer_service_pb2 import (
    CreateTransferRequest,
    CreateTransferResponse,
    GetTransferRequest,
    GetTransferResponse,
    ListTransfersRequest,
    ListTransfersResponse,
)
from bank.v1.transfer_service_pb2_grpc import TransferServiceServicer

from server.caller import current_caller, current_idempotency_key
from server.ledger.commit_queue import CommitQueue
from server.ledger.movements import Replay
from server.reference_data import ReferenceData
from server.transfers.messages import (
    parse_create_transfer,
    parse_get_transfer,
    parse_list_transfers,
    render_created,
    render_got,
    render_listed,
    render_replayed,
)
from server.transfers.operations import TransferReader

Context = grpc.aio.ServicerContext[Any, Any]


class TransferServicer(TransferServiceServicer):
    """bank.v1.TransferService."""

    def __init__(self, ledger: CommitQueue, transfers: TransferReader, reference: ReferenceData) -> None:
        self._ledger = ledger
        self._transfers = transfers
        self._reference = reference

    async def CreateTransfer(self, request: CreateTransferRequest, context: Context) -> CreateTransferResponse:
        caller = current_caller()
        movement = parse_create_transfer(request, caller, current_idempotency_key(), self._reference)
        outcome = await self._ledger.post(movement)
        if isinstance(outcome, Replay):
            return render_replayed(*await self._transfers.replayed(outcome.transfer_id, caller), caller)
        return render_created(outcome)

    async def GetTransfer(self, request: GetTransferRequest, context: Context) -> GetTransferResponse:
        caller = current_caller()
        return render_got(await self._transfers.get(parse_get_transfer(request), caller), caller)

    async def ListTransfers(self, request: ListTransfersRequest, context: Context) -> ListTransfersResponse:
        caller = current_caller()
        return render_listed(*await self._transfers.page(parse_list_transfers(request), caller), caller)
