"""Which accounts a caller may see: their own, and bankers and admins every customer's."""

from uuid import UUID

from bankdb import accounts as account_queries
from bankdb.accounts import GetAccountRow

from server.caller import Caller
from server.database import Connection
from server.errors import NotFound


async def visible_account(connection: Connection, account_id: UUID, caller: Caller) -> GetAccountRow:
    """One account.

    Raises:
        NotFound: Absent, or not the caller's to see.
    """
    account = await account_queries.get_account(connection, id=account_id)
    if account is None or not (caller.reads_everything or account.owner_user_id == caller.user_id):
        raise NotFound("account", account_id)
    return account
