"""bank.v1.AccountService over a real channel: settings and states, with their codes and reasons."""

from uuid import UUID, uuid4

import grpc
import pytest
from bank.v1 import account_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from grpc_status import rpc_status

from tests.server.accounts.conftest import Stubs, as_person
from tests.server.bank import Bank, Person, movement
from tests.server.identity import refusal

INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
NOT_FOUND = ("NOT_FOUND", "NOT_FOUND")
FORBIDDEN = ("PERMISSION_DENIED", "PERMISSION_DENIED")


def update(account_id: UUID, *paths: str, **fields: object) -> pb.UpdateAccountRequest:
    account = pb.Account(id=str(account_id), **fields)  # type: ignore[arg-type]  # whatever a test says
    return pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=paths))


class TestUpdateAccount:
    async def test_settings_are_answered(self, stubs: Stubs, alice: Person, own: UUID) -> None:
        request = update(own, "display_name", "metadata", display_name="Rent", metadata={"a": "b"}, version=1)
        account = (await stubs.accounts.UpdateAccount(request, metadata=as_person(alice))).account
        assert (account.display_name, dict(account.metadata), account.version) == ("Rent", {"a": "b"}, 2)
        again = await stubs.accounts.GetAccount(pb.GetAccountRequest(account_id=str(own)), metadata=as_person(alice))
        assert again.account == account

    @pytest.mark.parametrize(
        "request_",
        [
            update(uuid4()),
            update(uuid4(), "state"),
            update(uuid4(), "posted_minor", posted_minor=5),
            update(uuid4(), "display_name", "display_name"),
            update(uuid4(), "display_name", display_name="x" * 101),
            update(uuid4(), "display_name", display_name="a\nb"),
            update(uuid4(), "metadata", metadata={"": "x"}),
            update(uuid4(), "metadata", metadata={str(n): "" for n in range(21)}),
            update(uuid4(), "metadata", metadata={"a": "x" * 1024}),
            update(uuid4(), "overdraft_limit_minor", overdraft_limit_minor=-1),
            update(uuid4(), "overdraft_limit_minor", overdraft_limit_minor=10**17 + 1),
            update(uuid4(), "display_name", version=-1),
            pb.UpdateAccountRequest(account=pb.Account(id="x"), update_mask=FieldMask(paths=["display_name"])),
        ],
    )
    async def test_what_is_malformed_is_refused(
        self, stubs: Stubs, alice: Person, request_: pb.UpdateAccountRequest
    ) -> None:
        assert await refusal(stubs.accounts.UpdateAccount(request_, metadata=as_person(alice))) == INVALID

    async def test_stale_version_is_aborted_and_not_to_be_retried_as_it_is(
        self, stubs: Stubs, alice: Person, own: UUID
    ) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stubs.accounts.UpdateAccount(
                update(own, "display_name", display_name="Rent", version=9), metadata=as_person(alice)
            )
        status = rpc_status.from_call(refused.value)
        assert status is not None
        info, retry = ErrorInfo(), RetryInfo()
        assert [detail.Unpack(info) for detail in status.details].count(True) == 1
        assert (refused.value.code().name, info.reason, dict(info.metadata)) == (
            "ABORTED",
            "STALE_VERSION",
            {"version": "1"},
        )
        assert not any(detail.Unpack(retry) for detail in status.details)

    async def test_refusals_have_their_reasons(self, stubs: Stubs, bank: Bank, alice: Person, own: UUID) -> None:
        call, banker = stubs.accounts.UpdateAccount, as_person(await bank.banker())
        renames = update(own, "display_name", display_name="Rent")
        assert await refusal(call(renames, metadata=as_person(await bank.person()))) == NOT_FOUND
        assert await refusal(call(renames, metadata=banker)) == FORBIDDEN
        both = update(own, "display_name", "overdraft_limit_minor", display_name="Rent")
        assert await refusal(call(both, metadata=banker)) == FORBIDDEN
        lends = update(own, "overdraft_limit_minor", overdraft_limit_minor=50)
        assert (await call(lends, metadata=banker)).account.available_minor == 150
        await bank.ledger.post(movement(alice, own, await bank.account(await bank.person()), 130))
        lends = update(own, "overdraft_limit_minor", overdraft_limit_minor=29)
        assert await refusal(call(lends, metadata=banker)) == ("FAILED_PRECONDITION", "OVERDRAFT_IN_USE")


class TestStates:
    async def test_account_is_frozen_unfrozen_and_closed(self, stubs: Stubs, bank: Bank, alice: Person) -> None:
        empty, banker = str(await bank.account(alice)), as_person(await bank.banker())
        frozen = await stubs.accounts.FreezeAccount(pb.FreezeAccountRequest(account_id=empty), metadata=banker)
        assert frozen.account.state == pb.ACCOUNT_STATE_FROZEN
        opened = await stubs.accounts.UnfreezeAccount(pb.UnfreezeAccountRequest(account_id=empty), metadata=banker)
        assert opened.account.state == pb.ACCOUNT_STATE_OPEN
        closed = await stubs.accounts.CloseAccount(pb.CloseAccountRequest(account_id=empty), metadata=as_person(alice))
        assert closed.account.state == pb.ACCOUNT_STATE_CLOSED

    async def test_refusals_have_their_reasons(self, stubs: Stubs, bank: Bank, alice: Person, own: UUID) -> None:
        banker = as_person(await bank.banker())
        for call, request in (
            (stubs.accounts.FreezeAccount, pb.FreezeAccountRequest),
            (stubs.accounts.UnfreezeAccount, pb.UnfreezeAccountRequest),
        ):
            assert await refusal(call(request(account_id="x"), metadata=as_person(alice))) == FORBIDDEN
            assert await refusal(call(request(account_id="x"), metadata=banker)) == INVALID
            assert await refusal(call(request(account_id=str(uuid4())), metadata=banker)) == NOT_FOUND
        close = stubs.accounts.CloseAccount
        assert await refusal(close(pb.CloseAccountRequest(account_id="x"), metadata=as_person(alice))) == INVALID
        request = pb.CloseAccountRequest(account_id=str(own))
        assert await refusal(close(request, metadata=as_person(await bank.person()))) == NOT_FOUND
        assert await refusal(close(request, metadata=banker)) == ("FAILED_PRECONDITION", "ACCOUNT_NOT_EMPTY")
