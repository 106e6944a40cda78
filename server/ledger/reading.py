"""What a batch reads: the accounts behind holds and originals, then, after the locks, everything else."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import holds as hold_queries
from bankdb import requests as request_queries
from bankdb import transfers as transfer_queries
from bankdb.models import Hold as HoldRow

from server.database import Connection
from server.ledger.movements import Kind, Movement
from server.ledger.rules import PENDING_HOLDS_MAX
from server.ledger.state import Account, Books, Context, Hold, Original

_OF_HOLD = (Kind.CAPTURE, Kind.VOID)


async def resolve(connection: Connection, movements: Sequence[Movement]) -> tuple[list[Movement], Books]:
    """Look up the accounts behind the holds and transfers that movements name.

    Only what never changes is read: this comes before the locks.

    Returns:
        The movements with their accounts, and books with the originals of reversals.
    """
    books = Books()
    hold_ids = [m.subject_id for m in movements if m.kind in _OF_HOLD]
    original_ids = [m.subject_id for m in movements if m.kind is Kind.REVERSAL]
    sides: dict[UUID | None, tuple[UUID, UUID, str]] = {}
    if hold_ids:
        for hold in await hold_queries.list_hold_accounts(connection, ids=hold_ids):
            sides[hold.id] = (hold.source_account_id, hold.destination_account_id, hold.currency_code)
    if original_ids:
        for row in await transfer_queries.list_originals(connection, ids=original_ids):
            # The money goes back: the original's destination is debited.
            sides[row.id] = (row.destination_account_id, row.source_account_id, row.currency_code)
            books.originals[row.id] = Original(*row)
    if not sides:
        return list(movements), books
    return [_with_sides(movement, sides) for movement in movements], books


def _with_sides(movement: Movement, sides: dict[UUID | None, tuple[UUID, UUID, str]]) -> Movement:
    found = sides.get(movement.subject_id) if movement.subject_id else None
    if found is None:
        return movement
    source_id, destination_id, currency_code = found
    return movement._replace(source_id=source_id, destination_id=destination_id, currency_code=currency_code)


def account_ids(movements: Iterable[Movement]) -> list[UUID]:
    """Every account the movements name, once."""
    ids = set()
    for movement in movements:
        ids.add(movement.source_id)
        ids.add(movement.destination_id)
    return list(ids)


async def lock_accounts(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Account]:
    """Lock accounts in id order and return their fresh state; unknown ids are left out.

    Raises:
        asyncpg.LockNotAvailableError: One stayed locked for longer than lock_timeout.
    """
    rows = await account_queries.lock_accounts(connection, ids=ids)
    return {row.id: _account(row) for row in rows}


async def lock_free_accounts(connection: Connection, ids: Sequence[UUID]) -> tuple[dict[UUID, Account], set[UUID]]:
    """Lock what can be locked without waiting.

    Returns:
        The locked accounts, and the ids of those that somebody else has locked.
    """
    rows = await account_queries.lock_free_accounts(connection, ids=ids)
    locked = {row.id: _account(row) for row in rows}
    rest = [account_id for account_id in ids if account_id not in locked]
    blocked = await account_queries.list_existing_account_ids(connection, ids=rest) if rest else []
    return locked, set(blocked)


def _account(row: account_queries.LockAccountsRow | account_queries.LockFreeAccountsRow) -> Account:
    return Account(*row)


async def read_contexts(connection: Connection, movements: Sequence[Movement]) -> list[Context]:
    """What the rules need of each movement; a statement that begins after the locks were taken."""
    callers = list({(movement.session_id, movement.user_id) for movement in movements})
    rows = await request_queries.list_movement_contexts(
        connection,
        session_ids=[session_id for session_id, _ in callers],
        user_ids=[user_id for _, user_id in callers],
        ordinals=range(len(movements)),
        request_user_ids=[movement.user_id for movement in movements],
        request_ids=[movement.request_id for movement in movements],
        refs=[movement.reference for movement in movements],
    )
    now = next(row.now for row in rows if row.ordinal is None)
    of_caller: dict[tuple[UUID | None, UUID], Context] = {
        (row.session_id, row.user_id): Context(row.session_live, row.user_disabled, row.email_verified, row.roles, now)
        for row in rows
        if row.ordinal is None
    }
    contexts = [of_caller[movement.session_id, movement.user_id] for movement in movements]
    for row in rows:
        if row.ordinal is not None:
            contexts[row.ordinal] = contexts[row.ordinal]._replace(
                request_rpc=row.request_rpc,
                request_fingerprint=row.request_fingerprint,
                request_result_id=row.request_result_id,
                reference_taken=row.reference_taken,
            )
    return contexts


async def read_books(connection: Connection, books: Books, movements: Sequence[Movement], now: datetime) -> None:
    """Add holds and reversed totals, under the locks; asks nothing where there is nothing to ask for."""
    hold_ids = [movement.subject_id for movement in movements if movement.kind in _OF_HOLD]
    holding = [account.id for account in books.accounts.values() if account.held_minor]
    if hold_ids or holding:
        rows = await hold_queries.list_holds_for_posting(connection, ids=hold_ids, account_ids=holding, now=now)
        books.holds = {row.id: _hold(row) for row in rows if row.source_account_id in books.accounts}
    await _count_pending_holds(connection, books, movements, now)
    await _read_reversed_totals(connection, books)


async def _count_pending_holds(
    connection: Connection, books: Books, movements: Sequence[Movement], now: datetime
) -> None:
    source_ids = {movement.source_id for movement in movements if movement.kind is Kind.HOLD}
    ids = [each for each in source_ids if each in books.accounts and books.accounts[each].held_minor]
    if ids:
        for row in await hold_queries.count_pending_holds(connection, account_ids=ids, now=now, most=PENDING_HOLDS_MAX):
            books.accounts[row.account_id].pending_hold_count = row.hold_count


async def _read_reversed_totals(connection: Connection, books: Books) -> None:
    ids: Collection[UUID] = books.originals.keys()
    if ids:
        for row in await transfer_queries.list_reversed_totals(connection, ids=list(ids)):
            books.originals[row.transfer_id].reversed_minor = row.amount_minor


def _hold(row: HoldRow) -> Hold:
    return Hold(
        row.id,
        row.source_account_id,
        row.destination_account_id,
        row.amount_minor,
        row.currency_code,
        row.state,
        row.expire_time,
        row.create_time,
        row.captured_amount_minor,
        row.capture_transfer_id,
        order_id=row.order_id,
    )
