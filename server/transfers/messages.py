"""Transfers between the wire and the ledger: requests to commands, rows to messages."""

import json
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from bank.v1.transfer_service_pb2 import (
    BatchCreateTransfersRequest,
    BatchCreateTransfersResponse,
    BatchMode,
    CreateTransferRequest,
    CreateTransferResponse,
    GetTransferRequest,
    GetTransferResponse,
    ListTransfersRequest,
    ListTransfersResponse,
    ReverseTransferRequest,
    ReverseTransferResponse,
    TransferKind,
)
from bankdb.models import Entry
from bankdb.transfers import GetTransferRow
from google.rpc.status_pb2 import Status

from server.caller import Caller
from server.errors import BankError, InvalidRequest
from server.ledger.movements import UNRESOLVED, Done, Kind, Movement, Posted, fingerprint_of
from server.reference_data import ReferenceData
from server.transfer_messages import StoredTransfer, render_entry, render_own_entries, render_posted, render_stored
from server.transfers.operations import TransferBatch, TransferFilter
from server.violations import DESCRIPTION_LENGTH_MAX, METADATA_BYTES_MAX, REFERENCE_LENGTH_MAX, Violations, parse_id

CREATE_TRANSFER = "bank.v1.TransferService/CreateTransfer"
REVERSE_TRANSFER = "bank.v1.TransferService/ReverseTransfer"
BATCH_ITEMS_MAX = 1000


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
    money = check.money(request, idempotency_key, reference_data.currencies)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    reference = check.text("reference", request.reference, longest=REFERENCE_LENGTH_MAX) or None
    labels = check.metadata("metadata", request.metadata)
    check.raise_if_any()
    metadata = json.dumps(labels, sort_keys=True) if labels else None
    return Movement(
        kind=Kind.TRANSFER,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=money.request_id,
        rpc=CREATE_TRANSFER,
        fingerprint=fingerprint_of(*money[1:], description, reference, metadata),
        source_id=money.source_id,
        destination_id=money.destination_id,
        amount_minor=money.amount_minor,
        currency_code=money.currency_code,
        description=description,
        reference=reference,
        metadata=metadata,
        validate_only=request.validate_only,
    )


def parse_batch(
    request: BatchCreateTransfersRequest, caller: Caller, idempotency_key: str, reference_data: ReferenceData
) -> TransferBatch:
    """Check the batch, and each item by itself.

    Raises:
        InvalidRequest: The batch as a whole is wrong, or it is atomic and an item is; all items that
            are wrong are named, with their violations.
    """
    check = Violations()
    if idempotency_key:
        check.add("transfers", "give each item its request_id: a batch takes no header Idempotency-Key")
    if not 1 <= len(request.transfers) <= BATCH_ITEMS_MAX:
        check.add("transfers", f"must have 1 to {BATCH_ITEMS_MAX} items")
    if len({item.validate_only for item in request.transfers}) > 1:
        check.add("transfers", "validate_only must be the same in all items")
    if check.enum("mode", request.mode, BatchMode.items(), "BATCH_MODE_") is None:
        check.add("mode", "must be BATCH_MODE_ATOMIC or BATCH_MODE_INDEPENDENT")
    check.raise_if_any()
    items: list[Movement | BankError] = []
    for item in request.transfers:
        try:
            items.append(parse_create_transfer(item, caller, "", reference_data))
        except InvalidRequest as error:
            items.append(error)
    atomic = request.mode == BatchMode.BATCH_MODE_ATOMIC
    if atomic:
        for index, refused in enumerate(items):
            for violation in refused.violations if isinstance(refused, InvalidRequest) else ():
                check.add(f"transfers[{index}].{violation.field}", violation.description)
        check.raise_if_any()
    return TransferBatch(items, atomic)


def render_batch(
    outcomes: Sequence[Done | BankError],
    replayed: Mapping[UUID, StoredTransfer],
    caller: Caller,
    describe: Callable[[BankError], Status],
) -> BatchCreateTransfersResponse:
    """One result for each item, in order.

    Args:
        outcomes: What became of each item.
        replayed: The stored transfers of those that were replayed, by id.
        caller: Who sent the batch.
        describe: Makes the status of a refusal.
    """
    response = BatchCreateTransfersResponse()
    for outcome in outcomes:
        result = response.results.add()
        if isinstance(outcome, BankError):
            result.status.CopyFrom(describe(outcome))
        elif isinstance(outcome, Posted):
            result.transfer.CopyFrom(render_posted(outcome))
        else:
            result.transfer.CopyFrom(render_stored(replayed[outcome.result_id], caller))
            result.replayed = True
    return response


def parse_reverse_transfer(request: ReverseTransferRequest, caller: Caller, idempotency_key: str) -> Movement:
    """Check all fields.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    transfer_id = check.uuid("transfer_id", request.transfer_id)
    request_id = check.request_id(request.request_id, idempotency_key)
    amount_minor = check.amount_or_full(request.amount_minor, request.full)
    description = check.text("description", request.description, longest=DESCRIPTION_LENGTH_MAX)
    check.raise_if_any()
    return Movement(
        kind=Kind.REVERSAL,
        user_id=caller.user_id,
        session_id=caller.session_id,
        request_id=request_id,
        rpc=REVERSE_TRANSFER,
        fingerprint=fingerprint_of(transfer_id, amount_minor, description),
        source_id=UNRESOLVED,
        destination_id=UNRESOLVED,
        amount_minor=amount_minor,
        currency_code="",
        description=description,
        subject_id=transfer_id,
    )


def render_reversed(posted: Posted) -> ReverseTransferResponse:
    """The answer to the call that posted."""
    return ReverseTransferResponse(transfer=render_posted(posted), entries=render_own_entries(posted))


def render_reversal_replayed(row: GetTransferRow, entries: list[Entry], caller: Caller) -> ReverseTransferResponse:
    """The answer to a repeated call: the transfer as it is now, the entries as they were."""
    return ReverseTransferResponse(
        transfer=render_stored(row, caller), replayed=True, entries=[render_entry(entry) for entry in entries]
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
    return parse_id("transfer_id", request.transfer_id)


def render_got(row: GetTransferRow, caller: Caller) -> GetTransferResponse:
    """One transfer."""
    return GetTransferResponse(transfer=render_stored(row, caller))


def parse_list_transfers(request: ListTransfersRequest) -> TransferFilter:
    """Check all filters.

    Raises:
        InvalidRequest: With every violation.
    """
    check = Violations()
    account_id = check.uuid_or_none("account_id", request.account_id)
    start_time, end_time = check.time_range(request)
    kind = check.enum("kind", request.kind, TransferKind.items(), "TRANSFER_KIND_")
    reference = check.text("reference", request.reference, longest=REFERENCE_LENGTH_MAX) or None
    label = _label(check, request.metadata_key, request.metadata_value)
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return TransferFilter(account_id, start_time, end_time, kind, reference, page_size, request.page_token, label)


def _label(check: Violations, key: str, value: str) -> tuple[str, str] | None:
    if not key:
        if value:
            check.add("metadata_key", "must be given with metadata_value")
        return None
    return (
        check.text("metadata_key", key, longest=METADATA_BYTES_MAX),
        check.text("metadata_value", value, longest=METADATA_BYTES_MAX),
    )


def render_listed(rows: Sequence[StoredTransfer], next_page_token: str, caller: Caller) -> ListTransfersResponse:
    """One page."""
    return ListTransfersResponse(
        transfers=[render_stored(row, caller) for row in rows], next_page_token=next_page_token
    )
