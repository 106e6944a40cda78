"""The client against the whole service, and its tries against a server that fails on purpose."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import grpc
import pytest
from bank.v1 import session_service_pb2 as session_pb
from bank.v1 import transfer_service_pb2 as transfer_pb
from bank.v1 import user_service_pb2 as user_pb
from bank.v1.account_service_pb2 import Account
from bank.v1.order_service_pb2 import ORDER_STATE_CANCELED
from bank.v1.product_service_pb2 import CreateProductRequest, Product
from bank.v1.product_service_pb2_grpc import ProductServiceStub
from bank.v1.session_service_pb2_grpc import SessionServiceServicer, add_SessionServiceServicer_to_server
from bank.v1.transfer_service_pb2_grpc import TransferServiceServicer, add_TransferServiceServicer_to_server
from bank.v1.user_service_pb2_grpc import UserServiceServicer, add_UserServiceServicer_to_server
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from client.bank import Bank
from client.connection import TRIES_MAX
from client.refusal import BankRefusal
from local.demo import DEMO_PASSWORD
from local.ports import free_ports
from tests.conftest import Stack
from tests.mailed_links import RESET_PAGE, VERIFY_PAGE, token_mailed_to

NEW_PASSWORD = "eleven grey seals on a rock"


async def account_of(bank: Bank) -> Account:
    return [account async for account in bank.accounts()][-1]


@pytest.fixture
async def alice(stack: Stack) -> AsyncIterator[Bank]:
    async with Bank.connect(stack.grpc_target) as bank:
        await bank.sign_in("alice", DEMO_PASSWORD)
        yield bank
        await bank.sign_out()


@pytest.fixture
async def destination_id(stack: Stack) -> str:
    async with Bank.connect(stack.grpc_target) as bank:
        await bank.sign_in("bob", DEMO_PASSWORD)
        found = (await account_of(bank)).id
        await bank.sign_out()
        return found


class TestSignIn:
    async def test_wrong_password_is_a_refusal_with_its_reason(self, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as bank:
            with pytest.raises(BankRefusal) as refused:
                await bank.sign_in("alice", "not the passphrase at all")
        assert (refused.value.code, refused.value.reason) == ("UNAUTHENTICATED", "BAD_CREDENTIALS")
        assert refused.value.trace_id
        assert bank.session is None

    async def test_call_before_signing_in_is_refused(self, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as bank:
            with pytest.raises(BankRefusal) as refused:
                await account_of(bank)
        assert refused.value.reason == "UNAUTHENTICATED"

    async def test_access_token_that_ends_soon_is_exchanged_before_the_call(self, alice: Bank) -> None:
        assert alice.session is not None
        first = alice.session.refresh_token
        alice.session.access_token_expire_time.seconds -= 899
        await account_of(alice)
        # An access token made within the same second is the same text.
        assert alice.session.refresh_token != first


class TestSignOut:
    async def test_ended_session_moves_no_money(self, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as bank:
            await bank.sign_in("bob", DEMO_PASSWORD)
            kept = bank.session
            await bank.sign_out()
            assert bank.session is None
            bank.session = kept
            with pytest.raises(BankRefusal) as refused:
                await bank.transfer(
                    source_account_id=str(uuid4()),
                    destination_account_id=str(uuid4()),
                    amount_minor=1,
                    currency_code="USD",
                )
        assert refused.value.reason == "SESSION_REVOKED"


class TestUser:
    async def test_one_signs_up_changes_the_password_and_signs_out_everywhere(self, stack: Stack) -> None:
        username = f"u{uuid4().hex[:16]}"
        async with Bank.connect(stack.grpc_target) as bank, Bank.connect(stack.grpc_target) as elsewhere:
            user = await bank.sign_up(
                username=username, password=DEMO_PASSWORD, full_name="Somebody", email=f"{username}@example.com"
            )
            await bank.sign_in(username, DEMO_PASSWORD)
            await elsewhere.sign_in(username, DEMO_PASSWORD)
            assert await bank.me() == user
            await bank.change_password(DEMO_PASSWORD, NEW_PASSWORD)
            with pytest.raises(BankRefusal) as refused:
                await elsewhere.change_password(NEW_PASSWORD, DEMO_PASSWORD)
            assert refused.value.reason == "SESSION_REVOKED"
            await elsewhere.sign_in(username, NEW_PASSWORD)
            assert await bank.sign_out_everywhere() == 2
            assert bank.session is None
            with pytest.raises(BankRefusal) as refused:
                await elsewhere.change_password(NEW_PASSWORD, DEMO_PASSWORD)
            assert refused.value.reason == "SESSION_REVOKED"

    async def test_address_is_asked_for_and_proven(self, stack: Stack) -> None:
        username = f"u{uuid4().hex[:16]}"
        new_email = f"new-{username}@example.com"
        async with Bank.connect(stack.grpc_target) as bank:
            await bank.sign_up(username=username, password=DEMO_PASSWORD, full_name="Somebody", email="old@example.com")
            await bank.sign_in(username, DEMO_PASSWORD)
            assert (await bank.change_email(DEMO_PASSWORD, new_email)).email == new_email
            await bank.resend_verification_email(new_email)
            user = await bank.verify_email(await token_mailed_to(stack.mail_dir, new_email, VERIFY_PAGE))
            assert (user.email, user.email_verified) == (new_email, True)

    async def test_forgotten_password_is_reset_by_mail(self, stack: Stack) -> None:
        username = f"u{uuid4().hex[:16]}"
        email = f"{username}@example.com"
        async with Bank.connect(stack.grpc_target) as bank:
            await bank.sign_up(username=username, password=DEMO_PASSWORD, full_name="Somebody", email=email)
            await bank.verify_email(await token_mailed_to(stack.mail_dir, email, VERIFY_PAGE))
            await bank.request_password_reset(email)
            token = await token_mailed_to(stack.mail_dir, email, RESET_PAGE)
            await bank.reset_password(token, NEW_PASSWORD)
            await bank.sign_in(username, NEW_PASSWORD)
            with pytest.raises(BankRefusal) as refused:
                await bank.reset_password(token, DEMO_PASSWORD)
            assert refused.value.reason == "TOKEN_INVALID"

    async def test_what_the_service_asks_of_a_password_is_told(self, alice: Bank) -> None:
        with pytest.raises(BankRefusal) as refused:
            await alice.change_password(DEMO_PASSWORD, "short")
        assert (refused.value.reason, refused.value.message) == (
            "INVALID_REQUEST",
            "new_password: must have 15 characters or more",
        )


class TestTransfer:
    async def test_money_moves_and_the_entries_show_it(self, alice: Bank, destination_id: str) -> None:
        source = await account_of(alice)
        response = await alice.transfer(
            source_account_id=source.id,
            destination_account_id=destination_id,
            amount_minor=12,
            currency_code="USD",
            description="Lunch",
            metadata={"table": "4"},
        )
        assert not response.replayed
        assert dict(response.transfer.metadata) == {"table": "4"}
        newest = await anext(aiter(alice.entries(source.id)))
        assert (newest.transfer_id, newest.amount_minor) == (response.transfer.id, -12)
        assert (await account_of(alice)).posted_minor == source.posted_minor - 12 == newest.balance_after_minor

    async def test_same_request_id_moves_money_once(self, alice: Bank, destination_id: str) -> None:
        source = await account_of(alice)
        request_id = uuid4()
        responses = [
            await alice.transfer(
                source_account_id=source.id,
                destination_account_id=destination_id,
                amount_minor=3,
                currency_code="USD",
                request_id=request_id,
            )
            for _ in range(2)
        ]
        assert [response.replayed for response in responses] == [False, True]
        assert responses[0].transfer.id == responses[1].transfer.id
        assert (await account_of(alice)).posted_minor == source.posted_minor - 3

    async def test_too_much_is_refused_with_the_facts_and_nothing_moves(self, alice: Bank, destination_id: str) -> None:
        source = await account_of(alice)
        needed_minor = source.available_minor + 1
        with pytest.raises(BankRefusal) as refused:
            await alice.transfer(
                source_account_id=source.id,
                destination_account_id=destination_id,
                amount_minor=needed_minor,
                currency_code="USD",
            )
        assert (refused.value.code, refused.value.reason) == ("FAILED_PRECONDITION", "INSUFFICIENT_FUNDS")
        assert refused.value.metadata == {
            "account_id": source.id,
            "needed_minor": str(needed_minor),
            "available_minor": str(source.available_minor),
        }
        assert await account_of(alice) == source


class TestPayee:
    async def test_somebody_is_paid_by_name_until_they_do_not_want_to_be_found(self, alice: Bank, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as bob:
            await bob.sign_in("bob", DEMO_PASSWORD)
            oldest = [account async for account in bob.accounts()][-1]
            assert (await bob.set_payable_by_name(True)).payable_by_name
            payee = await alice.payee("BOB", "USD")
            assert (payee.username, payee.masked_name, payee.account_id) == ("bob", "B… D…", oldest.id)
            assert not (await bob.set_payable_by_name(False)).payable_by_name
            with pytest.raises(BankRefusal) as refused:
                await alice.payee("bob", "USD")
            assert refused.value.reason == "NOT_FOUND"
            await bob.set_payable_by_name(True)
            await bob.sign_out()


async def offer(stack: Stack, name: str, pieces: int) -> Product:
    """A product of the demo merchant at 0.05 USD."""
    async with Bank.connect(stack.grpc_target) as merchant:
        await merchant.sign_in("merchant", DEMO_PASSWORD)
        request = CreateProductRequest(
            request_id=str(uuid4()),
            name=name,
            price_minor=5,
            currency_code="USD",
            settlement_account_id=(await account_of(merchant)).id,
            initial_quantity=pieces,
        )
        product: Product = (await merchant.call(ProductServiceStub(merchant.channel).CreateProduct, request)).product
        await merchant.sign_out()
        return product


class TestOrders:
    async def test_order_is_placed_once_listed_and_canceled(self, alice: Bank, stack: Stack) -> None:
        name = f"Kite {uuid4().hex}"
        product = await offer(stack, name, 3)
        assert [each async for each in alice.products(name)] == [product]
        account_id, request_id = (await account_of(alice)).id, uuid4()
        for replayed in (False, True):
            placed = await alice.order(
                payment_account_id=account_id,
                quantities={product.id: 2},
                expected_total_minor=10,
                request_id=request_id,
            )
            assert (placed.replayed, placed.order.total_minor) == (replayed, 10)
        assert (await alice.product(product.id)).available == 1
        assert (await anext(aiter(alice.orders()))).id == placed.order.id
        canceled = await alice.cancel_order(placed.order.id)
        assert canceled.state == ORDER_STATE_CANCELED
        assert (await alice.product(product.id)).available == 3

    async def test_too_many_pieces_are_refused_and_nothing_is_reserved(self, alice: Bank, stack: Stack) -> None:
        product = await offer(stack, f"Kite {uuid4().hex}", 3)
        before = await account_of(alice)
        with pytest.raises(BankRefusal) as refused:
            await alice.order(payment_account_id=before.id, quantities={product.id: 4})
        assert refused.value.reason == "OUT_OF_STOCK"
        assert (await account_of(alice), await alice.product(product.id)) == (before, product)


class TestEntries:
    async def test_every_page_is_followed(self, alice: Bank, destination_id: str) -> None:
        source = await account_of(alice)
        for _ in range(51):  # a page has 50
            await alice.transfer(
                source_account_id=source.id,
                destination_account_id=destination_id,
                amount_minor=1,
                currency_code="USD",
            )
        sequences = [entry.sequence async for entry in alice.entries(source.id)]
        assert len(sequences) > 51
        assert sequences == list(range(len(sequences), 0, -1))


class TestVerify:
    async def test_admin_sees_that_the_ledger_adds_up(self, stack: Stack) -> None:
        async with Bank.connect(stack.grpc_target) as bank:
            await bank.sign_in("admin", DEMO_PASSWORD)
            assert (await bank.verify()).consistent
            await bank.sign_out()

    async def test_anybody_else_is_refused(self, alice: Bank) -> None:
        with pytest.raises(BankRefusal) as refused:
            await alice.verify()
        assert refused.value.reason == "PERMISSION_DENIED"


@dataclass
class Failing(TransferServiceServicer, SessionServiceServicer, UserServiceServicer):
    """A server that fails as it is told, once for each status, and then succeeds."""

    failures: list[Status] = field(default_factory=list)
    request_ids: list[str] = field(default_factory=list)
    user_calls: int = 0

    async def CreateUser(self, request: object, context: Any) -> Any:
        self.user_calls += 1
        if self.failures:
            await context.abort_with_status(rpc_status.to_status(self.failures.pop(0)))
        return user_pb.CreateUserResponse()

    # The answers have nothing in common but that all of them may be empty.
    VerifyEmail = ChangePassword = ResetPassword = CreateUser

    async def CreateTransfer(self, request: transfer_pb.CreateTransferRequest, context: Any) -> Any:
        self.request_ids.append(request.request_id)
        if self.failures:
            await context.abort_with_status(rpc_status.to_status(self.failures.pop(0)))
        return transfer_pb.CreateTransferResponse(replayed=len(self.request_ids) > 1)


def failure(code: grpc.StatusCode, reason: str, retry_s: float | None = None) -> Status:
    status = Status(code=code.value[0], message="as told")
    details: list[Any] = [ErrorInfo(reason=reason, domain="bank.v1")]
    if retry_s is not None:
        details.append(RetryInfo(retry_delay=Duration(nanos=int(retry_s * 1e9))))
    for detail in details:
        status.details.add().CopyFrom(packed(detail))
    return status


def packed(detail: Any) -> AnyMessage:
    message = AnyMessage()
    message.Pack(detail)
    return message


@asynccontextmanager
async def signed_in_at(server: grpc.aio.Server) -> AsyncIterator[Bank]:
    """Somebody with a session of a server of the test's own."""
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with Bank.connect(f"127.0.0.1:{port}") as bank:
        bank.session = session_pb.CreateSessionResponse(access_token="a token")
        bank.session.access_token_expire_time.GetCurrentTime()
        bank.session.access_token_expire_time.seconds += 900
        yield bank
    await server.stop(None)


@pytest.fixture
async def failing() -> AsyncIterator[tuple[Failing, Bank]]:
    servicer, server = Failing(), grpc.aio.server()
    add_TransferServiceServicer_to_server(servicer, server)
    add_SessionServiceServicer_to_server(servicer, server)
    add_UserServiceServicer_to_server(servicer, server)
    async with signed_in_at(server) as bank:
        yield servicer, bank


async def pay(bank: Bank) -> transfer_pb.CreateTransferResponse:
    return await bank.transfer(source_account_id="a", destination_account_id="b", amount_minor=1, currency_code="USD")


class TestTries:
    async def test_busy_or_absent_service_is_called_again_with_the_same_request_id(
        self, failing: tuple[Failing, Bank]
    ) -> None:
        servicer, bank = failing
        servicer.failures = [
            failure(grpc.StatusCode.UNAVAILABLE, "COMMIT_UNKNOWN", 0.01),
            failure(grpc.StatusCode.ABORTED, "CONTENTION", 0.01),
        ]
        assert (await pay(bank)).replayed
        assert len(servicer.request_ids) == 3
        assert len(set(servicer.request_ids)) == 1

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            (grpc.StatusCode.FAILED_PRECONDITION, "INSUFFICIENT_FUNDS"),
            (grpc.StatusCode.ABORTED, "STALE_VERSION"),
            (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
            (grpc.StatusCode.INTERNAL, "INTERNAL"),
        ],
    )
    async def test_what_cannot_succeed_soon_is_not_tried_again(
        self, failing: tuple[Failing, Bank], code: grpc.StatusCode, reason: str
    ) -> None:
        servicer, bank = failing
        servicer.failures = [failure(code, reason)]
        with pytest.raises(BankRefusal) as refused:
            await pay(bank)
        assert (refused.value.code, refused.value.reason) == (code.name, reason)
        assert len(servicer.request_ids) == 1

    async def test_what_may_not_be_done_twice_is_tried_once(self, failing: tuple[Failing, Bank]) -> None:
        servicer, bank = failing
        for call in (
            bank.sign_up(username="alice", password=NEW_PASSWORD, full_name="Alice", email="alice@example.com"),
            bank.verify_email("token"),
            bank.change_password(DEMO_PASSWORD, NEW_PASSWORD),
            bank.reset_password("token", NEW_PASSWORD),
        ):
            servicer.user_calls, servicer.failures = 0, [failure(grpc.StatusCode.UNAVAILABLE, "COMMIT_UNKNOWN", 0.01)]
            with pytest.raises(BankRefusal) as refused:
                await call
            assert (refused.value.reason, servicer.user_calls) == ("COMMIT_UNKNOWN", 1)

    async def test_tries_are_bounded(self, failing: tuple[Failing, Bank]) -> None:
        servicer, bank = failing
        servicer.failures = [failure(grpc.StatusCode.UNAVAILABLE, "OVERLOADED", 0.01)] * (TRIES_MAX + 1)
        with pytest.raises(BankRefusal) as refused:
            await pay(bank)
        assert refused.value.reason == "OVERLOADED"
        assert len(servicer.request_ids) == TRIES_MAX

    async def test_nobody_at_the_address_is_a_refusal_without_reason(self) -> None:
        async with Bank.connect(f"127.0.0.1:{free_ports(1)}") as bank:
            with pytest.raises(BankRefusal) as refused:
                await bank.sign_in("alice", DEMO_PASSWORD)
        assert (refused.value.code, refused.value.reason) == ("UNAVAILABLE", "")
