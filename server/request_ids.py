"""Request ids of calls that the ledger does not see: claimed in the transaction of what they do."""

from typing import NamedTuple
from uuid import UUID

from bankdb import requests as queries

from server.database import Connection
from server.errors import RequestIdReused


class Request(NamedTuple):
    """One call, as its request id stands for it.

    Attributes:
        user_id: In whose name space of request ids it is.
        rpc: Full method name.
        fingerprint: Digest of all other fields.
    """

    user_id: UUID
    request_id: UUID
    rpc: str
    fingerprint: bytes


async def claim(connection: Connection, request: Request, result_id: UUID) -> UUID | None:
    """Claim the request id within the caller's transaction; a rollback gives it back.

    Waits for another transaction that is claiming it, so of many equal calls at once one goes on
    and the others find what it made.

    Args:
        connection: In a transaction.
        request: The call.
        result_id: What the request id shall stand for.

    Returns:
        None if it was free, else what an earlier call made.

    Raises:
        RequestIdReused: It stands for another call.
    """
    claimed = await queries.add_request(connection, **request._asdict(), result_id=result_id)
    if claimed:
        return None
    earlier = await queries.get_request(connection, user_id=request.user_id, request_id=request.request_id)
    assert earlier is not None  # requests are kept for ever
    if (earlier.rpc, earlier.fingerprint) != (request.rpc, request.fingerprint):
        raise RequestIdReused(request.request_id)
    return earlier.result_id
