"""bank.v1.AccountService over a real channel: answers, and every documented refusal with its details."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from bank.v1 import account_service_pb2 as pb
from bank.v1 import transfer_service_pb2 as transfer_pb
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from google.rpc.error_details_pb2 import Help, PreconditionFailure, ResourceInfo

from tests.server.bank import Bank, Person
from tests.server.bank_server import ServedBank, refusal_of

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")
FORBIDDEN = ("PERMISSION_DENIED", "PERMISSION_DENIED")
RANGE = 4 * 10**18


@pytest.fixture(scope="module")
def bank(served: ServedBank) -> Bank:
    return served.bank


@pytest.fixture(scope="module")
def stub(served: ServedBank) -> AccountServiceStub:
    return AccountServiceStub(served.channel)


def create(**changes: str) -> pb.CreateAccountRequest:
    return pb.CreateAccountRequest(**{"currency_code": "USD", "request_id": str(uuid4()), **changes})


class TestCreateAccount:
    async def test_account_is_opened_once_for_each_request_id(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        alice = await bank.person()
        request, metadata = create(display_name="Rent"), served.signed_in(alice)

        created = await stub.CreateAccount(request, metadata=metadata)
        again = await stub.CreateAccount(request, metadata=metadata)

        assert created.account.owner_user_id == str(alice.user_id)
        assert (created.account.display_name, created.account.currency_code) == ("Rent", "USD")
        assert created.account.state == pb.ACCOUNT_STATE_OPEN
        assert (created.replayed, again.replayed) == (False, True)
        assert again.account == created.account

    async def test_request_id_may_come_in_the_header(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        alice, key = await bank.person(), str(uuid4())
        header = (("idempotency-key", key.upper()),)
        created = await stub.CreateAccount(create(request_id=""), metadata=served.signed_in(alice) + header)
        again = await stub.CreateAccount(create(request_id=key), metadata=served.signed_in(alice) + header)
        assert (again.account.id, again.replayed) == (created.account.id, True)
        refused = await refusal_of(stub.CreateAccount(create(), metadata=served.signed_in(alice) + header))
        assert (refused.why, refused.fields) == (INVALID, ["request_id"])

    async def test_refusals_come_in_the_documented_order_and_write_nothing(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        alice, banker = await bank.person(), await bank.banker()
        used = create()
        await stub.CreateAccount(used, metadata=served.signed_in(alice))
        used_by_banker = create()
        await stub.CreateAccount(used_by_banker, metadata=served.signed_in(banker))
        before, nobody = await bank.counts(), str(uuid4())

        async def why(person: Person, **changes: str) -> tuple[str, str]:
            call = stub.CreateAccount(create(**changes), metadata=served.signed_in(person))
            return (await refusal_of(call)).why

        assert await why(alice, request_id="", currency_code="XAU", owner_user_id=nobody) == INVALID
        assert await why(alice, currency_code="XAU", owner_user_id=nobody) == ("INVALID_ARGUMENT", "UNKNOWN_CURRENCY")
        assert await why(alice, request_id=used.request_id, owner_user_id=nobody) == FORBIDDEN
        reused = ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert await why(banker, request_id=used_by_banker.request_id, owner_user_id=nobody) == reused
        assert await why(alice, request_id=used.request_id, currency_code="EUR") == reused
        assert await why(banker, owner_user_id=nobody) == NOT_FOUND
        assert (await refusal_of(stub.CreateAccount(create()))).why == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await bank.counts() == before

    async def test_details_name_what_is_wrong(self, served: ServedBank, bank: Bank, stub: AccountServiceStub) -> None:
        metadata = served.signed_in(await bank.person())
        refused = await refusal_of(stub.CreateAccount(pb.CreateAccountRequest(owner_user_id="x"), metadata=metadata))
        assert refused.fields == ["currency_code", "request_id", "owner_user_id"]
        used = create()
        await stub.CreateAccount(used, metadata=metadata)
        used.display_name = "other"
        refused = await refusal_of(stub.CreateAccount(used, metadata=metadata))
        assert refused.detail(ResourceInfo) == ResourceInfo(resource_type="request", resource_name=used.request_id)


class TestGetAccount:
    async def test_owner_and_staff_read_it(self, served: ServedBank, bank: Bank, stub: AccountServiceStub) -> None:
        alice = await bank.person()
        account_id = await bank.account(alice, 1_234)
        for person in (alice, await bank.banker(), await bank.person(roles=("DEPOSITOR", "ADMIN"))):
            request = pb.GetAccountRequest(account_id=str(account_id))
            account = (await stub.GetAccount(request, metadata=served.signed_in(person))).account
            assert (account.id, account.posted_minor, account.available_minor) == (str(account_id), 1_234, 1_234)

    async def test_somebody_elses_answers_exactly_like_an_absent_one(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        alice, mallory = await bank.person(), await bank.person()
        answers = set()
        for account_id in (await bank.account(alice, 5), uuid4(), bank.reference.cash_account("USD")):
            request = pb.GetAccountRequest(account_id=str(account_id))
            refused = await refusal_of(
                stub.GetAccount(request, metadata=(*served.signed_in(mallory), ("x-request-id", "trace")))
            )
            assert refused.why == NOT_FOUND
            answers.add(str(refused.status).replace(str(account_id), "ID"))
        assert len(answers) == 1

    async def test_refusals_have_their_reasons(self, served: ServedBank, bank: Bank, stub: AccountServiceStub) -> None:
        call = stub.GetAccount(pb.GetAccountRequest(account_id="1"), metadata=served.signed_in(await bank.person()))
        refused = await refusal_of(call)
        assert (refused.why, refused.fields) == (INVALID, ["account_id"])


class TestListAccounts:
    async def test_pages_cover_the_list(self, served: ServedBank, bank: Bank, stub: AccountServiceStub) -> None:
        metadata = served.signed_in(await bank.person())
        opened = [(await stub.CreateAccount(create(), metadata=metadata)).account.id for _ in range(3)]
        first = await stub.ListAccounts(pb.ListAccountsRequest(page_size=2), metadata=metadata)
        second = await stub.ListAccounts(
            pb.ListAccountsRequest(page_size=2, page_token=first.next_page_token), metadata=metadata
        )
        assert [account.id for account in (*first.accounts, *second.accounts)] == opened[::-1]
        assert second.next_page_token == ""

    async def test_refusals_have_their_reasons(self, served: ServedBank, bank: Bank, stub: AccountServiceStub) -> None:
        metadata = served.signed_in(await bank.person())

        async def why(**fields: Any) -> tuple[str, str]:
            return (await refusal_of(stub.ListAccounts(pb.ListAccountsRequest(**fields), metadata=metadata))).why

        assert await why(page_size=-1) == INVALID
        assert await why(owner_user_id="bob") == INVALID
        assert await why(owner_user_id=str(uuid4())) == NOT_FOUND
        assert await why(page_token="x") == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


class TestAtTheCounter:
    """DepositFunds and WithdrawFunds."""

    async def test_deposit_and_withdrawal_are_booked_once_for_each_request_id(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        metadata, account_id = served.signed_in(await bank.banker()), await bank.account(await bank.person())
        fields = {"account_id": str(account_id), "currency_code": "USD", "description": "counter 3"}
        deposit = pb.DepositFundsRequest(**fields, amount_minor=500, request_id=str(uuid4()))
        withdrawal = pb.WithdrawFundsRequest(**fields, amount_minor=200, request_id=str(uuid4()))

        for _ in range(2):
            paid_in = await stub.DepositFunds(deposit, metadata=metadata)
            paid_out = await stub.WithdrawFunds(withdrawal, metadata=metadata)

        assert (paid_in.replayed, paid_out.replayed) == (True, True)
        assert paid_in.transfer.kind == transfer_pb.TRANSFER_KIND_DEPOSIT
        assert paid_in.transfer.destination_account_id == str(account_id) == paid_out.transfer.source_account_id
        assert (paid_out.transfer.kind, paid_out.transfer.amount_minor) == (transfer_pb.TRANSFER_KIND_WITHDRAWAL, 200)
        assert (paid_in.transfer.request_id, paid_in.transfer.description) == (deposit.request_id, "counter 3")
        assert await bank.posted_minor(account_id) == 300
        assert await bank.adds_up()

    async def test_refusals_come_in_the_documented_order_and_write_nothing(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        """Each case breaks its own rule and those after it."""
        banker, alice = await bank.banker(), await bank.person()
        unverified = await bank.person(verified=False)
        ended = await bank.banker()
        await bank.pool.execute("UPDATE sessions SET revoke_time = now() WHERE id = $1", ended.session_id)
        account_id, own = await bank.account(alice, 100), await bank.account(banker)
        closed, euros = await bank.account(alice), await bank.account(alice, currency_code="EUR")
        frozen = await bank.account(alice, 100)
        await bank.pool.execute("UPDATE accounts SET state = 'CLOSED' WHERE id = $1", closed)
        await bank.pool.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", frozen)
        used = str(uuid4())
        good = {"account_id": str(account_id), "amount_minor": 1, "currency_code": "USD", "request_id": used}
        await stub.DepositFunds(pb.DepositFundsRequest(**good), metadata=served.signed_in(banker))
        await bank.pool.execute(
            "UPDATE accounts SET posted_minor = posted_minor + $1 WHERE id = $2", RANGE - 101, account_id
        )
        before = await bank.counts()

        async def why(person: Person, *, out: bool = False, **changes: Any) -> tuple[str, str]:
            fields = {**good, "request_id": str(uuid4()), **changes}
            call = (
                stub.WithdrawFunds(pb.WithdrawFundsRequest(**fields), metadata=served.signed_in(person))
                if out
                else (stub.DepositFunds(pb.DepositFundsRequest(**fields), metadata=served.signed_in(person)))
            )
            return (await refusal_of(call)).why

        assert await why(ended, amount_minor=0, currency_code="XAU") == INVALID
        assert await why(ended, currency_code="XAU") == ("INVALID_ARGUMENT", "UNKNOWN_CURRENCY")
        assert await why(ended, request_id=used, account_id=str(uuid4())) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        assert await why(unverified, request_id=used) == ("FAILED_PRECONDITION", "EMAIL_NOT_VERIFIED")
        assert await why(alice, request_id=used, account_id=str(uuid4())) == FORBIDDEN
        reused = ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert await why(banker, request_id=used, account_id=str(uuid4())) == reused
        assert await why(banker, request_id=used, out=True) == reused
        assert await why(banker, account_id=str(uuid4())) == NOT_FOUND
        assert await why(banker, account_id=str(bank.reference.cash_account("USD"))) == NOT_FOUND
        assert await why(banker, account_id=str(own)) == FORBIDDEN
        rule = "FAILED_PRECONDITION"
        assert await why(banker, account_id=str(closed), currency_code="EUR") == (rule, "ACCOUNT_CLOSED")
        assert await why(banker, account_id=str(frozen), out=True, amount_minor=999) == (rule, "ACCOUNT_FROZEN")
        assert await why(banker, account_id=str(euros), out=True) == (rule, "CURRENCY_MISMATCH")
        assert await why(banker, account_id=str(euros), currency_code="EUR", out=True) == (rule, "INSUFFICIENT_FUNDS")
        assert await why(banker, amount_minor=1) == (rule, "AMOUNT_OVERFLOW")
        assert await bank.counts() == before
        await bank.pool.execute("UPDATE accounts SET posted_minor = 101 WHERE id = $1", account_id)
        assert await bank.adds_up()

    async def test_what_is_missing_is_told_in_details(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        account_id = await bank.account(await bank.person(), 99)
        request = pb.WithdrawFundsRequest(
            account_id=str(account_id), amount_minor=100, currency_code="USD", request_id=str(uuid4())
        )
        refused = await refusal_of(stub.WithdrawFunds(request, metadata=served.signed_in(await bank.banker())))
        assert refused.metadata == {"account_id": str(account_id), "needed_minor": "100", "available_minor": "99"}
        (violation,) = refused.detail(PreconditionFailure).violations
        assert (violation.type, violation.subject) == ("INSUFFICIENT_FUNDS", str(account_id))
        assert refused.detail(Help).links[0].url == "https://bank.example/docs/errors.html#INSUFFICIENT_FUNDS"


class TestListEntries:
    async def test_entries_of_the_account_come_newest_first(
        self, served: ServedBank, bank: Bank, stub: AccountServiceStub
    ) -> None:
        alice = await bank.person()
        account_id = await bank.account(alice, 100)
        await bank.deposit(await bank.banker(), account_id, 11)
        request = pb.ListEntriesRequest(account_id=str(account_id))
        listed = await stub.ListEntries(request, metadata=served.signed_in(alice))
        assert [(entry.sequence, entry.amount_minor, entry.balance_after_minor) for entry in listed.entries] == [
            (2, 11, 111),
            (1, 100, 100),
        ]

    async def test_refusals_have_their_reasons(self, served: ServedBank, bank: Bank, stub: AccountServiceStub) -> None:
        alice, mallory = await bank.person(), await bank.person()
        account_id = str(await bank.account(alice))

        async def why(person: Person, **fields: Any) -> tuple[str, str]:
            call = stub.ListEntries(pb.ListEntriesRequest(**fields), metadata=served.signed_in(person))
            return (await refusal_of(call)).why

        assert await why(alice, account_id="1", page_size=-1) == INVALID
        assert await why(mallory, account_id=account_id, page_token="x") == NOT_FOUND
        assert await why(alice, account_id=str(UUID(int=1))) == NOT_FOUND
        assert await why(alice, account_id=account_id, page_token="x") == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
