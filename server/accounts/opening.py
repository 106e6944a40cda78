"""Opening an account, for the service and the worker alike."""

import json
from dataclasses import dataclass
from uuid import UUID

import asyncpg
from bankdb import accounts as account_queries
from bankdb import events as event_queries
from bankdb.accounts import GetAccountRow, InsertAccountRow
from uuid_utils.compat import uuid7

from server.database import Connection
from server.errors import NotFound
from server.request_ids import Request, claim


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to open, already parsed.

    Attributes:
        requester_user_id: In whose name space of request ids the call is.
        rpc: Full method name or job that asks.
        fingerprint: Digest of all other fields.
    """

    requester_user_id: UUID
    request_id: UUID
    rpc: str
    fingerprint: bytes
    owner_user_id: UUID
    currency_code: str
    display_name: str


async def open_account(connection: Connection, new: NewAccount) -> tuple[GetAccountRow | InsertAccountRow, bool]:
    """Open an account within the caller's transaction, at most once per request id.

    Stores the account, the request and the event `account.created`.

    Returns:
        The account as it is now, and whether it had been opened before.

    Raises:
        RequestIdReused: The request id stands for another call.
        NotFound: There is no such owner.
    """
    account_id = uuid7()
    request = Request(new.requester_user_id, new.request_id, new.rpc, new.fingerprint)
    earlier_id = await claim(connection, request, account_id)
    if earlier_id is not None:
        existing = await account_queries.get_account(connection, id=earlier_id)
        assert existing is not None  # accounts are never deleted
        return existing, True
    try:
        account = await account_queries.insert_account(
            connection,
            id=account_id,
            owner_user_id=new.owner_user_id,
            display_name=new.display_name,
            currency_code=new.currency_code,
        )
    except asyncpg.ForeignKeyViolationError as error:
        if error.constraint_name != "accounts_owner_user_id_fkey":
            raise
        raise NotFound("user", new.owner_user_id) from None
    assert account is not None  # RETURNING
    await event_queries.insert_event(
        connection,
        type="account.created",
        subject_id=account.id,
        user_id=new.owner_user_id,
        data=json.dumps({"currency_code": new.currency_code}),
    )
    return account, False
