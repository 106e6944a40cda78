"""bank.v1.TransferService: parse, call, render."""

from collections.abc import Callable
from typing import Any

import grpc
from bank.v1.transfer_service_pb2 import (
    BatchCreateTransfersRequest,
    BatchCreateTransfersResponse,
    CancelScheduledTransferRequest,
    CancelScheduledTransferResponse,
    CreateScheduledTransferRequest,
    CreateScheduledTransferResponse,
    CreateTransferRequest,
    CreateTransferResponse,
    GetScheduledTransferRequest,
    GetScheduledTransferResponse,
    GetTransferRequest,
    GetTransferResponse,
    ListScheduledTransfersRequest,
    ListScheduledTransfersResponse,
    ListTransfersRequest,
    ListTransfersResponse,
    ReverseTransferRequest,
    ReverseTransferResponse,
)
from bank.v1.transfer_service_pb2_grpc import TransferServiceServicer
from google.rpc.status_pb2 import Status

from server.caller import current_caller, current_idempotency_key
from server.errors import BankError
from server.ledger.batches import Batches
from server.ledger.commit_queue import CommitQueue
from server.ledger.movements import Posted, Replay
from server.reference_data import ReferenceData
from server.schedule_messages import render_schedule
from server.transfers.messages import (
    parse_batch,
    parse_create_transfer,
    parse_get_transfer,
    parse_list_transfers,
    parse_reverse_transfer,
    render_batch,
    render_created,
    render_got,
    render_listed,
    render_replayed,
    render_reversal_replayed,
    render_reversed,
)
from server.transfers.operations import TransferReader, post_batch
from server.transfers.schedules.messages import (
    parse_create_schedule,
    parse_list_schedules,
    parse_schedule_id,
    render_schedule_created,
    render_schedules,
)
from server.transfers.schedules.operations import Schedules

Context = grpc.aio.ServicerContext[Any, Any]


class TransferServicer(TransferServiceServicer):
    """bank.v1.TransferService."""

    def __init__(
        self,
        ledger: CommitQueue,
        batches: Batches,
        transfers: TransferReader,
        schedules: Schedules,
        reference: ReferenceData,
        describe: Callable[[BankError], Status],
    ) -> None:
        self._ledger = ledger
        self._batches = batches
        self._describe = describe
        self._transfers = transfers
        self._schedules = schedules
        self._reference = reference

    async def CreateTransfer(self, request: CreateTransferRequest, context: Context) -> CreateTransferResponse:
        caller = current_caller()
        movement = parse_create_transfer(request, caller, current_idempotency_key(), self._reference)
        outcome = await self._ledger.post(movement)
        if isinstance(outcome, Replay):
            return render_replayed(*await self._transfers.replayed(outcome.result_id, caller), caller)
        assert isinstance(outcome, Posted)  # what moves money posts a transfer
        return render_created(outcome)

    async def BatchCreateTransfers(
        self, request: BatchCreateTransfersRequest, context: Context
    ) -> BatchCreateTransfersResponse:
        caller = current_caller()
        batch = parse_batch(request, caller, current_idempotency_key(), self._reference)
        outcomes = await post_batch(self._batches, batch)
        replayed = await self._transfers.by_ids(each.result_id for each in outcomes if isinstance(each, Replay))
        return render_batch(outcomes, replayed, caller, self._describe)

    async def ReverseTransfer(self, request: ReverseTransferRequest, context: Context) -> ReverseTransferResponse:
        caller = current_caller()
        outcome = await self._ledger.post(parse_reverse_transfer(request, caller, current_idempotency_key()))
        if isinstance(outcome, Replay):
            return render_reversal_replayed(*await self._transfers.replayed(outcome.result_id, caller), caller)
        assert isinstance(outcome, Posted)  # what moves money posts a transfer
        return render_reversed(outcome)

    async def GetTransfer(self, request: GetTransferRequest, context: Context) -> GetTransferResponse:
        caller = current_caller()
        return render_got(await self._transfers.get(parse_get_transfer(request), caller), caller)

    async def ListTransfers(self, request: ListTransfersRequest, context: Context) -> ListTransfersResponse:
        caller = current_caller()
        return render_listed(*await self._transfers.page(parse_list_transfers(request), caller), caller)

    async def CreateScheduledTransfer(
        self, request: CreateScheduledTransferRequest, context: Context
    ) -> CreateScheduledTransferResponse:
        new = parse_create_schedule(request, current_caller(), current_idempotency_key(), self._reference)
        return render_schedule_created(*await self._schedules.create(new))

    async def GetScheduledTransfer(
        self, request: GetScheduledTransferRequest, context: Context
    ) -> GetScheduledTransferResponse:
        row = await self._schedules.get(parse_schedule_id(request.scheduled_transfer_id), current_caller())
        return GetScheduledTransferResponse(scheduled_transfer=render_schedule(row))

    async def ListScheduledTransfers(
        self, request: ListScheduledTransfersRequest, context: Context
    ) -> ListScheduledTransfersResponse:
        return render_schedules(*await self._schedules.page(parse_list_schedules(request), current_caller()))

    async def CancelScheduledTransfer(
        self, request: CancelScheduledTransferRequest, context: Context
    ) -> CancelScheduledTransferResponse:
        row = await self._schedules.cancel(parse_schedule_id(request.scheduled_transfer_id), current_caller())
        return CancelScheduledTransferResponse(scheduled_transfer=render_schedule(row))
