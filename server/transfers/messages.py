"""Transfers between the wire and the ledger: requests to commands, rows to messages."""

import json
from datetime import datetime
from uuid import UUID

from bank.v1.transfer_service_pb2 import (
    CreateTransferRequest,
    CreateTransferResponse,
    GetTransferRequest,
    GetTransferResponse,
    ListTransfersRequest,
    ListTransfersResponse,
    TransferKind,
)
from bankdb.models import Entry, Transfer
from bankdb.transfers import GetTransferRow, ListTransfersOfAccountsRow
from google.protobuf.timestamp_pb2 import Timestamp

from server.caller import Caller
from server.errors import SameAccount
from server.ledger.movements import Kind, Movement, Posted, fingerprint_of
from server.reference_data import ReferenceData
from server.timestamps import EARLIEST, LATEST, from_proto
from server.transfer_messages import render_entry, render_own_entries, render_posted, render_stored
from server.transfers.operations import TransferFilter
from server.violations import DESCRIPTION_LENGTH_MAX, REFERENCE_LENGTH_MAX, Violations

CREATE_TRANSFER = "bank.v1.TransferService/CreateTransfer"


def parse_create_transfer(
    request: CreateTransferRequest, caller: Caller, idempotency_key: str, reference_data: ReferenceData
) -> Movement:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
        UnknownCurrency: Nothing else is wrong.
        SameAccount: Nothing else is wrong.
    """
    check = Violations()
    request_id = check.request_id(request.request_id, idempotency_key)
    source_id = check.uuid("source_account_id", request.source_account_id)
    destination_id = check.uuid("destination_account_id", request.destination_account_id)
    amount_minor = check.amount("amount_minor", request.amount_minor)
    currency_code = check.currency("currency_code", request.currency_code, reference_data.currencies)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    reference = check.text("reference", request.reference, longest=REFERENCE_LENGTH_MAX) or None
    labels = check.metadata("metadata", request.metadata)
    check.raise_if_any()
    if source_id == destination_id:
        raise SameAccount
    metadata = json.dumps(labels, sort_keys=True) if labels else None
    return Movement(
        kind=Kind.TRANSFER,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=request_id,
        rpc=CREATE_TRANSFER,
        fingerprint=fingerprint_of(
            source_id, destination_id, amount_minor, currency_code, description, reference, metadata
        ),
        source_id=source_id,
        destination_id=destination_id,
        amount_minor=amount_minor,
        currency_code=currency_code,
        description=description,
        reference=reference,
        metadata=metadata,
        validate_only=request.validate_only,
    )


def render_created(posted: Posted) -> CreateTransferResponse:
    """The answer to the call that posted."""
    return CreateTransferResponse(transfer=render_posted(posted), entries=render_own_entries(posted))


def render_replayed(row: GetTransferRow, entries: list[Entry], caller: Caller) -> CreateTransferResponse:
    """The answer to a repeated call: the transfer as it is now, the entries as they were."""
    return CreateTransferResponse(
        transfer=render_stored(row, caller), replayed=True, entries=[render_entry(entry) for entry in entries]
    )


def parse_get_transfer(request: GetTransferRequest) -> UUID:
    """The id asked for.

    Raises:
        InvalidRequest: It is no UUID.
    """
    check = Violations()
    transfer_id = check.uuid("transfer_id", request.transfer_id)
    check.raise_if_any()
    return transfer_id


def render_got(row: GetTransferRow, caller: Caller) -> GetTransferResponse:
    """One transfer."""
    return GetTransferResponse(transfer=render_stored(row, caller))


def parse_list_transfers(request: ListTransfersRequest) -> TransferFilter:
    """Check all filters.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    account_id = check.uuid("account_id", request.account_id) if request.account_id else None
    start_time = _time(check, "start_time", request.start_time) if request.HasField("start_time") else EARLIEST
    end_time = _time(check, "end_time", request.end_time) if request.HasField("end_time") else LATEST
    kind = None
    if request.kind not in TransferKind.values():
        check.add("kind", "must be a kind of transfer")
    elif request.kind:
        kind = TransferKind.Name(request.kind).removeprefix("TRANSFER_KIND_")
    reference = check.text("reference", request.reference, longest=REFERENCE_LENGTH_MAX) or None
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return TransferFilter(account_id, start_time, end_time, kind, reference, page_size, request.page_token)


def _time(check: Violations, field: str, value: Timestamp) -> datetime:
    try:
        # A message may say what the type forbids: less than none, or more than a second.
        if 0 <= value.nanos < 10**9:
            return from_proto(value)
    except OverflowError:
        pass
    check.add(field, "must be a time in years 1 to 9999")
    return EARLIEST


def render_listed(
    rows: list[Transfer] | list[ListTransfersOfAccountsRow], next_page_token: str, caller: Caller
) -> ListTransfersResponse:
    """One page."""
    return ListTransfersResponse(
        transfers=[render_stored(row, caller) for row in rows], next_page_token=next_page_token
    )
