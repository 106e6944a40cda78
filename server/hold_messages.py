"""How holds are shown."""

from bank.v1.hold_service_pb2 import Hold as HoldMessage
from bankdb.holds import GetHoldRow, ListAllHoldsRow, ListHoldsOfAccountsRow
from bankdb.models import Hold

from server.ledger.state import EXPIRED
from server.timestamps import to_proto


def render_hold(row: GetHoldRow | ListAllHoldsRow | ListHoldsOfAccountsRow) -> HoldMessage:
    """A hold as both parties see it; one whose time ran out is EXPIRED even before the sweep."""
    if row.overdue:
        row = row._replace(state=EXPIRED, update_time=row.expire_time)
    return render_stored_hold(row)


def render_stored_hold(row: Hold | GetHoldRow | ListAllHoldsRow | ListHoldsOfAccountsRow) -> HoldMessage:
    """A hold as its row tells it."""
    return HoldMessage(
        id=str(row.id),
        source_account_id=str(row.source_account_id),
        destination_account_id=str(row.destination_account_id),
        amount_minor=row.amount_minor,
        currency_code=row.currency_code,
        state=f"HOLD_STATE_{row.state}",
        captured_amount_minor=row.captured_amount_minor,
        capture_transfer_id=str(row.capture_transfer_id or ""),
        order_id=str(row.order_id or ""),
        expire_time=to_proto(row.expire_time),
        create_time=to_proto(row.create_time),
        update_time=to_proto(row.update_time),
    )
