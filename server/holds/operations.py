"""What can be read of holds; placing and settling them is the ledger's."""

from dataclasses import dataclass
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import holds as hold_queries
from bankdb.holds import GetHoldRow, ListAllHoldsRow, ListHoldsOfAccountsRow

from server.accounts.visible import visible_account
from server.caller import Caller
from server.clock import read_clock
from server.database import Database
from server.errors import NotFound
from server.page_token import PageTokens

Rows = list[ListAllHoldsRow] | list[ListHoldsOfAccountsRow]


@dataclass(frozen=True, slots=True)
class HoldFilter:
    """What ListHolds is asked for.

    Attributes:
        account_id: Only on or in favour of this account; None: of all the caller may see.
        state: As stored; None: any.
    """

    account_id: UUID | None
    state: str | None
    page_size: int
    page_token: str


class HoldReader:
    """Reads holds as far as a caller may see them."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def get(self, hold_id: UUID, caller: Caller) -> GetHoldRow:
        """One hold.

        Raises:
            NotFound: Absent, or the caller is no party to it, banker or admin.
        """
        row = await self.settled(hold_id)
        if row is None or not (
            caller.reads_everything or caller.user_id in (row.source_user_id, row.destination_user_id)
        ):
            raise NotFound("hold", hold_id)
        return row

    async def settled(self, hold_id: UUID) -> GetHoldRow | None:
        """A hold that the ledger has just let the caller change."""
        async with self._database.connection() as connection:
            return await hold_queries.get_hold(connection, id=hold_id)

    async def page(self, wanted: HoldFilter, caller: Caller) -> tuple[Rows, str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list, filter and caller.
            NotFound: The account is not the caller's to see.
        """
        scope = ("holds", str(caller.user_id), str(wanted.account_id), str(wanted.state))
        before_id = self._page_tokens.before_id(scope, wanted.page_token)
        async with self._database.connection() as connection:
            now = await read_clock(connection)
            if wanted.account_id is None and caller.reads_everything:
                everyones = await hold_queries.list_all_holds(
                    connection, before_id=before_id, now=now, state=wanted.state, page_size=wanted.page_size + 1
                )
                return self._page_tokens.cut(scope, everyones, wanted.page_size, lambda row: [str(row.id)])
            if wanted.account_id is None:
                ids = await account_queries.list_account_ids_of_user(connection, owner_user_id=caller.user_id)
            else:
                ids = [(await visible_account(connection, wanted.account_id, caller)).id]
            rows = await hold_queries.list_holds_of_accounts(
                connection,
                account_ids=ids,
                before_id=before_id,
                now=now,
                state=wanted.state,
                page_size=wanted.page_size + 1,
            )
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.id)])
