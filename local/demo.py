"""The demo users, and how a program signs in as one of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
from bank.v1 import session_service_pb2, session_service_pb2_grpc

from local.errors import StackError

DEMO_PASSWORD = "local demo passphrase"  # noqa: S105 - printed at every start
DEMO_USERS = {"admin": "ADMIN", "banker": "BANKER", "merchant": "MERCHANT", "alice": "DEPOSITOR", "bob": "DEPOSITOR"}
"""User name to the role beside that of a depositor, which all have."""

CALL_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class DemoSession:
    """A channel to the server, and the headers that make a call the user's."""

    channel: grpc.aio.Channel
    metadata: tuple[tuple[str, str], ...]


@asynccontextmanager
async def signed_in(server_target: str, username: str) -> AsyncIterator[DemoSession]:
    """Sign in, and out again at the end.

    Raises:
        StackError: The server refuses, or a call inside fails.
    """
    try:
        async with grpc.aio.insecure_channel(server_target) as channel:
            sessions = session_service_pb2_grpc.SessionServiceStub(channel)
            credentials = session_service_pb2.CreateSessionRequest(username=username, password=DEMO_PASSWORD)
            created = await sessions.CreateSession(credentials, timeout=CALL_TIMEOUT_S)
            metadata = (("authorization", f"Bearer {created.access_token}"),)
            yield DemoSession(channel, metadata)
            ended = session_service_pb2.RevokeSessionRequest(session_id=created.session.id)
            await sessions.RevokeSession(ended, metadata=metadata, timeout=CALL_TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        raise StackError(f"the server refuses {username}: {error.code().name}, {error.details()}") from error
