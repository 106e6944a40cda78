"""Requests about accounts: everything that is wrong at once, and what is made of what is right."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from bank.v1 import account_service_pb2 as pb
from bankdb.accounts import GetAccountRow
from bankdb.models import Entry

from server.accounts.messages import (
    parse_account_id,
    parse_create_account,
    parse_deposit,
    parse_list_accounts,
    parse_list_entries,
    parse_withdrawal,
    render_account,
    render_entries,
    render_listed,
)
from server.accounts.operations import Page
from server.caller import Caller
from server.errors import DatabaseUnavailable, UnknownCurrency
from server.ledger.movements import Kind
from server.reference_data import ReferenceData
from tests.server.bank import wrong_fields

ALICE, BOB, SESSION = (UUID(f"018f6b3e-5a1c-7c3d-9a57-0242ac12000{number}") for number in (1, 2, 3))
ACCOUNT, REQUEST = (UUID(f"018f6b3e-5a1c-7c3d-9a57-0242ac12001{number}") for number in (1, 2))
CALLER = Caller(ALICE, SESSION)
NOW = datetime(2026, 11, 21, 12, 30, 0, 123456, UTC)


class TestParseCreateAccount:
    def parse(self, reference: ReferenceData, key: str = "", **changes: str) -> Any:
        good = {"currency_code": "USD", "display_name": "Rent", "request_id": str(REQUEST)}
        return parse_create_account(pb.CreateAccountRequest(**{**good, **changes}), CALLER, key, reference)

    def test_all_violations_are_told_at_once_in_the_order_of_the_fields(self, reference: ReferenceData) -> None:
        wrong = {"currency_code": "", "display_name": "x" * 101, "request_id": "1", "owner_user_id": "bob"}
        assert wrong_fields(lambda: self.parse(reference, **wrong)) == [
            "currency_code",
            "display_name",
            "request_id",
            "owner_user_id",
        ]

    @pytest.mark.parametrize("code", ["usd", "XAU", "USDT"])
    def test_unknown_currency_alone_has_its_own_reason(self, reference: ReferenceData, code: str) -> None:
        with pytest.raises(UnknownCurrency):
            self.parse(reference, currency_code=code)

    @pytest.mark.parametrize("owner", ["", "me", str(ALICE), str(ALICE).upper()])
    def test_account_is_for_the_caller_unless_somebody_else_is_named(
        self, reference: ReferenceData, owner: str
    ) -> None:
        new = self.parse(reference, owner_user_id=owner)
        assert (new.owner_user_id, new.requester_user_id, new.rpc) == (
            ALICE,
            ALICE,
            "bank.v1.AccountService/CreateAccount",
        )
        assert new.fingerprint == self.parse(reference).fingerprint

    def test_request_id_may_come_by_header(self, reference: ReferenceData) -> None:
        assert self.parse(reference, str(REQUEST), request_id="") == self.parse(reference)

    @pytest.mark.parametrize(
        "change", [{"currency_code": "EUR"}, {"display_name": "rent"}, {"owner_user_id": str(BOB)}], ids=str
    )
    def test_any_other_field_is_another_call(self, reference: ReferenceData, change: dict[str, str]) -> None:
        assert self.parse(reference, **change).fingerprint != self.parse(reference).fingerprint

    def test_longest_name_and_no_name_are_taken(self, reference: ReferenceData) -> None:
        for name in ("", "é" * 100):
            assert self.parse(reference, display_name=name).display_name == name

    def test_database_that_was_never_reached_is_said_to_be_away(self) -> None:
        with pytest.raises(DatabaseUnavailable):
            self.parse(ReferenceData())


class TestParseIds:
    @pytest.mark.parametrize("value", ["", "me", "1", f"{ACCOUNT} "])
    def test_account_id_that_is_no_uuid_is_refused(self, value: str) -> None:
        assert wrong_fields(lambda: parse_account_id(pb.GetAccountRequest(account_id=value))) == ["account_id"]

    def test_account_id_is_parsed(self) -> None:
        assert parse_account_id(pb.GetAccountRequest(account_id=str(ACCOUNT).upper())) == ACCOUNT


class TestParseLists:
    def test_everyones_accounts_are_asked_for_by_saying_nothing(self) -> None:
        assert parse_list_accounts(pb.ListAccountsRequest(), CALLER) == (None, Page(50, ""))

    @pytest.mark.parametrize(("owner", "expected"), [("me", ALICE), (str(BOB), BOB)])
    def test_owner_is_parsed(self, owner: str, expected: UUID) -> None:
        request = pb.ListAccountsRequest(owner_user_id=owner, page_size=1000, page_token="x")
        assert parse_list_accounts(request, CALLER) == (expected, Page(200, "x"))

    def test_all_violations_are_told_at_once(self) -> None:
        accounts = pb.ListAccountsRequest(owner_user_id="bob", page_size=-1)
        entries = pb.ListEntriesRequest(account_id="1", page_size=-1)
        assert wrong_fields(lambda: parse_list_accounts(accounts, CALLER)) == ["owner_user_id", "page_size"]
        assert wrong_fields(lambda: parse_list_entries(entries)) == ["account_id", "page_size"]


@pytest.mark.parametrize(
    ("parse", "request_type", "kind", "rpc"),
    [
        (parse_deposit, pb.DepositFundsRequest, Kind.DEPOSIT, "bank.v1.AccountService/DepositFunds"),
        (parse_withdrawal, pb.WithdrawFundsRequest, Kind.WITHDRAWAL, "bank.v1.AccountService/WithdrawFunds"),
    ],
    ids=["deposit", "withdrawal"],
)
class TestParseAtTheCounter:
    GOOD = (("account_id", str(ACCOUNT)), ("amount_minor", 1), ("currency_code", "USD"), ("request_id", str(REQUEST)))

    def test_money_moves_between_the_account_and_cash(
        self, parse: Any, request_type: Any, kind: Kind, rpc: str, reference: ReferenceData
    ) -> None:
        movement = parse(request_type(**dict(self.GOOD)), CALLER, "", reference)
        sides = [movement.source_id, movement.destination_id]
        assert sides.index(ACCOUNT) == (1 if kind is Kind.DEPOSIT else 0)
        sides.remove(ACCOUNT)
        assert sides[0] in {reference.cash_account("USD") for _ in range(8)}
        assert (movement.kind, movement.rpc, movement.user_id, movement.session_id) == (kind, rpc, ALICE, SESSION)

    def test_whose_turn_it_is_among_cash_accounts_is_no_part_of_the_call(
        self, parse: Any, request_type: Any, kind: Kind, rpc: str, reference: ReferenceData
    ) -> None:
        first, second = (parse(request_type(**dict(self.GOOD)), CALLER, "", reference) for _ in range(2))
        assert (first.source_id, first.destination_id) != (second.source_id, second.destination_id)
        assert first.fingerprint == second.fingerprint

    def test_all_violations_are_told_at_once_in_the_order_of_the_fields(
        self, parse: Any, request_type: Any, kind: Kind, rpc: str, reference: ReferenceData
    ) -> None:
        wrong = request_type(description="a\nb")
        assert wrong_fields(lambda: parse(wrong, CALLER, "", reference)) == [
            "account_id",
            "amount_minor",
            "currency_code",
            "request_id",
            "description",
        ]

    @pytest.mark.parametrize(
        "change",
        [{"account_id": str(BOB)}, {"amount_minor": 2}, {"currency_code": "EUR"}, {"description": "x"}],
        ids=str,
    )
    def test_any_other_field_is_another_call(
        self, parse: Any, request_type: Any, kind: Kind, rpc: str, reference: ReferenceData, change: dict[str, Any]
    ) -> None:
        same = parse(request_type(**dict(self.GOOD)), CALLER, "", reference)
        other = parse(request_type(**{**dict(self.GOOD), **change}), CALLER, "", reference)
        assert same.fingerprint != other.fingerprint

    def test_unknown_currency_alone_has_its_own_reason(
        self, parse: Any, request_type: Any, kind: Kind, rpc: str, reference: ReferenceData
    ) -> None:
        with pytest.raises(UnknownCurrency):
            parse(request_type(**{**dict(self.GOOD), "currency_code": "XAG"}), CALLER, "", reference)


class TestRender:
    ROW = GetAccountRow(
        id=ACCOUNT,
        kind="CUSTOMER",
        owner_user_id=ALICE,
        display_name="Rent",
        currency_code="USD",
        state="FROZEN",
        posted_minor=100,
        held_minor=30,
        overdraft_limit_minor=5,
        entry_count=7,
        last_entry_time=NOW,
        metadata='{"colour": "red"}',
        version=3,
        create_time=NOW,
        update_time=NOW,
        overdue_minor=0,
    )

    def test_overdue_holds_hold_nothing_any_more(self) -> None:
        message = render_account(self.ROW._replace(overdue_minor=20))
        assert (message.held_minor, message.available_minor) == (10, 95)

    def test_account_tells_what_may_be_spent(self) -> None:
        message = render_account(self.ROW)
        assert message == pb.Account(
            id=str(ACCOUNT),
            owner_user_id=str(ALICE),
            display_name="Rent",
            currency_code="USD",
            state=pb.ACCOUNT_STATE_FROZEN,
            posted_minor=100,
            held_minor=30,
            available_minor=75,
            overdraft_limit_minor=5,
            metadata={"colour": "red"},
            version=3,
            create_time=NOW,
            update_time=NOW,
        )

    def test_list_keeps_its_order_and_token(self) -> None:
        listed = render_listed([self.ROW, self.ROW], "next")
        assert (len(listed.accounts), listed.next_page_token) == (2, "next")

    def test_entries_keep_their_signs(self) -> None:
        entries = render_entries(
            [Entry(ACCOUNT, 2, REQUEST, -1, 99, NOW), Entry(ACCOUNT, 1, REQUEST, 100, 100, NOW)], ""
        )
        assert [(entry.sequence, entry.amount_minor, entry.balance_after_minor) for entry in entries.entries] == [
            (2, -1, 99),
            (1, 100, 100),
        ]
