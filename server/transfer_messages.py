"""How transfers and entries are shown, and to whom what of them."""

import json

from bank.v1.transfer_service_pb2 import Entry as EntryMessage
from bank.v1.transfer_service_pb2 import Transfer as TransferMessage
from bankdb.models import Entry
from bankdb.transfers import (
    GetTransferByReferenceRow,
    GetTransferRow,
    ListAllTransfersRow,
    ListTransfersByIdsRow,
    ListTransfersByLabelRow,
    ListTransfersOfAccountsRow,
)

from server.caller import Caller
from server.ledger.movements import Kind, Posted
from server.timestamps import to_proto


def render_posted(posted: Posted) -> TransferMessage:
    """A transfer as its initiator sees it; without id and time if it was only validated."""
    movement = posted.movement
    message = TransferMessage(
        request_id=str(movement.request_id),
        kind=f"TRANSFER_KIND_{movement.kind}",
        source_account_id=str(movement.source_id),
        destination_account_id=str(movement.destination_id),
        amount_minor=posted.amount_minor,
        currency_code=movement.currency_code,
        description=movement.description,
        reference=movement.reference or "",
        metadata=json.loads(movement.metadata) if movement.metadata else None,
        reverses_transfer_id=str(movement.subject_id) if movement.kind is Kind.REVERSAL else "",
        hold_id=str(movement.subject_id) if movement.kind is Kind.CAPTURE else "",
        order_id=str(movement.order_id or ""),
    )
    if not movement.validate_only:
        message.id = str(posted.transfer_id)
        message.create_time.CopyFrom(to_proto(posted.create_time))
    return message


def render_own_entries(posted: Posted) -> list[EntryMessage]:
    """The entries on accounts of the initiator, the debit first."""
    movement = posted.movement
    time = to_proto(posted.create_time)
    # A validated movement has no transfer that an entry could name, and no time.
    transfer_id = "" if movement.validate_only else str(posted.transfer_id)
    sides = (
        (posted.source_user_id, movement.source_id, -1, posted.source_balance_minor, posted.source_sequence),
        (
            posted.destination_user_id,
            movement.destination_id,
            1,
            posted.destination_balance_minor,
            posted.destination_sequence,
        ),
    )
    return [
        EntryMessage(
            account_id=str(account_id),
            transfer_id=transfer_id,
            amount_minor=sign * posted.amount_minor,
            balance_after_minor=balance_minor,
            sequence=sequence,
            create_time=None if movement.validate_only else time,
        )
        for user_id, account_id, sign, balance_minor, sequence in sides
        if user_id == movement.user_id
    ]


StoredTransfer = (
    GetTransferRow
    | GetTransferByReferenceRow
    | ListAllTransfersRow
    | ListTransfersByIdsRow
    | ListTransfersByLabelRow
    | ListTransfersOfAccountsRow
)


def render_stored(row: StoredTransfer, caller: Caller) -> TransferMessage:
    """A stored transfer as `caller` sees it.

    Request id, reference and metadata are the initiator's own: bankers and admins see them too,
    the other party does not.
    """
    message = TransferMessage(
        id=str(row.id),
        kind=f"TRANSFER_KIND_{row.kind}",
        source_account_id=str(row.source_account_id),
        destination_account_id=str(row.destination_account_id),
        amount_minor=row.amount_minor,
        currency_code=row.currency_code,
        description=row.description,
        create_time=to_proto(row.create_time),
        reverses_transfer_id=str(row.reverses_transfer_id or ""),
        reversed_amount_minor=row.reversed_amount_minor,
        hold_id=str(row.hold_id or ""),
        order_id=str(row.order_id or ""),
    )
    if row.initiator_user_id == caller.user_id or caller.reads_everything:
        message.request_id = str(row.request_id)
        message.reference = row.reference or ""
        message.metadata.update(json.loads(row.metadata) if row.metadata else {})
    return message


def render_entry(row: Entry) -> EntryMessage:
    """A stored entry, for who may see the account."""
    return EntryMessage(
        account_id=str(row.account_id),
        transfer_id=str(row.transfer_id),
        amount_minor=row.amount_minor,
        balance_after_minor=row.balance_after_minor,
        sequence=row.sequence,
        create_time=to_proto(row.create_time),
    )
