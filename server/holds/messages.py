"""Holds between the wire and the ledger: requests to movements, rows to messages."""

from collections.abc import Sequence
from uuid import UUID, uuid4

from bank.v1.hold_service_pb2 import (
    CaptureHoldRequest,
    CaptureHoldResponse,
    CreateHoldRequest,
    CreateHoldResponse,
    HoldState,
    ListHoldsRequest,
    ListHoldsResponse,
    VoidHoldRequest,
    VoidHoldResponse,
)
from bank.v1.transfer_service_pb2 import Transfer as TransferMessage
from bankdb.holds import GetHoldRow, ListAllHoldsRow, ListHoldsOfAccountsRow

from server.caller import Caller
from server.hold_messages import render_hold
from server.holds.operations import HoldFilter
from server.ledger.movements import UNRESOLVED, Kind, Movement, fingerprint_of
from server.reference_data import ReferenceData
from server.violations import Violations, parse_id

CREATE_HOLD = "bank.v1.HoldService/CreateHold"
CAPTURE_HOLD = "bank.v1.HoldService/CaptureHold"
VOID_HOLD = "bank.v1.HoldService/VoidHold"


def parse_create_hold(
    request: CreateHoldRequest, caller: Caller, idempotency_key: str, reference_data: ReferenceData
) -> Movement:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
        SameAccount: Nothing else is wrong.
    """
    check = Violations()
    money = check.money(request, idempotency_key, reference_data.currencies)
    expire_time = check.time("expire_time", request.expire_time) if request.HasField("expire_time") else None
    check.raise_if_any()
    return Movement(
        kind=Kind.HOLD,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=money.request_id,
        rpc=CREATE_HOLD,
        fingerprint=fingerprint_of(*money[1:], expire_time),
        source_id=money.source_id,
        destination_id=money.destination_id,
        amount_minor=money.amount_minor,
        currency_code=money.currency_code,
        expire_time=expire_time,
    )


def parse_capture_hold(request: CaptureHoldRequest, caller: Caller, idempotency_key: str) -> Movement:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    hold_id = check.uuid("hold_id", request.hold_id)
    request_id = check.request_id(request.request_id, idempotency_key)
    amount_minor = check.amount_or_full(request.amount_minor, request.full)
    check.raise_if_any()
    return _of_hold(Kind.CAPTURE, CAPTURE_HOLD, hold_id, request_id, amount_minor, caller)


def parse_void_hold(request: VoidHoldRequest, caller: Caller) -> Movement:
    """Check all fields; voiding is told apart by the state it finds, so it has no request id.

    Raises:
        InvalidRequest: The id is no UUID.
    """
    return _of_hold(Kind.VOID, VOID_HOLD, parse_hold_id(request.hold_id), uuid4(), None, caller)


def _of_hold(
    kind: Kind, rpc: str, hold_id: UUID, request_id: UUID, amount_minor: int | None, caller: Caller
) -> Movement:
    return Movement(
        kind=kind,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=request_id,
        rpc=rpc,
        fingerprint=fingerprint_of(hold_id, amount_minor),
        source_id=UNRESOLVED,
        destination_id=UNRESOLVED,
        amount_minor=amount_minor,
        currency_code="",
        subject_id=hold_id,
    )


def parse_hold_id(value: str) -> UUID:
    """The id asked for.

    Raises:
        InvalidRequest: It is no UUID.
    """
    return parse_id("hold_id", value)


def parse_list_holds(request: ListHoldsRequest) -> HoldFilter:
    """Check all filters.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    account_id = check.uuid_or_none("account_id", request.account_id)
    state = check.enum("state", request.state, HoldState.items(), "HOLD_STATE_")
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return HoldFilter(account_id, state, page_size, request.page_token)


def render_created(row: GetHoldRow, replayed: bool) -> CreateHoldResponse:
    """The answer to CreateHold."""
    return CreateHoldResponse(hold=render_hold(row), replayed=replayed)


def render_captured(transfer: TransferMessage, row: GetHoldRow, replayed: bool) -> CaptureHoldResponse:
    """The answer to CaptureHold."""
    return CaptureHoldResponse(transfer=transfer, hold=render_hold(row), replayed=replayed)


def render_voided(row: GetHoldRow) -> VoidHoldResponse:
    """The answer to VoidHold."""
    return VoidHoldResponse(hold=render_hold(row))


def render_listed(rows: Sequence[ListAllHoldsRow | ListHoldsOfAccountsRow], next_page_token: str) -> ListHoldsResponse:
    """One page."""
    return ListHoldsResponse(holds=[render_hold(row) for row in rows], next_page_token=next_page_token)
