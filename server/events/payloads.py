"""What events tell, by what they are about: facts as they were, as far as the reader may see them."""

import json
from collections.abc import Callable
from typing import Any

from bank.v1.event_service_pb2 import AccountFacts, InventoryFacts, OrderFacts, ProductFacts, UserFacts
from bank.v1.hold_service_pb2 import Hold as HoldMessage
from bank.v1.transfer_service_pb2 import ScheduledTransfer as ScheduledTransferMessage
from bank.v1.transfer_service_pb2 import Transfer as TransferMessage
from bankdb.accounts import ListAccountOwnersRow
from bankdb.models import Hold, ScheduledTransfer
from bankdb.orders import ListOrderTotalsRow
from bankdb.transfers import ListTransfersByIdsRow
from bankdb.users import ListUsernamesRow

from server.caller import Caller
from server.events.operations import EventRow, Fact
from server.events.shop_payloads import inventory_facts, order_facts, product_facts
from server.hold_messages import render_stored_hold
from server.schedule_messages import render_schedule
from server.transfer_messages import render_stored

Payload = (
    UserFacts
    | AccountFacts
    | TransferMessage
    | HoldMessage
    | ScheduledTransferMessage
    | ProductFacts
    | InventoryFacts
    | OrderFacts
)
_WITHOUT_SUBJECT: dict[str, Callable[[EventRow, dict[str, Any]], ProductFacts | InventoryFacts]] = {
    "product": product_facts,
    "inventory": inventory_facts,
}
"""By noun, of what changes so that only the event itself tells how it was."""


def payload_of(fact: Fact, caller: Caller) -> Payload | None:
    """The facts of an event of a known type; None if what they are about is not there."""
    facts: dict[str, Any] = json.loads(fact.event.data) if fact.event.data else {}
    match fact.subject:
        case ListUsernamesRow() as user:
            roles = [f"ROLE_{role}" for role in facts.get("roles", ())]
            return UserFacts(user_id=str(user.id), username=user.username, roles=roles)
        case ListAccountOwnersRow() as account:
            return AccountFacts(
                account_id=str(account.id),
                owner_user_id=str(account.owner_user_id),
                currency_code=account.currency_code,
                state=f"ACCOUNT_STATE_{facts.get('state', 'OPEN')}",
                version=facts.get("version", 1),
                changed_fields=facts.get("fields", ()),
            )
        case ListTransfersByIdsRow() as transfer:
            message = render_stored(transfer, caller)
            message.reversed_amount_minor = 0
            return message
        case Hold() as hold:
            return _hold(hold, fact.event, facts)
        case ScheduledTransfer() as schedule:
            return _schedule(schedule, fact.event, facts)
        case ListOrderTotalsRow() as order:
            return order_facts(order, fact.event, facts)
        case None:
            render = _WITHOUT_SUBJECT.get(fact.event.type.partition(".")[0])
            return render(fact.event, facts) if render else None


def _hold(row: Hold, event: EventRow, facts: dict[str, Any]) -> HoldMessage:
    """A hold as it was after the event."""
    state = facts["state"]
    return render_stored_hold(
        row._replace(
            state=state,
            captured_amount_minor=facts.get("captured_amount_minor", 0),
            capture_transfer_id=row.capture_transfer_id if state == "CAPTURED" else None,
            update_time=event.create_time,
        )
    )


def _schedule(row: ScheduledTransfer, event: EventRow, facts: dict[str, Any]) -> ScheduledTransferMessage:
    """A scheduled transfer as it was after the event."""
    return render_schedule(
        row._replace(
            state=facts["state"],
            transfer_id=facts.get("transfer_id"),
            failure_reason=facts.get("reason"),
            update_time=event.create_time,
        )
    )
