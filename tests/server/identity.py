"""What tests of users, sessions and tokens share."""

import os
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import pytest
from bank.v1 import session_service_pb2 as session_pb
from bank.v1.session_service_pb2_grpc import SessionServiceStub, add_SessionServiceServicer_to_server
from bank.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.rpc.error_details_pb2 import ErrorInfo
from grpc_status import rpc_status

from server.access import ACCESS
from server.caller import Caller, Role
from server.credentials import CredentialCheck
from server.database import Database
from server.interceptor import CallInterceptor
from server.keys import Keys, SigningKey
from server.page_token import PageTokens
from server.passwords import PasswordPolicy, Passwords
from server.sessions.callers import CallerStates
from server.sessions.operations import Sessions
from server.sessions.rpc import SessionServicer
from server.throttles import Action, RateLimits, SignInThrottle
from server.tokens import AccessTokens, MailTokens
from server.users.addresses import UserAddresses
from server.users.confirmation import PasswordConfirmation
from server.users.links import Links
from server.users.operations import NewUser, Users
from server.users.passwords import UserPasswords
from server.users.rpc import UserServicer

PASSWORD = "seven blue herons at dusk"
NOBODY = UUID("018f6b3e-5a1c-7c3d-9a57-0242ac120002")


def new_keys(access_token_keys: int = 1) -> Keys:
    """Random keys."""
    return Keys(
        access_token_keys=tuple(
            SigningKey(f"key{number}", Ed25519PrivateKey.generate()) for number in range(access_token_keys)
        ),
        page_token_key=os.urandom(32),
        mail_token_key=os.urandom(32),
        webhook_key=os.urandom(32),
    )


def new_user(username: str = "alice", email: str | None = None) -> NewUser:
    return NewUser(username, PASSWORD, f"{username.title()} Example", email or f"{username}@example.com")


def caller_for(user_id: UUID, *roles: Role, session_id: UUID = NOBODY) -> Caller:
    return Caller(user_id, session_id, frozenset({Role.DEPOSITOR, *roles}))


async def matches(passwords: Passwords, password_hash: str | None, password: str) -> bool:
    """Whether a password is the one behind a hash."""
    with passwords.place() as place:
        return await place.verify(password_hash, password)


async def everything(pool: Any) -> Mapping[str, list[asyncpg.Record]]:
    """All rows that users and sessions consist of, to show that a refused call changed none."""
    tables = ("users", "sessions", "refresh_tokens", "mail_tokens", "outbox", "events", "audit_events")
    return {table: await pool.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}


@dataclass(frozen=True)
class Identity:
    """What users consist of, put together as in the server."""

    users: Users
    addresses: UserAddresses
    passwords: UserPasswords
    credentials: CredentialCheck


def identity_on(pool: Any, passwords: Passwords, keys: Keys, allowances: Mapping[Action, int]) -> Identity:
    """Users on a database, and how often strangers may try things an hour; anything that is not named at will."""
    database, links = Database(pool), Links(MailTokens(keys.mail_token_key))
    limits = RateLimits(database, allowances)
    credentials = CredentialCheck(database, passwords, SignInThrottle(limits))
    confirmation = PasswordConfirmation(database, credentials)
    return Identity(
        Users(database, passwords, links, limits, PageTokens(keys.page_token_key)),
        UserAddresses(database, confirmation, links, limits),
        UserPasswords(database, passwords, confirmation, links, limits),
        credentials,
    )


@asynccontextmanager
async def serving(
    pool: Any, passwords: Passwords, keys: Keys, allowances: Mapping[Action, int] = MappingProxyType({})
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel to a server of users and sessions behind the interceptor."""
    database, page_tokens = Database(pool), PageTokens(keys.page_token_key)
    access_tokens = AccessTokens(keys, "paseto", 900)
    identity = identity_on(pool, passwords, keys, allowances)
    sessions = Sessions(database, identity.credentials, access_tokens, page_tokens, idle_ttl_s=3600, ttl_s=7200)
    interceptor = CallInterceptor(ACCESS, access_tokens, CallerStates(database), "https://bank.example.com/errors")
    server = grpc.aio.server(interceptors=[interceptor])
    add_UserServiceServicer_to_server(
        UserServicer(identity.users, identity.addresses, identity.passwords, PasswordPolicy()), server
    )
    add_SessionServiceServicer_to_server(SessionServicer(sessions), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


def bearer(access_token: str) -> tuple[tuple[str, str], ...]:
    """Metadata that proves who calls."""
    return (("authorization", f"Bearer {access_token}"),)


async def sign_in(channel: grpc.aio.Channel, username: str = "alice") -> session_pb.CreateSessionResponse:
    request = session_pb.CreateSessionRequest(username=username, password=PASSWORD)
    response: session_pb.CreateSessionResponse = await SessionServiceStub(channel).CreateSession(request)
    return response


async def refusal(call: Awaitable[object]) -> tuple[str, str]:
    """Code and reason of a call that must be refused, the reason from its details."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    status = rpc_status.from_call(refused.value)
    assert status is not None
    info = ErrorInfo()
    assert sum(detail.Unpack(info) for detail in status.details) == 1
    return refused.value.code().name, info.reason


def mutilated(token: str) -> list[str]:
    """What is no token, although it resembles one."""
    changed = token[:30] + ("A" if token[30] != "A" else "B") + token[31:]
    return ["", "x", "\0", token[:-1], token + "A", token.swapcase(), changed, "x" * 60_000]
