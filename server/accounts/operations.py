"""What can be done with accounts, beside moving money."""

from dataclasses import dataclass
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import entries as entry_queries
from bankdb.accounts import GetAccountRow, InsertAccountRow, ListAccountsOfUserRow, ListAccountsRow
from bankdb.models import Entry

from server.accounts.opening import NewAccount, open_account
from server.accounts.visible import visible_account
from server.caller import Caller, Role
from server.database import Database
from server.errors import Forbidden, NotFound
from server.page_token import PageTokens

_SEQUENCE_MAX = 2**63 - 1


Rows = list[ListAccountsRow] | list[ListAccountsOfUserRow]


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    size: int
    token: str


class Accounts:
    """Opens and reads accounts as far as a caller may."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def open(self, new: NewAccount, caller: Caller) -> tuple[GetAccountRow | InsertAccountRow, bool]:
        """Open an account, at most once per request id.

        Returns:
            The account as it is now, and whether an earlier call had opened it.

        Raises:
            Forbidden: It is for somebody else and the caller is no banker.
            RequestIdReused: The request id stands for another call.
            NotFound: There is no such owner.
        """
        if new.owner_user_id != caller.user_id and not caller.has_any(Role.BANKER):
            raise Forbidden("only a banker opens accounts for others")
        return await self._database.transaction(lambda connection: open_account(connection, new))

    async def get(self, account_id: UUID, caller: Caller) -> GetAccountRow:
        """One account.

        Raises:
            NotFound: Absent, or not the caller's to see.
        """
        async with self._database.connection() as connection:
            return await visible_account(connection, account_id, caller)

    async def page(self, owner_user_id: UUID | None, page: Page, caller: Caller) -> tuple[Rows, str]:
        """One page of accounts, newest first, and the token of the next.

        Args:
            owner_user_id: Whose; None: all that the caller may see.
            page: Which part of the list.
            caller: Who asks.

        Raises:
            NotFound: The owner is somebody else, and the caller neither banker nor admin.
            InvalidPageToken: Not of this list, owner and caller.
        """
        if not caller.reads_everything:
            if owner_user_id not in (None, caller.user_id):
                raise NotFound("user", str(owner_user_id))
            owner_user_id = caller.user_id
        scope = ("accounts", str(caller.user_id), str(owner_user_id))
        before_id = self._page_tokens.before_id(scope, page.token)
        size = page.size + 1
        async with self._database.connection() as connection:
            if owner_user_id is None:
                everyones = await account_queries.list_accounts(connection, before_id=before_id, page_size=size)
                return self._page_tokens.cut(scope, everyones, page.size, lambda row: [str(row.id)])
            rows = await account_queries.list_accounts_of_user(
                connection, owner_user_id=owner_user_id, before_id=before_id, page_size=size
            )
        return self._page_tokens.cut(scope, rows, page.size, lambda row: [str(row.id)])

    async def entries(self, account_id: UUID, page: Page, caller: Caller) -> tuple[list[Entry], str]:
        """One page of an account's entries, highest sequence first, and the token of the next.

        Raises:
            NotFound: The account is absent, or not the caller's to see.
            InvalidPageToken: Not of this account and caller.
        """
        await self.get(account_id, caller)
        scope = ("entries", str(caller.user_id), str(account_id))
        position = self._page_tokens.read(scope, page.token)
        async with self._database.connection() as connection:
            rows = await entry_queries.list_entries(
                connection,
                account_id=account_id,
                before_sequence=int(position[0]) if position else _SEQUENCE_MAX,
                page_size=page.size + 1,
            )
        return self._page_tokens.cut(scope, rows, page.size, lambda row: [str(row.sequence)])
