"""bank.v1.TransferService over a real channel: answers, and every documented refusal with its details."""

from typing import Any
from uuid import uuid4

import pytest
from bank.v1 import transfer_service_pb2 as pb
from bank.v1.transfer_service_pb2_grpc import TransferServiceStub
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ResourceInfo, RetryInfo

from tests.server.bank import Bank, Person
from tests.server.bank_server import ServedBank, refusal_of

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")
RULE = "FAILED_PRECONDITION"


@pytest.fixture(scope="module")
def bank(served: ServedBank) -> Bank:
    return served.bank


@pytest.fixture(scope="module")
def stub(served: ServedBank) -> TransferServiceStub:
    return TransferServiceStub(served.channel)


def transfer(
    source: object, destination: object, amount_minor: int = 1_234, **changes: Any
) -> pb.CreateTransferRequest:
    good = {"request_id": str(uuid4()), "currency_code": "USD"}
    return pb.CreateTransferRequest(
        source_account_id=str(source),
        destination_account_id=str(destination),
        amount_minor=amount_minor,
        **{**good, **changes},
    )


class TestCreateTransfer:
    async def test_money_moves_once_for_each_request_id(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 10_000), await bank.account(bob)
        request = transfer(source, destination, reference="rent 11", description="November", metadata={"a": "1"})

        posted = await stub.CreateTransfer(request, metadata=served.signed_in(alice))
        again = await stub.CreateTransfer(request, metadata=served.signed_in(alice))

        assert (posted.replayed, again.replayed) == (False, True)
        assert (again.transfer, list(again.entries)) == (posted.transfer, list(posted.entries))
        assert posted.transfer.kind == pb.TRANSFER_KIND_TRANSFER
        assert (posted.transfer.request_id, posted.transfer.reference) == (request.request_id, "rent 11")
        assert (posted.transfer.description, dict(posted.transfer.metadata)) == ("November", {"a": "1"})
        assert [(entry.account_id, entry.amount_minor, entry.balance_after_minor) for entry in posted.entries] == [
            (str(source), -1_234, 8_766)
        ]
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (8_766, 1_234)
        assert await bank.adds_up()

    async def test_entries_of_a_replay_are_as_they_were(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        request, metadata = transfer(source, destination, 10), served.signed_in(alice)
        first = await stub.CreateTransfer(request, metadata=metadata)
        await stub.CreateTransfer(transfer(source, destination, 10), metadata=metadata)

        again = await stub.CreateTransfer(request, metadata=metadata)

        assert [entry.balance_after_minor for entry in again.entries] == [90, 10]
        assert list(again.entries) == list(first.entries)

    async def test_request_id_may_come_in_the_header(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice, key = await bank.person(), str(uuid4())
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        metadata = (*served.signed_in(alice), ("idempotency-key", key))
        posted = await stub.CreateTransfer(transfer(source, destination, 1, request_id=""), metadata=metadata)
        again = await stub.CreateTransfer(transfer(source, destination, 1, request_id=key), metadata=metadata)
        assert (posted.transfer.request_id, again.replayed) == (key, True)
        refused = await refusal_of(stub.CreateTransfer(transfer(source, destination, 1), metadata=metadata))
        assert (refused.why, refused.fields) == (INVALID, ["request_id"])
        assert await bank.posted_minor(source) == 99

    async def test_validation_alone_writes_nothing(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        before = await bank.counts()
        request = transfer(source, destination, 30, validate_only=True)
        answer = await stub.CreateTransfer(request, metadata=served.signed_in(alice))
        assert [entry.balance_after_minor for entry in answer.entries] == [70, 30]
        assert (answer.transfer.id, answer.replayed) == ("", False)
        assert await bank.counts() == before
        request.amount_minor = 101
        refused = await refusal_of(stub.CreateTransfer(request, metadata=served.signed_in(alice)))
        assert refused.why == (RULE, "INSUFFICIENT_FUNDS")

    async def test_refusals_come_in_the_documented_order_and_write_nothing(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        """Each case breaks its own rule and those after it."""
        alice, bob = await bank.person(), await bank.person()
        unverified, ended, disabled = await bank.person(verified=False), await bank.person(), await bank.person()
        await bank.pool.execute("UPDATE sessions SET revoke_time = now() WHERE id = $1", ended.session_id)
        await bank.pool.execute("UPDATE users SET disabled = true WHERE id = $1", disabled.user_id)
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        closed, other_closed, frozen = [await bank.account(alice) for _ in range(3)]
        euros = await bank.account(bob, currency_code="EUR")
        await bank.pool.execute("UPDATE accounts SET state = 'CLOSED' WHERE id IN ($1, $2)", closed, other_closed)
        await bank.pool.execute("UPDATE accounts SET state = 'FROZEN' WHERE id = $1", frozen)
        used = str(uuid4())
        await stub.CreateTransfer(
            transfer(source, destination, 1, request_id=used, reference="rent 11"), metadata=served.signed_in(alice)
        )
        before = await bank.counts()

        async def why(person: Person, request: pb.CreateTransferRequest) -> tuple[str, str]:
            return (await refusal_of(stub.CreateTransfer(request, metadata=served.signed_in(person)))).why

        absent = uuid4()
        assert await why(ended, transfer(absent, absent, 0, currency_code="XAU")) == INVALID
        assert await why(ended, transfer(absent, absent, currency_code="XAU")) == (
            "INVALID_ARGUMENT",
            "UNKNOWN_CURRENCY",
        )
        assert await why(ended, transfer(absent, absent)) == ("INVALID_ARGUMENT", "SAME_ACCOUNT")
        assert await why(ended, transfer(absent, source)) == ("UNAUTHENTICATED", "SESSION_REVOKED")
        assert await why(disabled, transfer(absent, source)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await why(unverified, transfer(absent, source)) == (RULE, "EMAIL_NOT_VERIFIED")
        reused = ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert await why(alice, transfer(absent, closed, request_id=used, reference="rent 11")) == reused
        duplicate = {"reference": "rent 11"}
        assert await why(alice, transfer(absent, closed, **duplicate)) == NOT_FOUND
        assert await why(alice, transfer(destination, closed, **duplicate)) == NOT_FOUND
        assert await why(alice, transfer(source, absent, **duplicate)) == NOT_FOUND
        assert await why(alice, transfer(source, bank.reference.cash_account("USD"))) == NOT_FOUND
        assert await why(alice, transfer(frozen, closed, **duplicate)) == ("ALREADY_EXISTS", "DUPLICATE_REFERENCE")
        assert await why(alice, transfer(frozen, closed, currency_code="EUR")) == (RULE, "ACCOUNT_CLOSED")
        assert await why(alice, transfer(other_closed, destination)) == (RULE, "ACCOUNT_CLOSED")
        assert await why(alice, transfer(frozen, euros)) == (RULE, "ACCOUNT_FROZEN")
        assert await why(alice, transfer(source, euros)) == (RULE, "CURRENCY_MISMATCH")
        assert await why(alice, transfer(source, destination, currency_code="EUR")) == (RULE, "CURRENCY_MISMATCH")
        assert await why(alice, transfer(source, destination)) == (RULE, "INSUFFICIENT_FUNDS")
        assert await bank.counts() == before
        assert await bank.posted_minor(source) == 99
        await bank.pool.execute("UPDATE accounts SET posted_minor = $1 WHERE id = $2", 4 * 10**18 - 1, destination)
        assert await why(alice, transfer(source, destination, 2)) == (RULE, "AMOUNT_OVERFLOW")
        assert await bank.counts() == before
        await bank.pool.execute("UPDATE accounts SET posted_minor = 1 WHERE id = $1", destination)
        assert await bank.adds_up()

    async def test_details_name_what_is_wrong(self, served: ServedBank, bank: Bank, stub: TransferServiceStub) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        metadata = served.signed_in(alice)

        refused = await refusal_of(stub.CreateTransfer(pb.CreateTransferRequest(), metadata=metadata))
        assert refused.fields == [
            "request_id",
            "source_account_id",
            "destination_account_id",
            "amount_minor",
            "currency_code",
        ]
        refused = await refusal_of(stub.CreateTransfer(transfer(source, destination, 101), metadata=metadata))
        assert refused.metadata == {"account_id": str(source), "needed_minor": "101", "available_minor": "100"}
        refused = await refusal_of(stub.CreateTransfer(transfer(destination, source, 1), metadata=metadata))
        assert refused.detail(ResourceInfo) == ResourceInfo(resource_type="account", resource_name=str(destination))

    async def test_locked_account_is_contention_with_a_delay(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
            refused = await refusal_of(
                stub.CreateTransfer(transfer(source, destination, 1), metadata=served.signed_in(alice))
            )
        assert refused.why == ("ABORTED", "CONTENTION")
        assert refused.detail(RetryInfo).retry_delay.ToMilliseconds() == 100
        assert await bank.posted_minor(source) == 100


class TestGetTransfer:
    async def test_the_other_party_sees_less(self, served: ServedBank, bank: Bank, stub: TransferServiceStub) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        request = transfer(source, destination, 1, reference="rent 11", metadata={"a": "1"}, description="rent")
        posted = (await stub.CreateTransfer(request, metadata=served.signed_in(alice))).transfer
        wanted = pb.GetTransferRequest(transfer_id=posted.id)

        for person in (alice, await bank.banker()):
            assert (await stub.GetTransfer(wanted, metadata=served.signed_in(person))).transfer == posted
        seen = (await stub.GetTransfer(wanted, metadata=served.signed_in(bob))).transfer
        assert (seen.request_id, seen.reference, dict(seen.metadata)) == ("", "", {})
        assert (seen.amount_minor, seen.description, seen.create_time) == (1, "rent", posted.create_time)

    async def test_somebody_elses_answers_exactly_like_an_absent_one(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice, mallory = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        posted = await stub.CreateTransfer(transfer(source, destination, 1), metadata=served.signed_in(alice))
        answers = set()
        for transfer_id in (posted.transfer.id, str(uuid4())):
            call = stub.GetTransfer(
                pb.GetTransferRequest(transfer_id=transfer_id),
                metadata=(*served.signed_in(mallory), ("x-request-id", "trace")),
            )
            refused = await refusal_of(call)
            assert refused.why == NOT_FOUND
            answers.add(str(refused.status).replace(transfer_id, "ID"))
        assert len(answers) == 1

    async def test_refusals_have_their_reasons(self, served: ServedBank, bank: Bank, stub: TransferServiceStub) -> None:
        call = stub.GetTransfer(pb.GetTransferRequest(transfer_id="1"), metadata=served.signed_in(await bank.person()))
        refused = await refusal_of(call)
        assert (refused.why, refused.fields) == (INVALID, ["transfer_id"])
        refused = await refusal_of(stub.GetTransfer(pb.GetTransferRequest(transfer_id=str(uuid4()))))
        assert refused.why == ("UNAUTHENTICATED", "UNAUTHENTICATED")


class TestListTransfers:
    async def test_pages_cover_the_list(self, served: ServedBank, bank: Bank, stub: TransferServiceStub) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        metadata = served.signed_in(alice)
        made = [
            (await stub.CreateTransfer(transfer(source, destination, 1), metadata=metadata)).transfer for _ in range(3)
        ]
        request = pb.ListTransfersRequest(kind=pb.TRANSFER_KIND_TRANSFER, page_size=2)
        first = await stub.ListTransfers(request, metadata=metadata)
        request.page_token = first.next_page_token
        second = await stub.ListTransfers(request, metadata=metadata)
        assert [*first.transfers, *second.transfers] == made[::-1]
        assert second.next_page_token == ""

    async def test_time_on_the_wire_is_exact_at_both_bounds(
        self, served: ServedBank, bank: Bank, stub: TransferServiceStub
    ) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        metadata = served.signed_in(alice)
        made = (await stub.CreateTransfer(transfer(source, destination, 1), metadata=metadata)).transfer
        time = made.create_time
        later = Timestamp()
        later.FromMicroseconds(time.ToMicroseconds() + 1)

        async def listed(**bounds: Timestamp) -> int:
            request = pb.ListTransfersRequest(kind=pb.TRANSFER_KIND_TRANSFER, **bounds)
            return len((await stub.ListTransfers(request, metadata=metadata)).transfers)

        assert [await listed(start_time=time), await listed(start_time=later)] == [1, 0]
        assert [await listed(end_time=later), await listed(end_time=time)] == [1, 0]

    async def test_refusals_have_their_reasons(self, served: ServedBank, bank: Bank, stub: TransferServiceStub) -> None:
        alice, mallory = await bank.person(), await bank.person()
        account_id = str(await bank.account(alice, 1))

        async def why(person: Person, **fields: Any) -> tuple[str, str]:
            call = stub.ListTransfers(pb.ListTransfersRequest(**fields), metadata=served.signed_in(person))
            return (await refusal_of(call)).why

        assert await why(mallory, account_id=account_id, page_size=-1) == INVALID
        assert await why(mallory, account_id=account_id, page_token="x") == NOT_FOUND
        assert await why(mallory, account_id=str(uuid4())) == NOT_FOUND
        assert await why(alice, account_id=account_id, page_token="x") == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
        assert await why(alice, reference="rent 11", page_token="x") == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
        assert await why(alice, kind=99) == INVALID
