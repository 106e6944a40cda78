"""Requests about transfers: everything that is wrong at once, and what is made of what is right."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bank.v1 import transfer_service_pb2 as pb
from google.protobuf.timestamp_pb2 import Timestamp

from server.caller import Caller
from server.errors import SameAccount, UnknownCurrency
from server.ledger.movements import Kind
from server.reference_data import ReferenceData
from server.timestamps import EARLIEST, LATEST
from server.transfers.messages import parse_create_transfer, parse_get_transfer, parse_list_transfers
from tests.server.bank import wrong_fields

ALICE, SESSION = (UUID(f"018f6b3e-5a1c-7c3d-9a57-0242ac12000{number}") for number in (1, 2))
SOURCE, DESTINATION, REQUEST, OTHER = (UUID(f"018f6b3e-5a1c-7c3d-9a57-0242ac12001{number}") for number in range(4))
CALLER = Caller(ALICE, SESSION)
GOOD = {
    "request_id": str(REQUEST),
    "source_account_id": str(SOURCE),
    "destination_account_id": str(DESTINATION),
    "amount_minor": 1_234,
    "currency_code": "USD",
}


class TestParseCreateTransfer:
    def parse(self, reference: ReferenceData, key: str = "", /, **changes: Any) -> Any:
        return parse_create_transfer(pb.CreateTransferRequest(**{**GOOD, **changes}), CALLER, key, reference)

    def test_all_fields_arrive(self, reference: ReferenceData) -> None:
        movement = self.parse(
            reference, description="rent", reference="rent 11", metadata={"b": "2", "a": "1"}, validate_only=True
        )
        assert (movement.kind, movement.rpc) == (Kind.TRANSFER, "bank.v1.TransferService/CreateTransfer")
        assert (movement.user_id, movement.session_id, movement.request_id) == (ALICE, SESSION, REQUEST)
        assert (movement.source_id, movement.destination_id) == (SOURCE, DESTINATION)
        assert (movement.amount_minor, movement.currency_code) == (1_234, "USD")
        assert (movement.description, movement.reference) == ("rent", "rent 11")
        assert movement.metadata == '{"a": "1", "b": "2"}'
        assert movement.validate_only

    def test_what_is_left_out_is_none(self, reference: ReferenceData) -> None:
        movement = self.parse(reference)
        assert (movement.description, movement.reference, movement.metadata) == ("", None, None)
        assert not movement.validate_only

    def test_all_violations_are_told_at_once_in_the_order_of_the_fields(self, reference: ReferenceData) -> None:
        request = pb.CreateTransferRequest(
            description="x" * 201, reference="x" * 65, metadata={"key": "x" * 1024}, amount_minor=-1
        )
        assert wrong_fields(lambda: parse_create_transfer(request, CALLER, "", reference)) == [
            "request_id",
            "source_account_id",
            "destination_account_id",
            "amount_minor",
            "currency_code",
            "description",
            "reference",
            "metadata",
        ]

    @pytest.mark.parametrize("amount", [0, -1, 10**17 + 1, 2**63 - 1])
    def test_amount_outside_its_bounds_is_refused(self, reference: ReferenceData, amount: int) -> None:
        assert wrong_fields(lambda: self.parse(reference, amount_minor=amount)) == ["amount_minor"]

    def test_longest_texts_are_taken(self, reference: ReferenceData) -> None:
        movement = self.parse(reference, description="é" * 200, reference="é" * 64)
        assert (len(movement.description), len(movement.reference)) == (200, 64)

    def test_currency_is_told_before_the_accounts_are_compared(self, reference: ReferenceData) -> None:
        same = {"destination_account_id": str(SOURCE).upper()}
        assert wrong_fields(lambda: self.parse(reference, amount_minor=0, currency_code="XAU", **same)) == [
            "amount_minor",
            "currency_code",
        ]
        with pytest.raises(UnknownCurrency):
            self.parse(reference, currency_code="XAU", **same)
        with pytest.raises(SameAccount) as refused:
            self.parse(reference, **same)
        assert [violation.field for violation in refused.value.violations] == ["destination_account_id"]

    def test_same_call_in_another_form_has_the_same_fingerprint(self, reference: ReferenceData) -> None:
        first = self.parse(reference, description="caf\u00e9", metadata={"a": "1", "b": "2"})
        second = self.parse(
            reference,
            str(REQUEST),
            request_id="",
            source_account_id=str(SOURCE).upper(),
            description="cafe\u0301",
            metadata={"b": "2", "a": "1"},
        )
        assert first == second

    @pytest.mark.parametrize(
        "change",
        [
            {"source_account_id": str(OTHER)},
            {"destination_account_id": str(OTHER)},
            {"source_account_id": str(DESTINATION), "destination_account_id": str(SOURCE)},
            {"amount_minor": 1_235},
            {"currency_code": "EUR"},
            {"description": "x"},
            {"reference": "x"},
            {"metadata": {"x": ""}},
        ],
        ids=lambda change: "+".join(change),
    )
    def test_any_other_field_is_another_call(self, reference: ReferenceData, change: dict[str, Any]) -> None:
        assert self.parse(reference, **change).fingerprint != self.parse(reference).fingerprint

    def test_text_cannot_pass_for_another_field(self, reference: ReferenceData) -> None:
        first = self.parse(reference, description="a', 'b")
        second = self.parse(reference, description="a", reference="b")
        assert first.fingerprint != second.fingerprint


class TestParseGetTransfer:
    def test_id_is_parsed(self) -> None:
        assert parse_get_transfer(pb.GetTransferRequest(transfer_id=str(OTHER).upper())) == OTHER

    @pytest.mark.parametrize("value", ["", "1", str(OTHER)[:-1]])
    def test_what_is_no_uuid_is_refused(self, value: str) -> None:
        assert wrong_fields(lambda: parse_get_transfer(pb.GetTransferRequest(transfer_id=value))) == ["transfer_id"]


class TestParseListTransfers:
    def parse(self, **wanted: Any) -> Any:
        return parse_list_transfers(pb.ListTransfersRequest(**wanted))

    def test_nothing_asked_for_is_everything(self) -> None:
        wanted = self.parse()
        assert (wanted.account_id, wanted.kind, wanted.reference) == (None, None, None)
        assert (wanted.start_time, wanted.end_time) == (EARLIEST, LATEST)
        assert (wanted.page_size, wanted.page_token) == (50, "")

    def test_all_filters_arrive(self) -> None:
        wanted = self.parse(
            account_id=str(SOURCE),
            start_time=Timestamp(seconds=1, nanos=2_999),
            end_time=Timestamp(seconds=3),
            kind=pb.TRANSFER_KIND_DEPOSIT,
            reference="rent",
            page_size=7,
            page_token="x",
        )
        assert (wanted.account_id, wanted.kind, wanted.reference) == (SOURCE, "DEPOSIT", "rent")
        assert wanted.start_time == datetime(1970, 1, 1, 0, 0, 1, 2, UTC)
        assert wanted.end_time == datetime(1970, 1, 1, 0, 0, 3, 0, UTC)
        assert (wanted.page_size, wanted.page_token) == (7, "x")

    @pytest.mark.parametrize(
        "time",
        [
            Timestamp(seconds=2**62),
            Timestamp(seconds=-(2**62)),
            Timestamp(seconds=253402300800),
            Timestamp(seconds=-62135596801),
            Timestamp(nanos=-1),
            Timestamp(nanos=10**9),
        ],
        ids=lambda time: f"{time.seconds}.{time.nanos}",
    )
    def test_time_that_no_calendar_has_is_refused(self, time: Timestamp) -> None:
        assert wrong_fields(lambda: self.parse(start_time=time, end_time=time)) == ["start_time", "end_time"]

    @pytest.mark.parametrize("seconds", [-62135596800, 0, 253402300799])
    def test_first_and_last_second_are_taken(self, seconds: int) -> None:
        assert self.parse(start_time=Timestamp(seconds=seconds)).start_time.tzinfo is UTC

    def test_all_violations_are_told_at_once(self) -> None:
        assert wrong_fields(
            lambda: self.parse(
                account_id="1", start_time=Timestamp(nanos=-1), kind=99, reference="x" * 65, page_size=-1
            )
        ) == ["account_id", "start_time", "kind", "reference", "page_size"]
