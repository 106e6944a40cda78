"""Money moved by its owners and at the counter, over both wires, and what each party sees of it."""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import Bank, Person, transfer_fields
from tests.e2e.wire import Answer, Wire


@pytest.fixture(params=["grpc", "json"])
def wire(request: pytest.FixtureRequest, bank: Bank) -> Wire:
    return {each.name: each for each in bank.wires}[request.param]


async def made(wire: Wire, fields: dict[str, Any], person: Person) -> dict[str, Any]:
    """The transfer that a call made."""
    answer = await wire.call("CreateTransfer", fields, person.token)
    assert answer.code == "OK", answer
    transfer: dict[str, Any] = answer.reply["transfer"]
    return transfer


class TestCreateTransfer:
    async def test_alice_pays_bob_once(self, bank: Bank, wire: Wire) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 100_000), await bank.account(bob)
        fields = transfer_fields(
            source, destination, 1234, description="Lunch", reference=str(uuid4()), metadata={"a": "b"}
        )

        first = await wire.call("CreateTransfer", fields, alice.token)

        transfer, entries = first.reply["transfer"], first.reply["entries"]
        assert {name: transfer[name] for name in fields} == {**fields, "amount_minor": "1234"}
        assert transfer["kind"] == "TRANSFER_KIND_TRANSFER"
        assert [
            (each["account_id"], each["amount_minor"], each["balance_after_minor"], each["sequence"])
            for each in entries
        ] == [(source, "-1234", "98766", "2")]
        assert first.reply["replayed"] is False

        again = await bank.both("CreateTransfer", fields, alice.token)
        assert again.reply == {**first.reply, "replayed": True}
        changed = await bank.both("CreateTransfer", {**fields, "amount_minor": 1235}, alice.token)
        assert (changed.code, changed.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (98_766, 1_234)

    async def test_too_much_tells_account_needed_and_available(self, bank: Bank) -> None:
        alice = bank.people["alice"]
        source, destination = await bank.account(alice, 500), await bank.account(alice)
        fields = transfer_fields(source, destination, 501)
        answer = await bank.both("CreateTransfer", fields, alice.token)
        assert (answer.code, answer.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
        assert answer.metadata == {"account_id": source, "needed_minor": "501", "available_minor": "500"}
        assert answer.detail("Help")

    async def test_refused_request_id_works_once_there_is_money(self, bank: Bank, wire: Wire) -> None:
        alice, banker = bank.people["alice"], bank.people["banker"]
        source, destination = await bank.account(alice), await bank.account(alice)
        fields = transfer_fields(source, destination, 5)
        assert (await wire.call("CreateTransfer", fields, alice.token)).reason == "INSUFFICIENT_FUNDS"
        deposit = {"account_id": source, "amount_minor": 5, "currency_code": "USD", "request_id": str(uuid4())}
        assert (await wire.call("DepositFunds", deposit, banker.token)).code == "OK"
        assert (await wire.call("CreateTransfer", fields, alice.token)).code == "OK"

    async def test_validate_only_says_what_would_be_and_writes_nothing(self, bank: Bank) -> None:
        alice = bank.people["alice"]
        source, destination = await bank.account(alice, 500), await bank.account(alice)
        fields = transfer_fields(source, destination, 200, validate_only=True)
        answer = await bank.both("CreateTransfer", fields, alice.token)
        transfer = answer.reply["transfer"]
        assert (transfer["id"], transfer.get("create_time"), answer.reply["replayed"]) == ("", None, False)
        assert [each["balance_after_minor"] for each in answer.reply["entries"]] == ["300", "200"]
        short = await bank.both("CreateTransfer", {**fields, "amount_minor": 501}, alice.token)
        assert short.reason == "INSUFFICIENT_FUNDS"
        assert (await made(bank.json, {**fields, "validate_only": False}, alice))["id"]

    async def test_reference_is_used_once_by_its_owner(self, bank: Bank) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 500), await bank.account(bob, 500)
        reference = str(uuid4())
        await made(bank.json, transfer_fields(source, destination, reference=reference), alice)
        answer = await bank.both(
            "CreateTransfer", transfer_fields(source, destination, reference=reference), alice.token
        )
        assert (answer.code, answer.reason) == ("ALREADY_EXISTS", "DUPLICATE_REFERENCE")
        assert answer.metadata == {"resource": "reference", "name": reference}
        await made(bank.grpc, transfer_fields(destination, source, reference=reference), bob)

    async def test_same_request_id_of_two_users_makes_two_transfers(self, bank: Bank, wire: Wire) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 500), await bank.account(bob, 500)
        fields = transfer_fields(source, destination)
        back = {**fields, "source_account_id": destination, "destination_account_id": source}
        ids = [(await made(wire, fields, alice))["id"], (await made(wire, back, bob))["id"]]
        assert len(set(ids)) == 2

    async def test_fifty_equal_calls_at_once_make_one_transfer(self, bank: Bank) -> None:
        """Over two server processes and both wires."""
        alice, bob = bank.people["alice"], bank.people["bob"]
        # Money for one of them only: a copy that is not known for one would be refused.
        source, destination = await bank.account(alice, 7), await bank.account(bob)
        fields = transfer_fields(source, destination, 7, metadata={"a": "b"})
        answers = await asyncio.gather(
            *(bank.wires[number % 2].call("CreateTransfer", fields, alice.token) for number in range(50))
        )
        assert Counter(answer.reply.pop("replayed", None) for answer in answers) == {False: 1, True: 49}
        assert len({answer.without() for answer in answers}) == 1
        assert await bank.posted_minor(source) == 0
        made = await bank.owner.fetchval("SELECT count(*) FROM transfers WHERE request_id = $1", fields["request_id"])
        assert made == 1

    async def test_two_hundred_callers_share_what_there_is(self, bank: Bank) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        answers = await asyncio.gather(
            *(
                bank.grpc.call("CreateTransfer", transfer_fields(source, destination, 10), alice.token)
                for _ in range(200)
            )
        )
        assert Counter(answer.reason for answer in answers) == {"": 10, "INSUFFICIENT_FUNDS": 190}
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (0, 100)


class TestCounter:
    def fields(self, account_id: str, amount_minor: int = 100) -> dict[str, Any]:
        return {
            "account_id": account_id,
            "amount_minor": amount_minor,
            "currency_code": "USD",
            "request_id": str(uuid4()),
        }

    async def test_banker_pays_in_and_out_once_per_request_id(self, bank: Bank, wire: Wire) -> None:
        account, banker = await bank.account(bank.people["bob"]), bank.people["banker"].token
        for rpc, amount_minor, kind, balance_minor in (
            ("DepositFunds", 300, "DEPOSIT", 300),
            ("WithdrawFunds", 100, "WITHDRAWAL", 200),
        ):
            fields = self.fields(account, amount_minor) | {"description": "counter"}
            first = await wire.call(rpc, fields, banker)
            assert first.reply["transfer"]["kind"] == f"TRANSFER_KIND_{kind}"
            again = await bank.both(rpc, fields, banker)
            assert again.reply == {**first.reply, "replayed": True}
            other = await bank.both(rpc, {**fields, "amount_minor": 1}, banker)
            assert other.reason == "REQUEST_ID_REUSED"
            assert await bank.posted_minor(account) == balance_minor
        short = await bank.both("WithdrawFunds", self.fields(account, 201), banker)
        assert short.metadata == {"account_id": account, "needed_minor": "201", "available_minor": "200"}

    async def test_of_two_withdrawals_at_once_that_are_too_much_together_one_is_made(self, bank: Bank) -> None:
        banker = bank.people["banker"].token
        for _ in range(10):
            account = await bank.account(bank.people["bob"], 100)
            answers = await asyncio.gather(
                *(wire.call("WithdrawFunds", self.fields(account, 60), banker) for wire in bank.wires)
            )
            assert sorted(answer.reason for answer in answers) == ["", "INSUFFICIENT_FUNDS"]
            refused = next(answer for answer in answers if answer.reason)
            assert refused.metadata == {"account_id": account, "needed_minor": "60", "available_minor": "40"}
            assert await bank.posted_minor(account) == 40

    @pytest.mark.parametrize("rpc", ["DepositFunds", "WithdrawFunds"])
    async def test_nobody_else_and_nobody_for_themselves(self, bank: Bank, rpc: str) -> None:
        bobs, bankers = await bank.account(bank.people["bob"], 500), await bank.account(bank.people["banker"])
        for username, account in (
            ("bob", bobs),
            ("alice", bobs),
            ("merchant", bobs),
            ("admin", bobs),
            ("banker", bankers),
        ):
            answer = await bank.both(rpc, self.fields(account), bank.people[username].token)
            assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "PERMISSION_DENIED"), username

    @pytest.mark.parametrize("rpc", ["DepositFunds", "WithdrawFunds"])
    async def test_accounts_of_the_bank_are_not_found(self, bank: Bank, rpc: str) -> None:
        cash = await bank.owner.fetchval("SELECT id FROM accounts WHERE kind = 'SYSTEM_CASH' AND currency_code = 'USD'")
        banker = bank.people["banker"].token
        absent = str(uuid4())
        answers = [await bank.both(rpc, self.fields(each), banker) for each in (str(cash), absent)]
        assert [answer.code for answer in answers] == ["NOT_FOUND"] * 2
        assert answers[0].without(str(cash)) == answers[1].without(absent)
        for reading in ("GetAccount", "ListEntries"):
            assert (await bank.both(reading, {"account_id": str(cash)}, banker)).code == "NOT_FOUND", reading

    async def test_currency_and_amount_are_checked(self, bank: Bank) -> None:
        account, banker = await bank.account(bank.people["bob"], 500), bank.people["banker"].token
        for rpc in ("DepositFunds", "WithdrawFunds"):
            fields = self.fields(account)
            assert (await bank.both(rpc, {**fields, "currency_code": "EUR"}, banker)).reason == "CURRENCY_MISMATCH"
            assert (await bank.both(rpc, {**fields, "currency_code": "XAU"}, banker)).reason == "UNKNOWN_CURRENCY"
            for amount_minor in (0, -1, 10**17 + 1, 2**63 - 1):
                answer = await bank.both(rpc, {**fields, "amount_minor": amount_minor}, banker)
                assert answer.violated_fields == ["amount_minor"]

    async def test_balance_that_cannot_be_stored_is_refused(self, bank: Bank) -> None:
        account, banker = await bank.account(bank.people["bob"]), bank.people["banker"].token
        fields = self.fields(account, 10**17)
        for _ in range(40):
            answer = await bank.grpc.call("DepositFunds", {**fields, "request_id": str(uuid4())}, banker)
            assert answer.code == "OK"
        over = await bank.both("DepositFunds", self.fields(account, 1), banker)
        assert (over.code, over.reason, over.metadata) == (
            "FAILED_PRECONDITION",
            "AMOUNT_OVERFLOW",
            {"account_id": account},
        )
        for _ in range(40):
            answer = await bank.grpc.call("WithdrawFunds", {**fields, "request_id": str(uuid4())}, banker)
            assert answer.code == "OK"


class TestCreateAccount:
    async def test_repeat_finds_the_account_and_other_fields_are_refused(self, bank: Bank, wire: Wire) -> None:
        bob = bank.people["bob"].token
        fields = {"currency_code": "JPY", "display_name": "Savings", "request_id": str(uuid4())}
        first = await wire.call("CreateAccount", fields, bob)
        again = await bank.both("CreateAccount", fields, bob)
        assert again.reply == {**first.reply, "replayed": True}
        assert first.reply["account"]["state"] == "ACCOUNT_STATE_OPEN"
        for changed in ({"currency_code": "USD"}, {"display_name": "Other"}):
            assert (await bank.both("CreateAccount", {**fields, **changed}, bob)).reason == "REQUEST_ID_REUSED"

    async def test_twenty_equal_calls_open_one(self, bank: Bank) -> None:
        bob = bank.people["bob"].token
        fields = {"currency_code": "KWD", "request_id": str(uuid4())}
        answers = await asyncio.gather(*(bank.wires[n % 2].call("CreateAccount", fields, bob) for n in range(20)))
        assert Counter(answer.reply.get("replayed") for answer in answers) == {False: 1, True: 19}
        assert len({answer.reply["account"]["id"] for answer in answers}) == 1

    async def test_banker_opens_for_others_who_exist(self, bank: Bank) -> None:
        banker, bob = bank.people["banker"].token, bank.people["bob"]
        fields = {"currency_code": "USD", "request_id": str(uuid4()), "owner_user_id": bob.user_id}
        opened = await bank.json.call("CreateAccount", fields, banker)
        assert opened.reply["account"]["owner_user_id"] == bob.user_id
        nobody = await bank.both(
            "CreateAccount", {**fields, "request_id": str(uuid4()), "owner_user_id": str(uuid4())}, banker
        )
        assert nobody.code == "NOT_FOUND"

    async def test_bad_fields_are_all_named(self, bank: Bank) -> None:
        fields = {"currency_code": "", "display_name": "\0", "request_id": "x", "owner_user_id": "x"}
        answer = await bank.both("CreateAccount", fields, bank.people["bob"].token)
        assert answer.violated_fields == ["currency_code", "display_name", "request_id", "owner_user_id"]
        for name in ("x" * 101, "a\u202eb"):
            fields = {"currency_code": "USD", "display_name": name, "request_id": str(uuid4())}
            answer = await bank.both("CreateAccount", fields, bank.people["bob"].token)
            assert answer.violated_fields == ["display_name"]


class TestVisibility:
    async def test_other_party_sees_no_request_id_reference_or_metadata(self, bank: Bank) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 500), await bank.account(bob)
        secret = str(uuid4())
        whole = await made(
            bank.json,
            transfer_fields(source, destination, description="Rent", reference=secret, metadata={"k": secret}),
            alice,
        )
        fields = {"transfer_id": whole["id"]}
        for username in ("alice", "banker", "admin"):
            assert (await bank.both("GetTransfer", fields, bank.people[username].token)).reply["transfer"] == whole
        seen = await bank.both("GetTransfer", fields, bob.token)
        assert seen.reply["transfer"] == {**whole, "request_id": "", "reference": "", "metadata": {}}
        listed = await bank.both("ListTransfers", {"account_id": destination}, bob.token)
        assert listed.reply["transfers"] == [seen.reply["transfer"]]
        assert (await bank.both("ListTransfers", {"reference": secret}, bob.token)).reply["transfers"] == []
        entries = await bank.both("ListEntries", {"account_id": destination}, bob.token)
        assert [each["account_id"] for each in entries.reply["entries"]] == [destination]
        assert (await bank.both("GetTransfer", fields, bank.people["merchant"].token)).code == "NOT_FOUND"


async def pages(wire: Wire, rpc: str, fields: dict[str, Any], person: Person) -> list[dict[str, Any]]:
    """Every row of a list, page by page."""
    rows: list[dict[str, Any]] = []
    token = ""
    while True:
        answer = await wire.call(rpc, {**fields, **({"page_token": token} if token else {})}, person.token)
        assert answer.code == "OK", answer
        rows += next(value for name, value in answer.reply.items() if name != "next_page_token")
        token = answer.reply["next_page_token"]
        if not token:
            return rows


class TestLists:
    async def test_filters_pick_by_account_time_kind_and_reference(self, bank: Bank) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 500), await bank.account(bob)
        reference = str(uuid4())
        first = await made(bank.json, transfer_fields(source, destination, reference=reference), alice)
        second = await made(bank.grpc, transfer_fields(source, destination), alice)

        async def listed(**fields: Any) -> list[str]:
            answer = await bank.both("ListTransfers", {"account_id": source, **fields}, alice.token)
            return [each["id"] for each in answer.reply["transfers"]]

        everything = await listed()
        assert everything[:2] == [second["id"], first["id"]]
        assert len(everything) == 3
        assert await listed(kind="TRANSFER_KIND_TRANSFER") == everything[:2]
        assert await listed(kind="TRANSFER_KIND_DEPOSIT") == everything[2:]
        assert await listed(kind="TRANSFER_KIND_REVERSAL") == []
        assert await listed(reference=reference) == [first["id"]]
        assert await listed(reference=reference, kind="TRANSFER_KIND_DEPOSIT") == []
        assert await listed(start_time=second["create_time"]) == everything[:1]
        assert await listed(end_time=second["create_time"]) == everything[1:]
        assert await listed(start_time=second["create_time"], end_time=first["create_time"]) == []

    @pytest.mark.parametrize("rpc", ["ListTransfers", "ListEntries"])
    async def test_pages_lose_and_repeat_nothing_while_money_moves(self, bank: Bank, wire: Wire, rpc: str) -> None:
        alice, bob = bank.people["alice"], bank.people["bob"]
        source, destination = await bank.account(alice, 5_000), await bank.account(bob, 5_000)

        async def pay(count: int) -> list[str]:
            calls = [
                bank.grpc.call("CreateTransfer", transfer_fields(*ends), person.token)
                for _ in range(count)
                for ends, person in (((source, destination), alice), ((destination, source), bob))
            ]
            return [answer.reply["transfer"]["id"] for answer in await asyncio.gather(*calls)]

        before = set(await pay(20))
        paying = asyncio.create_task(pay(60))
        rows = await pages(wire, rpc, {"account_id": source, "page_size": 3}, alice)
        later = set(await paying)
        ids = [row.get("id") or row["transfer_id"] for row in rows]
        assert len(ids) == len(set(ids))
        assert before <= set(ids) <= before | later | {ids[-1]}
        if rpc == "ListEntries":
            sequences = [int(row["sequence"]) for row in rows]
            assert sequences == list(range(sequences[0], 0, -1))

    async def test_newest_accounts_come_first(self, bank: Bank, wire: Wire) -> None:
        person = await bank.person()
        opened = [await bank.account(person) for _ in range(5)]
        rows = await pages(wire, "ListAccounts", {"page_size": 2}, person)
        assert [row["id"] for row in rows] == opened[::-1]


class TestVerifyLedger:
    async def test_admin_finds_no_difference(self, bank: Bank) -> None:
        answers = [await wire.call("VerifyLedger", {}, bank.people["admin"].token) for wire in bank.wires]
        for each in answers:
            assert each.reply.pop("snapshot_time")
        # Between the two the worker may have sealed another block.
        first, second = (int(each.reply.pop("head", {"position": "0"})["position"]) for each in answers)
        assert first <= second
        assert answers[0] == answers[1]
        answer = answers[0]
        assert (answer.reply["consistent"], answer.reply["differences"]) == (True, [])
        counted = await bank.owner.fetchval("SELECT count(*) FROM entries")
        assert answer.reply["entry_count"] == str(counted)

    @pytest.mark.parametrize("username", ["alice", "banker", "merchant"])
    async def test_nobody_else_may(self, bank: Bank, username: str) -> None:
        assert (await bank.both("VerifyLedger", {}, bank.people[username].token)).reason == "PERMISSION_DENIED"

    async def test_wrong_balance_is_found(self, bank: Bank) -> None:
        """A check that finds nothing is proof only if it can find something."""
        account = await bank.account(bank.people["bob"], 500)
        change = "UPDATE accounts SET posted_minor = posted_minor + $2 WHERE id = $1"
        await bank.owner.execute(change, account, 1)
        try:
            found: Answer = await bank.json.call("VerifyLedger", {}, bank.people["admin"].token)
        finally:
            await bank.owner.execute(change, account, -1)
        assert found.reply["consistent"] is False
        rules = {(each["rule"], each["subject"]) for each in found.reply["differences"]}
        assert ("LEDGER_RULE_BALANCE", account) in rules
        assert "LEDGER_RULE_ZERO_SUM" in json.dumps(found.reply)
