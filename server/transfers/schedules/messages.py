"""Scheduled transfers between the wire and the service: requests to commands, rows to messages."""

from collections.abc import Sequence
from uuid import UUID

from bank.v1.transfer_service_pb2 import (
    CreateScheduledTransferRequest,
    CreateScheduledTransferResponse,
    ListScheduledTransfersRequest,
    ListScheduledTransfersResponse,
    ScheduledTransferState,
)
from bankdb.models import ScheduledTransfer

from server.caller import Caller
from server.ledger.movements import Kind, Movement, fingerprint_of
from server.reference_data import ReferenceData
from server.schedule_messages import render_schedule
from server.timestamps import EARLIEST
from server.transfers.schedules.operations import NewSchedule, ScheduleFilter
from server.violations import DESCRIPTION_LENGTH_MAX, REFERENCE_LENGTH_MAX, Violations, parse_id

CREATE_SCHEDULED_TRANSFER = "bank.v1.TransferService/CreateScheduledTransfer"


def parse_create_schedule(
    request: CreateScheduledTransferRequest, caller: Caller, idempotency_key: str, reference_data: ReferenceData
) -> NewSchedule:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
        SameAccount: Nothing else is wrong.
    """
    check = Violations()
    money = check.money(request, idempotency_key, reference_data.currencies)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    reference = check.text("reference", request.reference, longest=REFERENCE_LENGTH_MAX) or None
    execute_time = EARLIEST
    if request.HasField("execute_time"):
        execute_time = check.time("execute_time", request.execute_time)
    else:
        check.add("execute_time", "must say when the transfer shall be made")
    check.raise_if_any()
    movement = Movement(
        kind=Kind.TRANSFER,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=money.request_id,
        rpc=CREATE_SCHEDULED_TRANSFER,
        fingerprint=fingerprint_of(*money[1:], description, reference, execute_time),
        source_id=money.source_id,
        destination_id=money.destination_id,
        amount_minor=money.amount_minor,
        currency_code=money.currency_code,
        description=description,
        reference=reference,
    )
    return NewSchedule(movement, execute_time)


def parse_schedule_id(value: str) -> UUID:
    """The id asked for.

    Raises:
        InvalidRequest: It is no UUID.
    """
    return parse_id("scheduled_transfer_id", value)


def parse_list_schedules(request: ListScheduledTransfersRequest) -> ScheduleFilter:
    """Check all filters.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    account_id = check.uuid_or_none("account_id", request.account_id)
    state = check.enum("state", request.state, ScheduledTransferState.items(), "SCHEDULED_TRANSFER_STATE_")
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return ScheduleFilter(account_id, state, page_size, request.page_token)


def render_schedule_created(row: ScheduledTransfer, replayed: bool) -> CreateScheduledTransferResponse:
    """The answer to CreateScheduledTransfer."""
    return CreateScheduledTransferResponse(scheduled_transfer=render_schedule(row), replayed=replayed)


def render_schedules(rows: Sequence[ScheduledTransfer], next_page_token: str) -> ListScheduledTransfersResponse:
    """One page."""
    return ListScheduledTransfersResponse(
        scheduled_transfers=[render_schedule(row) for row in rows], next_page_token=next_page_token
    )
