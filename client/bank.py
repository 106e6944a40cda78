"""A typed asyncio client of the Transactions API; README.md shows it at work."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Self
from uuid import UUID, uuid4

import grpc
from bank.v1.account_service_pb2 import (
    Account,
    GetPayeeRequest,
    ListAccountsRequest,
    ListEntriesRequest,
    Payee,
)
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from bank.v1.event_service_pb2 import Event
from bank.v1.event_service_pb2_grpc import EventServiceStub
from bank.v1.ledger_service_pb2 import Currency, ListCurrenciesRequest, VerifyLedgerRequest, VerifyLedgerResponse
from bank.v1.ledger_service_pb2_grpc import LedgerServiceStub
from bank.v1.order_service_pb2 import (
    CancelOrderRequest,
    CreateOrderRequest,
    CreateOrderResponse,
    ListOrdersRequest,
    Order,
    ProductQuantity,
)
from bank.v1.order_service_pb2_grpc import OrderServiceStub
from bank.v1.product_service_pb2 import GetProductRequest, ListProductsRequest, Product
from bank.v1.product_service_pb2_grpc import ProductServiceStub
from bank.v1.session_service_pb2 import (
    CreateSessionRequest,
    RevokeAllSessionsRequest,
    RevokeSessionRequest,
)
from bank.v1.session_service_pb2_grpc import SessionServiceStub
from bank.v1.transfer_service_pb2 import CreateTransferRequest, CreateTransferResponse, Entry
from bank.v1.transfer_service_pb2_grpc import TransferServiceStub
from bank.v1.user_service_pb2 import (
    ChangeEmailRequest,
    ChangePasswordRequest,
    CreateUserRequest,
    GetUserRequest,
    RequestPasswordResetRequest,
    ResendVerificationEmailRequest,
    ResetPasswordRequest,
    UpdateUserRequest,
    User,
    VerifyEmailRequest,
)
from bank.v1.user_service_pb2_grpc import UserServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from client.connection import Connection
from client.watch import watch

VERIFY_TIMEOUT_S = 300.0


class Bank(Connection):
    """One user's connection to the service; made by `connect`.

    A call is tried again when the service is away or an account is busy, as far as that is safe: what creates or
    moves something carries one request id through all tries, and what may not be done twice is tried once.

    Args:
        channel: To the gateway; it stays the caller's.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        super().__init__(channel)
        self._users = UserServiceStub(channel)
        self._sessions = SessionServiceStub(channel)
        self._accounts = AccountServiceStub(channel)
        self._transfers = TransferServiceStub(channel)
        self._products = ProductServiceStub(channel)
        self._orders = OrderServiceStub(channel)
        self._events = EventServiceStub(channel)
        self._ledger = LedgerServiceStub(channel)

    @classmethod
    @asynccontextmanager
    async def connect(cls, target: str, credentials: grpc.ChannelCredentials | None = None) -> AsyncIterator[Self]:
        """Open a channel.

        Args:
            target: Host and port, such as `localhost:9090`.
            credentials: For TLS, such as `grpc.ssl_channel_credentials()`; None sends passwords and tokens readable
                for everybody on the way: on one machine only.
        """
        channel = (
            grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
        )
        async with channel:
            yield cls(channel)

    async def sign_up(self, *, username: str, password: str, full_name: str, email: str) -> User:
        """Make a user, to whom a link is mailed that proves the address. Tried once: the name would be taken then.

        Raises:
            BankRefusal: INVALID_REQUEST, USERNAME_TAKEN, RATE_LIMITED, LOGIN_THROTTLED.
        """
        request = CreateUserRequest(username=username, password=password, full_name=full_name, email=email)
        user: User = (await self._try(self._users.CreateUser, request, tries_max=1)).user
        return user

    async def sign_in(self, username: str, password: str) -> None:
        """Begin a session; later calls are made in it, and its tokens are exchanged before they end.

        Raises:
            BankRefusal: BAD_CREDENTIALS, whatever was wrong; LOGIN_THROTTLED.
        """
        request = CreateSessionRequest(username=username, password=password)
        self.session = await self._try(self._sessions.CreateSession, request)

    async def sign_out(self) -> None:
        """End the session: from now on nothing is debited in it, and half a second later nothing read."""
        if self.session is not None:
            request = RevokeSessionRequest(session_id=self.session.session.id)
            await self.call(self._sessions.RevokeSession, request)
            self.session = None

    async def sign_out_everywhere(self) -> int:
        """End all sessions of the user, this one included, with the same effect; how many there were."""
        revoked_count: int = (
            await self.call(self._sessions.RevokeAllSessions, RevokeAllSessionsRequest())
        ).revoked_count
        self.session = None
        return revoked_count

    async def me(self) -> User:
        """The user who is signed in."""
        user: User = (await self.call(self._users.GetUser, GetUserRequest(user_id="me"))).user
        return user

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Replace the user's password and end all their other sessions; tried once.

        Raises:
            BankRefusal: INVALID_REQUEST for what the new one lacks; LOGIN_THROTTLED; BAD_CREDENTIALS.
        """
        request = ChangePasswordRequest(user_id="me", current_password=current_password, new_password=new_password)
        await self.call(self._users.ChangePassword, request, tries_max=1)

    async def change_email(self, current_password: str, new_email: str) -> User:
        """Ask for another address, which a mailed link proves; until then a proven one stays.

        Raises:
            BankRefusal: INVALID_REQUEST, LOGIN_THROTTLED, BAD_CREDENTIALS, RATE_LIMITED.
        """
        request = ChangeEmailRequest(user_id="me", current_password=current_password, new_email=new_email)
        user: User = (await self.call(self._users.ChangeEmail, request)).user
        return user

    async def verify_email(self, token: str) -> User:
        """Prove an address by the token of the link mailed to it; tried once.

        Raises:
            BankRefusal: TOKEN_INVALID.
        """
        user: User = (await self._try(self._users.VerifyEmail, VerifyEmailRequest(token=token), tries_max=1)).user
        return user

    async def resend_verification_email(self, email: str) -> None:
        """Have a new link mailed, if somebody has yet to prove the address; the answer does not tell.

        Raises:
            BankRefusal: INVALID_REQUEST, RATE_LIMITED.
        """
        await self._try(self._users.ResendVerificationEmail, ResendVerificationEmailRequest(email=email))

    async def request_password_reset(self, email: str) -> None:
        """Have a link mailed that sets a new password, if a user has proven the address; the answer does not tell.

        Raises:
            BankRefusal: INVALID_REQUEST, RATE_LIMITED.
        """
        await self._try(self._users.RequestPasswordReset, RequestPasswordResetRequest(email=email))

    async def reset_password(self, token: str, new_password: str) -> None:
        """Set a new password by the token of the mailed link, and end all sessions of the user; tried once.

        Raises:
            BankRefusal: TOKEN_INVALID; INVALID_REQUEST, after which the token is still good; LOGIN_THROTTLED.
        """
        request = ResetPasswordRequest(token=token, new_password=new_password)
        await self._try(self._users.ResetPassword, request, tries_max=1)

    async def accounts(self) -> AsyncIterator[Account]:
        """The caller's accounts, newest first."""
        async for page in self.pages(self._accounts.ListAccounts, ListAccountsRequest(owner_user_id="me")):
            for account in page.accounts:
                yield account

    async def entries(self, account_id: str) -> AsyncIterator[Entry]:
        """What was booked on an account, newest first."""
        async for page in self.pages(self._accounts.ListEntries, ListEntriesRequest(account_id=account_id)):
            for entry in page.entries:
                yield entry

    async def set_payable_by_name(self, payable: bool) -> User:
        """Say whether others find the user by their name, to pay them."""
        request = UpdateUserRequest(
            user=User(id="me", payable_by_name=payable), update_mask=FieldMask(paths=["payable_by_name"])
        )
        user: User = (await self.call(self._users.UpdateUser, request)).user
        return user

    async def payee(self, username: str, currency_code: str) -> Payee:
        """Where a payment to a user goes who wants to be found.

        Raises:
            BankRefusal: NOT_FOUND for anybody else; INVALID_REQUEST, UNKNOWN_CURRENCY, EMAIL_NOT_VERIFIED,
                RATE_LIMITED.
        """
        request = GetPayeeRequest(username=username, currency_code=currency_code)
        payee: Payee = (await self.call(self._accounts.GetPayee, request)).payee
        return payee

    async def transfer(
        self,
        *,
        source_account_id: str,
        destination_account_id: str,
        amount_minor: int,
        currency_code: str,
        description: str = "",
        reference: str = "",
        metadata: Mapping[str, str] | None = None,
        request_id: UUID | None = None,
    ) -> CreateTransferResponse:
        """Move money, at most once per request id.

        Args:
            source_account_id: The account to debit; the caller's own.
            destination_account_id: The account to credit.
            amount_minor: In minor units: 1234 is 12.34 USD.
            currency_code: Of both accounts.
            description: Shown to both sides.
            reference: The caller's own, unique per caller.
            metadata: The caller's own labels.
            request_id: What makes the transfer happen once. Made here if absent; make and store it yourself
                where the program may die between the call and its answer.

        Raises:
            BankRefusal: See docs/errors.md for the reasons.
        """
        request = CreateTransferRequest(
            request_id=str(request_id or uuid4()),
            source_account_id=source_account_id,
            destination_account_id=destination_account_id,
            amount_minor=amount_minor,
            currency_code=currency_code,
            description=description,
            reference=reference,
            metadata=metadata,
        )
        response: CreateTransferResponse = await self.call(self._transfers.CreateTransfer, request)
        return response

    async def products(self, query: str = "") -> AsyncIterator[Product]:
        """What is offered, newest first; with a query, where the name has words that begin like its words."""
        async for page in self.pages(self._products.ListProducts, ListProductsRequest(query=query)):
            for product in page.products:
                yield product

    async def product(self, product_id: str) -> Product:
        """One product, archived or not."""
        product: Product = (
            await self.call(self._products.GetProduct, GetProductRequest(product_id=product_id))
        ).product
        return product

    async def order(
        self,
        *,
        payment_account_id: str,
        quantities: Mapping[str, int],
        expected_total_minor: int = 0,
        request_id: UUID | None = None,
    ) -> CreateOrderResponse:
        """Order products of one merchant, at most once per request id; the total is held until they are shipped.

        Args:
            payment_account_id: The account that pays; the caller's own.
            quantities: Pieces by the id of the product.
            expected_total_minor: The total that was shown, in minor units; another one is refused. 0: any.
            request_id: As for `transfer`.

        Raises:
            BankRefusal: OUT_OF_STOCK, PRICE_CHANGED, INSUFFICIENT_FUNDS and more, see docs/errors.md.
        """
        request = CreateOrderRequest(
            request_id=str(request_id or uuid4()),
            payment_account_id=payment_account_id,
            items=[ProductQuantity(product_id=id_, quantity=quantity) for id_, quantity in quantities.items()],
            expected_total_minor=expected_total_minor,
        )
        response: CreateOrderResponse = await self.call(self._orders.CreateOrder, request)
        return response

    async def orders(self) -> AsyncIterator[Order]:
        """Orders that the caller placed, and for merchants those placed with them, newest first."""
        async for page in self.pages(self._orders.ListOrders, ListOrdersRequest()):
            for order in page.orders:
                yield order

    async def cancel_order(self, order_id: str) -> Order:
        """Call off an order that is not shipped; of a canceled one nothing changes.

        Raises:
            BankRefusal: NOT_FOUND, ORDER_STATE.
        """
        order: Order = (await self.call(self._orders.CancelOrder, CancelOrderRequest(order_id=order_id))).order
        return order

    def watch(self, after_cursor: str = "now", types: Sequence[str] = ()) -> AsyncIterator[Event]:
        """Events as they happen, once each and in order, across broken connections, until the session ends.

        Args:
            after_cursor: Of the last event that was seen; empty: from the first on; `now`: what is yet to come.
            types: Such as `transfer.posted`; empty: all.

        Raises:
            BankRefusal: The session has ended, or the service cannot be reached.
        """
        return watch(self, self._events, after_cursor, types)

    async def currencies(self) -> list[Currency]:
        """The currencies an account may have."""
        return list((await self._try(self._ledger.ListCurrencies, ListCurrenciesRequest())).currencies)

    async def verify(self) -> VerifyLedgerResponse:
        """Check the whole ledger; admins only."""
        response: VerifyLedgerResponse = await self.call(
            self._ledger.VerifyLedger, VerifyLedgerRequest(), timeout_s=VERIFY_TIMEOUT_S
        )
        return response
