"""Demo users with known passwords and a little money, for a local stack only."""

from collections.abc import Callable
from uuid import UUID, uuid5

import asyncpg
from bank.v1 import account_service_pb2, account_service_pb2_grpc
from bankdb import requests, users
from uuid_utils.compat import uuid7

from local.demo import CALL_TIMEOUT_S, DEMO_PASSWORD, DEMO_USERS, DemoSession, signed_in
from local.errors import StackError
from server.passwords import Passwords

_ACCOUNT_OWNERS = ("alice", "bob", "merchant")
_CURRENCY_CODE = "USD"
_ALICE_AMOUNT_MINOR = 100_000
_REQUEST_IDS = UUID("5b1f64b2-3a55-4a0e-9d58-0f6c1b8f7a10")
_LAST_ID = UUID(int=2**128 - 1)

Connection = asyncpg.Connection


async def seed(environment_name: str, database_url: str, server_target: str, say: Callable[[str], None]) -> None:
    """Make sure the demo users exist, each of three has an account, and alice's was given 1,000.00 USD.

    Users are written to the database; accounts and money go through the running server under fixed request ids, so
    that a second run, or one after a killed one, repeats nothing. A database with other users only is left alone.

    Args:
        environment_name: What BANK_ENVIRONMENT says.
        database_url: A login that is bank_app or may become it.
        server_target: Host and port of one server process.
        say: Told when nothing is done.

    Raises:
        StackError: The environment is not local, or the database or the server refuses.
    """
    if environment_name != "local":
        raise StackError(f"BANK_ENVIRONMENT is {environment_name}: demo users exist in a local stack only")
    try:
        connection = await asyncpg.connect(database_url, server_settings={"role": "bank_app"})
    except (OSError, asyncpg.PostgresError) as error:
        raise StackError(f"the database does not answer: {error}") from error
    try:
        if not await _is_for_demo(connection):
            say("This database has users of its own: the demo users were left out.")
            return
        async with connection.transaction():
            for username, role in DEMO_USERS.items():
                await _create_user(connection, username, role)
        complete = await _has_deposit(connection)
    finally:
        await connection.close()
    if not complete:
        await _give_money(server_target)


async def _is_for_demo(connection: Connection) -> bool:
    """Whether nobody lives here yet, or the demo users do."""
    demo = [await users.get_user_by_username(connection, username=username) for username in DEMO_USERS]
    return any(demo) or not await users.list_users(connection, before_id=_LAST_ID, page_size=1)


async def _has_deposit(connection: Connection) -> bool:
    """Whether the last step of an earlier run was done."""
    banker = await users.get_user_by_username(connection, username="banker")
    if banker is None:
        return False
    return await requests.get_request(connection, user_id=banker.id, request_id=_request_id("deposit")) is not None


async def _create_user(connection: Connection, username: str, role: str) -> None:
    if await users.get_user_by_username(connection, username=username) is not None:
        return
    passwords = Passwords(1)
    try:
        password_hash = await passwords.hash(DEMO_PASSWORD)
    finally:
        await passwords.close()
    user_id, email = uuid7(), f"{username}@example.com"
    await users.insert_user(
        connection,
        id=user_id,
        username=username,
        password_hash=password_hash,
        full_name=f"{username.capitalize()} Demo",
        email=email,
    )
    await users.mark_user_email_verified(connection, id=user_id, email=email)
    await users.update_user_roles(connection, id=user_id, roles=sorted({"DEPOSITOR", role}))
    await users.update_user_profile(connection, id=user_id, full_name=None, payable_by_name=username in _ACCOUNT_OWNERS)


async def _give_money(server_target: str) -> None:
    account_ids = {}
    for username in _ACCOUNT_OWNERS:
        async with signed_in(server_target, username) as owner:
            account_ids[username] = await _create_account(owner, username)
    async with signed_in(server_target, "banker") as banker:
        await _deposit(banker, account_ids["alice"])


async def _create_account(owner: DemoSession, username: str) -> str:
    accounts = account_service_pb2_grpc.AccountServiceStub(owner.channel)
    request = account_service_pb2.CreateAccountRequest(
        currency_code=_CURRENCY_CODE, display_name="Main", request_id=str(_request_id(f"account of {username}"))
    )
    reply = await accounts.CreateAccount(request, metadata=owner.metadata, timeout=CALL_TIMEOUT_S)
    return str(reply.account.id)


async def _deposit(banker: DemoSession, account_id: str) -> None:
    accounts = account_service_pb2_grpc.AccountServiceStub(banker.channel)
    request = account_service_pb2.DepositFundsRequest(
        account_id=account_id,
        amount_minor=_ALICE_AMOUNT_MINOR,
        currency_code=_CURRENCY_CODE,
        request_id=str(_request_id("deposit")),
        description="Opening balance",
    )
    await accounts.DepositFunds(request, metadata=banker.metadata, timeout=CALL_TIMEOUT_S)


def _request_id(step: str) -> UUID:
    return uuid5(_REQUEST_IDS, step)
