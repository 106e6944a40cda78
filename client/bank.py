"""A typed asyncio client of the Transactions API; README.md shows it at work."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import grpc
from bank.v1.account_service_pb2 import (
    Account,
    ListAccountsRequest,
    ListEntriesRequest,
)
from bank.v1.account_service_pb2_grpc import AccountServiceStub
from bank.v1.ledger_service_pb2 import Currency, ListCurrenciesRequest, VerifyLedgerRequest, VerifyLedgerResponse
from bank.v1.ledger_service_pb2_grpc import LedgerServiceStub
from bank.v1.session_service_pb2 import (
    CreateSessionRequest,
    CreateSessionResponse,
    RefreshSessionRequest,
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
    User,
    VerifyEmailRequest,
)
from bank.v1.user_service_pb2_grpc import UserServiceStub

from client.refusal import BankRefusal

TRIES_MAX = 5
TRY_TIMEOUT_S = 10.0
VERIFY_TIMEOUT_S = 300.0
RETRY_PAUSE_S = 0.2
"""Before the second try; doubles with each further one. The service's own advice goes first."""
REFRESH_AHEAD_S = 30

Method = Callable[..., Awaitable[Any]]


class Bank:
    """One user's connection to the service; made by `connect`.

    A call is tried again when the service is away or an account is busy, as far as that is safe: what creates or
    moves something carries one request id through all tries, and what may not be done twice is tried once.

    Args:
        channel: To the gateway; it stays the caller's.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._users = UserServiceStub(channel)
        self._sessions = SessionServiceStub(channel)
        self._accounts = AccountServiceStub(channel)
        self._transfers = TransferServiceStub(channel)
        self._ledger = LedgerServiceStub(channel)
        self._refreshing = asyncio.Lock()
        self.session: CreateSessionResponse | None = None
        """Session and tokens; None before `sign_in`. Keep it to go on later, and keep it secret."""

    @staticmethod
    @asynccontextmanager
    async def connect(target: str, credentials: grpc.ChannelCredentials | None = None) -> "AsyncIterator[Bank]":
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
            yield Bank(channel)

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
            await self._call(self._sessions.RevokeSession, request)
            self.session = None

    async def sign_out_everywhere(self) -> int:
        """End all sessions of the user, this one included, with the same effect; how many there were."""
        revoked_count: int = (
            await self._call(self._sessions.RevokeAllSessions, RevokeAllSessionsRequest())
        ).revoked_count
        self.session = None
        return revoked_count

    async def me(self) -> User:
        """The user who is signed in."""
        user: User = (await self._call(self._users.GetUser, GetUserRequest(user_id="me"))).user
        return user

    async def change_password(self, current_password: str, new_password: str) -> None:
        """Replace the user's password and end all their other sessions; tried once.

        Raises:
            BankRefusal: INVALID_REQUEST for what the new one lacks; LOGIN_THROTTLED; BAD_CREDENTIALS.
        """
        request = ChangePasswordRequest(user_id="me", current_password=current_password, new_password=new_password)
        await self._call(self._users.ChangePassword, request, tries_max=1)

    async def change_email(self, current_password: str, new_email: str) -> User:
        """Ask for another address, which a mailed link proves; until then a proven one stays.

        Raises:
            BankRefusal: INVALID_REQUEST, LOGIN_THROTTLED, BAD_CREDENTIALS, RATE_LIMITED.
        """
        request = ChangeEmailRequest(user_id="me", current_password=current_password, new_email=new_email)
        user: User = (await self._call(self._users.ChangeEmail, request)).user
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
        request = ListAccountsRequest(owner_user_id="me")
        while True:
            page = await self._call(self._accounts.ListAccounts, request)
            for account in page.accounts:
                yield account
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def entries(self, account_id: str) -> AsyncIterator[Entry]:
        """What was booked on an account, newest first."""
        request = ListEntriesRequest(account_id=account_id)
        while True:
            page = await self._call(self._accounts.ListEntries, request)
            for entry in page.entries:
                yield entry
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

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
        response: CreateTransferResponse = await self._call(self._transfers.CreateTransfer, request)
        return response

    async def currencies(self) -> list[Currency]:
        """The currencies an account may have."""
        return list((await self._try(self._ledger.ListCurrencies, ListCurrenciesRequest())).currencies)

    async def verify(self) -> VerifyLedgerResponse:
        """Check the whole ledger; admins only."""
        response: VerifyLedgerResponse = await self._call(
            self._ledger.VerifyLedger, VerifyLedgerRequest(), timeout_s=VERIFY_TIMEOUT_S
        )
        return response

    async def _call(
        self, method: Method, request: object, timeout_s: float = TRY_TIMEOUT_S, tries_max: int = TRIES_MAX
    ) -> Any:  # noqa: ANN401 - as _try
        async with self._refreshing:
            await self._refresh_if_ending()
        token = self.session.access_token if self.session else ""
        return await self._try(method, request, (("authorization", f"Bearer {token}"),), timeout_s, tries_max)

    async def _refresh_if_ending(self) -> None:
        if self.session is None:
            return
        ahead = datetime.now(UTC) + timedelta(seconds=REFRESH_AHEAD_S)
        if self.session.access_token_expire_time.ToDatetime(UTC) < ahead:
            request = RefreshSessionRequest(refresh_token=self.session.refresh_token)
            refreshed = await self._try(self._sessions.RefreshSession, request)
            # The two answers have the same fields.
            self.session = CreateSessionResponse.FromString(refreshed.SerializeToString())

    async def _try(
        self,
        method: Method,
        request: object,
        metadata: tuple[tuple[str, str], ...] = (),
        timeout_s: float = TRY_TIMEOUT_S,
        tries_max: int = TRIES_MAX,
    ) -> Any:  # noqa: ANN401 - the response of any method
        for tries in range(1, tries_max + 1):
            try:
                return await method(request, metadata=metadata, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                refusal = BankRefusal(error)
                if tries == tries_max or not _may_succeed_soon(refusal):
                    raise refusal from error
            pause_s = refusal.retry_after_s or RETRY_PAUSE_S * 2 ** (tries - 1)
            await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads tries, keeps no secret
        raise AssertionError("unreachable")


def _may_succeed_soon(refusal: BankRefusal) -> bool:
    return refusal.code == "UNAVAILABLE" or (refusal.code == "ABORTED" and refusal.retry_after_s is not None)
