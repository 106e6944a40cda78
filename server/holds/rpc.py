"""bank.v1.HoldService: parse, call, render."""

from typing import Any

import grpc
from bank.v1.hold_service_pb2 import (
    CaptureHoldRequest,
    CaptureHoldResponse,
    CreateHoldRequest,
    CreateHoldResponse,
    GetHoldRequest,
    GetHoldResponse,
    ListHoldsRequest,
    ListHoldsResponse,
    VoidHoldRequest,
    VoidHoldResponse,
)
from bank.v1.hold_service_pb2_grpc import HoldServiceServicer

from server.caller import current_caller, current_idempotency_key
from server.hold_messages import render_hold
from server.holds.messages import (
    parse_capture_hold,
    parse_create_hold,
    parse_hold_id,
    parse_list_holds,
    parse_void_hold,
    render_captured,
    render_created,
    render_listed,
    render_voided,
)
from server.holds.operations import HoldReader
from server.ledger.commit_queue import CommitQueue
from server.ledger.movements import Held, Posted, Replay
from server.reference_data import ReferenceData
from server.transfer_messages import render_posted, render_stored
from server.transfers.operations import TransferReader

Context = grpc.aio.ServicerContext[Any, Any]


class HoldServicer(HoldServiceServicer):
    """bank.v1.HoldService."""

    def __init__(
        self, ledger: CommitQueue, holds: HoldReader, transfers: TransferReader, reference: ReferenceData
    ) -> None:
        self._ledger = ledger
        self._holds = holds
        self._transfers = transfers
        self._reference = reference

    async def CreateHold(self, request: CreateHoldRequest, context: Context) -> CreateHoldResponse:
        movement = parse_create_hold(request, current_caller(), current_idempotency_key(), self._reference)
        outcome = await self._ledger.post(movement)
        row = await self._holds.settled(outcome.result_id)
        assert row is not None  # placed by this call or an earlier one
        return render_created(row, replayed=isinstance(outcome, Replay))

    async def GetHold(self, request: GetHoldRequest, context: Context) -> GetHoldResponse:
        row = await self._holds.get(parse_hold_id(request.hold_id), current_caller())
        return GetHoldResponse(hold=render_hold(row))

    async def ListHolds(self, request: ListHoldsRequest, context: Context) -> ListHoldsResponse:
        return render_listed(*await self._holds.page(parse_list_holds(request), current_caller()))

    async def CaptureHold(self, request: CaptureHoldRequest, context: Context) -> CaptureHoldResponse:
        caller = current_caller()
        movement = parse_capture_hold(request, caller, current_idempotency_key())
        outcome = await self._ledger.post(movement)
        assert movement.subject_id is not None  # parsed
        row = await self._holds.settled(movement.subject_id)
        assert row is not None  # the ledger has found it
        if isinstance(outcome, Posted):
            return render_captured(render_posted(outcome), row, replayed=False)
        transfer, _ = await self._transfers.replayed(outcome.result_id, caller)
        return render_captured(render_stored(transfer, caller), row, replayed=True)

    async def VoidHold(self, request: VoidHoldRequest, context: Context) -> VoidHoldResponse:
        outcome = await self._ledger.post(parse_void_hold(request, current_caller()))
        assert isinstance(outcome, Held)  # voiding has no request id to replay
        row = await self._holds.settled(outcome.hold_id)
        assert row is not None  # the ledger has found it
        return render_voided(row)
