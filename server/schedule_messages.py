"""How scheduled transfers are shown."""

from bank.v1.transfer_service_pb2 import ScheduledTransfer as ScheduledTransferMessage
from bankdb.models import ScheduledTransfer

from server.timestamps import to_proto


def render_schedule(row: ScheduledTransfer) -> ScheduledTransferMessage:
    """A scheduled transfer as its owner sees it."""
    return ScheduledTransferMessage(
        id=str(row.id),
        source_account_id=str(row.source_account_id),
        destination_account_id=str(row.destination_account_id),
        amount_minor=row.amount_minor,
        currency_code=row.currency_code,
        description=row.description,
        reference=row.reference or "",
        execute_time=to_proto(row.execute_time),
        state=f"SCHEDULED_TRANSFER_STATE_{row.state}",
        transfer_id=str(row.transfer_id or ""),
        failure_reason=row.failure_reason or "",
        create_time=to_proto(row.create_time),
        update_time=to_proto(row.update_time),
    )
