"""What of a transfer is shown, and to whom."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bank.v1 import transfer_service_pb2 as pb
from bankdb.models import Entry
from bankdb.transfers import GetTransferRow

from server.caller import Caller, Role
from server.ledger.movements import Kind, Movement, Posted
from server.transfer_messages import render_entry, render_own_entries, render_posted, render_stored

ALICE, BOB, BANKER, SESSION = (UUID(int=number) for number in range(1, 5))
SOURCE, DESTINATION, TRANSFER, REQUEST, ORDER = (UUID(int=number) for number in range(11, 16))
NOW = datetime(2026, 11, 21, 12, 30, 0, 123456, UTC)
MOVEMENT = Movement(
    kind=Kind.TRANSFER,
    user_id=ALICE,
    session_id=SESSION,
    request_id=REQUEST,
    rpc="bank.v1.TransferService/CreateTransfer",
    fingerprint=b"1",
    source_id=SOURCE,
    destination_id=DESTINATION,
    amount_minor=1_234,
    currency_code="USD",
    description="rent",
    reference="rent 11",
    metadata='{"month": "11"}',
)
POSTED = Posted(
    movement=MOVEMENT,
    transfer_id=TRANSFER,
    amount_minor=1_234,
    create_time=NOW,
    source_user_id=ALICE,
    source_sequence=7,
    source_balance_minor=100,
    destination_user_id=BOB,
    destination_sequence=3,
    destination_balance_minor=5_000,
)
ROW = GetTransferRow(
    id=TRANSFER,
    kind="TRANSFER",
    source_account_id=SOURCE,
    destination_account_id=DESTINATION,
    amount_minor=1_234,
    currency_code="USD",
    initiator_user_id=ALICE,
    request_id=REQUEST,
    description="rent",
    reference="rent 11",
    metadata='{"month": "11"}',
    source_sequence=7,
    destination_sequence=3,
    create_time=NOW,
    hold_id=None,
    reverses_transfer_id=None,
    order_id=None,
    reversed_amount_minor=0,
    source_user_id=ALICE,
    destination_user_id=BOB,
)
WHOLE = {
    "id": str(TRANSFER),
    "kind": pb.TRANSFER_KIND_TRANSFER,
    "source_account_id": str(SOURCE),
    "destination_account_id": str(DESTINATION),
    "amount_minor": 1_234,
    "currency_code": "USD",
    "description": "rent",
    "create_time": NOW,
}
INITIATORS_OWN: dict[str, Any] = {"request_id": str(REQUEST), "reference": "rent 11", "metadata": {"month": "11"}}


class TestRenderPosted:
    def test_initiator_sees_everything(self) -> None:
        assert render_posted(POSTED) == pb.Transfer(**WHOLE, **INITIATORS_OWN)

    def test_posted_and_stored_transfer_look_the_same(self) -> None:
        assert render_posted(POSTED) == render_stored(ROW, Caller(ALICE, SESSION))

    def test_order_is_named_to_both_sides(self) -> None:
        posted = render_posted(POSTED._replace(movement=MOVEMENT._replace(order_id=ORDER)))
        assert posted == pb.Transfer(**WHOLE, **INITIATORS_OWN, order_id=str(ORDER))
        assert render_stored(ROW._replace(order_id=ORDER), Caller(BOB, SESSION)).order_id == str(ORDER)

    def test_what_was_only_validated_has_neither_id_nor_time(self) -> None:
        message = render_posted(POSTED._replace(movement=MOVEMENT._replace(validate_only=True)))
        assert (message.id, message.HasField("create_time")) == ("", False)
        assert message.amount_minor == 1_234

    def test_what_was_left_out_is_empty(self) -> None:
        bare = MOVEMENT._replace(description="", reference=None, metadata=None)
        message = render_posted(POSTED._replace(movement=bare))
        assert (message.description, message.reference, dict(message.metadata)) == ("", "", {})

    @pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.HOLD, Kind.VOID)])
    def test_every_kind_has_a_name_in_the_contract(self, kind: Kind) -> None:
        message = render_posted(POSTED._replace(movement=MOVEMENT._replace(kind=kind)))
        assert pb.TransferKind.Name(message.kind) == f"TRANSFER_KIND_{kind}"


class TestRenderOwnEntries:
    def debit(self) -> pb.Entry:
        return pb.Entry(
            account_id=str(SOURCE),
            transfer_id=str(TRANSFER),
            amount_minor=-1_234,
            balance_after_minor=100,
            sequence=7,
            create_time=NOW,
        )

    def credit(self) -> pb.Entry:
        return pb.Entry(
            account_id=str(DESTINATION),
            transfer_id=str(TRANSFER),
            amount_minor=1_234,
            balance_after_minor=5_000,
            sequence=3,
            create_time=NOW,
        )

    def test_the_other_sides_balance_is_not_shown(self) -> None:
        assert render_own_entries(POSTED) == [self.debit()]

    def test_both_sides_of_an_own_transfer_are_shown_the_debit_first(self) -> None:
        assert render_own_entries(POSTED._replace(destination_user_id=ALICE)) == [self.debit(), self.credit()]

    def test_banker_at_the_counter_sees_no_balance(self) -> None:
        deposit = MOVEMENT._replace(kind=Kind.DEPOSIT, user_id=BANKER)
        assert render_own_entries(POSTED._replace(movement=deposit, source_user_id=None)) == []

    def test_validated_entries_show_the_balance_without_transfer_and_time(self) -> None:
        (entry,) = render_own_entries(POSTED._replace(movement=MOVEMENT._replace(validate_only=True)))
        assert (entry.balance_after_minor, entry.transfer_id, entry.HasField("create_time")) == (100, "", False)


class TestRenderStored:
    @pytest.mark.parametrize(
        "caller",
        [Caller(ALICE, SESSION), *(Caller(BANKER, SESSION, frozenset({role})) for role in (Role.BANKER, Role.ADMIN))],
        ids=["initiator", "banker", "admin"],
    )
    def test_initiator_and_staff_see_everything(self, caller: Caller) -> None:
        assert render_stored(ROW, caller) == pb.Transfer(**WHOLE, **INITIATORS_OWN)

    @pytest.mark.parametrize(
        "roles", [frozenset(), frozenset({Role.DEPOSITOR, Role.MERCHANT})], ids=["none", "merchant"]
    )
    def test_the_other_party_does_not_see_what_is_the_initiators_own(self, roles: frozenset[Role]) -> None:
        assert render_stored(ROW, Caller(BOB, SESSION, roles)) == pb.Transfer(**WHOLE)

    def test_owner_of_the_account_does_not_see_the_bankers_own_in_a_deposit(self) -> None:
        deposit = ROW._replace(kind="DEPOSIT", initiator_user_id=BANKER, source_user_id=None)
        message = render_stored(deposit, Caller(BOB, SESSION))
        assert (message.request_id, message.reference, dict(message.metadata)) == ("", "", {})


class TestRenderEntry:
    def test_entry_is_shown_as_stored(self) -> None:
        entry = render_entry(Entry(SOURCE, 7, TRANSFER, -1_234, 100, NOW))
        assert entry == TestRenderOwnEntries().debit()
