"""Balances at an instant and statements: what was booked in a range of time, between two balances.

Entries are only ever added at the end, so a range of sequences, once looked up, says the same for
ever. Pages and pieces of a statement are read one by one with that range, without a snapshot that
would stay open as long as the slowest reader.
"""

from collections.abc import AsyncIterator
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import entries as entry_queries
from bankdb.accounts import GetAccountRow
from bankdb.entries import ListStatementLinesRow
from bankdb.models import Entry

from server.accounts.operations import Accounts, Page
from server.accounts.visible import visible_account
from server.caller import Caller
from server.clock import read_clock
from server.database import Connection, Database
from server.page_token import PageTokens
from server.sessions.callers import CallerStates
from server.timestamps import LATEST

LINES_AT_ONCE = 500
"""How many entries a piece of an export has: what it needs in memory."""
_INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account has, or had at an instant. Amounts in minor units.

    Attributes:
        held_minor: None for an instant of the past, like `available_minor`.
    """

    account_id: UUID
    currency_code: str
    posted_minor: int
    held_minor: int | None
    available_minor: int | None
    sequence: int
    at_time: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """Of which account and range of time a statement is: from `start_time` to before `end_time`."""

    account_id: UUID
    start_time: datetime
    end_time: datetime


@dataclass(frozen=True, slots=True)
class Range:
    """The entries of a statement, and what they come to. Amounts in minor units.

    Attributes:
        before_sequence: The one before the first; 0 if that is the account's first.
        last_sequence: The last one.
    """

    before_sequence: int
    last_sequence: int
    opening_balance_minor: int
    closing_balance_minor: int
    credited_minor: int
    debited_minor: int

    @property
    def entry_count(self) -> int:
        """Sequences have no gaps."""
        return self.last_sequence - self.before_sequence


@dataclass(frozen=True, slots=True)
class StatementPage:
    """A part of a statement; the range is that of the whole."""

    currency_code: str
    range: Range
    entries: list[Entry]
    next_page_token: str


class Statements:
    """Reads balances and statements as far as a caller may.

    Args:
        database: Where entries are.
        accounts: Tells what a caller may see.
        page_tokens: For pages of statements.
        callers: Asked again while a statement is read on.
    """

    def __init__(self, database: Database, accounts: Accounts, page_tokens: PageTokens, callers: CallerStates) -> None:
        self._database = database
        self._accounts = accounts
        self._page_tokens = page_tokens
        self._callers = callers

    async def balance(self, account_id: UUID, at_time: datetime | None, caller: Caller) -> Balance:
        """The balance after every entry posted at `at_time` or before; None is now.

        Raises:
            NotFound: Absent, or not the caller's to see.
        """
        account = await self._accounts.get(account_id, caller)
        async with self._database.connection() as connection:
            if at_time is None:
                return await _balance_now(connection, account_id)
            row = await account_queries.get_balance_at(
                connection, id=account_id, before_time=min(at_time, LATEST - _INSTANT) + _INSTANT
            )
        assert row is not None  # accounts are never deleted
        return Balance(account_id, account.currency_code, row.posted_minor, None, None, row.sequence, at_time)

    async def page(self, period: Period, page: Page, caller: Caller) -> StatementPage:
        """One page of a statement, oldest first.

        Raises:
            NotFound: The account is absent, or not the caller's to see.
            InvalidPageToken: Not of this statement and caller.
        """
        account = await self._accounts.get(period.account_id, caller)
        scope = ("statement", str(caller.user_id), *(str(value) for value in astuple(period)))
        position = self._page_tokens.read(scope, page.token)
        async with self._database.connection() as connection:
            if position is None:
                found = await _range(connection, period)
                after_sequence = found.before_sequence
            else:
                after_sequence, *values = map(int, position)
                found = Range(*values)
            rows = await entry_queries.list_statement_entries(
                connection,
                account_id=period.account_id,
                after_sequence=after_sequence,
                last_sequence=found.last_sequence,
                page_size=page.size + 1,
            )
        entries, token = self._page_tokens.cut(
            scope, rows, page.size, lambda row: [str(row.sequence), *(str(value) for value in astuple(found))]
        )
        return StatementPage(account.currency_code, found, entries, token)

    async def open(self, period: Period, caller: Caller) -> tuple[GetAccountRow, Range]:
        """The account and the range of a statement, for `lines`.

        Raises:
            NotFound: The account is absent, or not the caller's to see.
        """
        account = await self._accounts.get(period.account_id, caller)
        async with self._database.connection() as connection:
            return account, await _range(connection, period)

    async def lines(self, account_id: UUID, of: Range, caller: Caller) -> AsyncIterator[list[ListStatementLinesRow]]:
        """The entries of a range, oldest first, some at a time; no connection is held in between.

        Before each piece it is asked again whether the caller may read it: a slow reader takes minutes.

        Raises:
            SessionRevoked: The session has ended meanwhile.
            Unauthenticated: The user was disabled meanwhile.
            NotFound: The account is not the caller's to see any more.
        """
        after_sequence = of.before_sequence
        while after_sequence < of.last_sequence:
            caller = await self._callers.read(caller.session_id, caller.user_id)
            async with self._database.connection() as connection:
                await visible_account(connection, account_id, caller)
                rows = await entry_queries.list_statement_lines(
                    connection,
                    account_id=account_id,
                    after_sequence=after_sequence,
                    last_sequence=of.last_sequence,
                    page_size=LINES_AT_ONCE,
                )
            yield rows
            after_sequence = rows[-1].sequence


async def _balance_now(connection: Connection, account_id: UUID) -> Balance:
    now = await read_clock(connection)
    account = await account_queries.get_account(connection, id=account_id)
    assert account is not None  # accounts are never deleted
    held_minor = account.held_minor - account.overdue_minor
    return Balance(
        account_id,
        account.currency_code,
        account.posted_minor,
        held_minor,
        account.posted_minor - held_minor + account.overdraft_limit_minor,
        account.entry_count,
        now,
    )


async def _range(connection: Connection, period: Period) -> Range:
    bounds = await entry_queries.get_statement_range(
        connection, account_id=period.account_id, start_time=period.start_time, end_time=period.end_time
    )
    assert bounds is not None  # a SELECT of functions has one row
    totals = await entry_queries.get_statement_totals(
        connection,
        account_id=period.account_id,
        before_sequence=bounds.before_sequence,
        last_sequence=bounds.last_sequence,
    )
    assert totals is not None  # an aggregate has one row
    return Range(
        bounds.before_sequence,
        bounds.last_sequence,
        totals.opening_balance_minor,
        totals.closing_balance_minor,
        totals.credited_minor,
        totals.debited_minor,
    )
