"""Calls of one user: in their session, with tokens exchanged in time, tried again where that is safe."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
from bank.v1.session_service_pb2 import CreateSessionResponse, RefreshSessionRequest
from bank.v1.session_service_pb2_grpc import SessionServiceStub

from client.refusal import BankRefusal

TRIES_MAX = 5
TRY_TIMEOUT_S = 10.0
RETRY_PAUSE_S = 0.2
"""Before the second try; doubles with each further one. The service's own advice goes first."""
REFRESH_AHEAD_S = 30

Method = Callable[..., Awaitable[Any]]
Metadata = tuple[tuple[str, str], ...]


class Connection:
    """Makes calls, whatever their method.

    A call is tried again when the service is away or an account is busy: whoever hands in a request that may not be
    sent twice says so.

    Args:
        channel: To the gateway; it stays the caller's.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self._refresh = SessionServiceStub(channel).RefreshSession
        self._refreshing = asyncio.Lock()
        self.session: CreateSessionResponse | None = None
        """Session and tokens; None before `sign_in`. Keep it to go on later, and keep it secret."""

    async def call(
        self, method: Method, request: object, timeout_s: float = TRY_TIMEOUT_S, tries_max: int = TRIES_MAX
    ) -> Any:  # noqa: ANN401 - the response of any method
        """Call a method of a stub in the session.

        Raises:
            BankRefusal: It was refused, or not answered in the last of its tries.
        """
        return await self._try(method, request, await self.metadata(), timeout_s, tries_max)

    async def pages(self, method: Method, request: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - of any list
        """The pages of a list, each with its own token put into the request.

        Raises:
            BankRefusal: A page was refused.
        """
        while True:
            page = await self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def metadata(self) -> Metadata:
        """What proves who calls, good for a while.

        Raises:
            BankRefusal: The tokens had to be exchanged, and were refused.
        """
        async with self._refreshing:
            await self.refresh_if_ending()
        token = self.session.access_token if self.session else ""
        return (("authorization", f"Bearer {token}"),)

    async def refresh_if_ending(self) -> None:
        """Exchange the tokens if they are about to end; one caller at a time."""
        if self.session is None:
            return
        ahead = datetime.now(UTC) + timedelta(seconds=REFRESH_AHEAD_S)
        if self.session.access_token_expire_time.ToDatetime(UTC) < ahead:
            request = RefreshSessionRequest(refresh_token=self.session.refresh_token)
            refreshed = await self._try(self._refresh, request)
            # The two answers have the same fields.
            self.session = CreateSessionResponse.FromString(refreshed.SerializeToString())

    async def _try(
        self,
        method: Method,
        request: object,
        metadata: Metadata = (),
        timeout_s: float = TRY_TIMEOUT_S,
        tries_max: int = TRIES_MAX,
    ) -> Any:  # noqa: ANN401 - the response of any method
        for tries in range(1, tries_max + 1):
            try:
                return await method(request, metadata=metadata, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                refusal = BankRefusal(error)
                if tries == tries_max or not may_succeed_soon(refusal):
                    raise refusal from error
            await pause(refusal, tries)
        raise AssertionError("unreachable")


def may_succeed_soon(refusal: BankRefusal) -> bool:
    """Whether the same call may be answered otherwise in a moment."""
    return refusal.code == "UNAVAILABLE" or (refusal.code == "ABORTED" and refusal.retry_after_s is not None)


async def pause(refusal: BankRefusal, tries: int) -> None:
    """Wait before the try after this many."""
    pause_s = refusal.retry_after_s or RETRY_PAUSE_S * 2 ** (tries - 1)
    await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - spreads tries, keeps no secret
