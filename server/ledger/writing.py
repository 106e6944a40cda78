"""A batch inside a transaction the caller owns: look up, lock, read, decide, write."""

from collections.abc import Collection, Sequence
from uuid import UUID

from bankdb import holds as hold_queries
from bankdb import transfers as transfer_queries

from server.clock import read_clock
from server.database import Connection
from server.ledger.movements import Kind, Movement, Posted
from server.ledger.posting import Evaluation, evaluate, release_overdue
from server.ledger.reading import account_ids, lock_accounts, read_books, read_contexts, resolve
from server.ledger.state import Account, Books, Hold


class RowsChanged(Exception):
    """Fewer rows were updated than were locked: a defect, never a refusal."""


async def post(connection: Connection, movements: Sequence[Movement]) -> Evaluation:
    """Post movements within the caller's transaction, at READ COMMITTED.

    Nothing may be locked after an account but rows that belong to it, so lock orders and
    products before. The caller commits, or rolls everything back.

    Args:
        connection: In a transaction.
        movements: Decided in this order.

    Returns:
        One outcome for each movement; refusals are outcomes and write nothing.

    Raises:
        asyncpg.LockNotAvailableError: An account stayed locked for longer than lock_timeout.
        asyncpg.UniqueViolationError: Another transaction used a request id or reference first.
    """
    movements, books = await resolve(connection, movements)
    books.accounts = await lock_accounts(connection, account_ids(movements))
    evaluation = await decide(connection, movements, books)
    await write(connection, evaluation, books)
    return evaluation


async def release_overdue_holds(connection: Connection, ids: Collection[UUID]) -> int:
    """Expire the overdue holds of these accounts within the caller's transaction.

    Returns:
        How many there were.
    """
    books = Books(accounts=await lock_accounts(connection, list(ids)))
    now = await read_clock(connection)
    await read_books(connection, books, [], now)
    release_overdue(books, now)
    await write(connection, Evaluation(), books)
    return sum(hold.settle_time is not None for hold in books.holds.values())


async def decide(connection: Connection, movements: Sequence[Movement], books: Books) -> Evaluation:
    """Read, in statements that begin after the locks were taken, what the rules need; apply them."""
    if not movements:
        return Evaluation()
    contexts = await read_contexts(connection, movements)
    now = contexts[0].now
    await read_books(connection, books, movements, now)
    release_overdue(books, now)
    return evaluate(movements, books, contexts)


async def write(connection: Connection, evaluation: Evaluation, books: Books) -> None:
    """Write everything that changed, one final write for each row."""
    changed = [account for account in books.accounts.values() if account.changed]
    if not changed:
        return
    if evaluation.placed:
        await _insert_holds(connection, evaluation.placed, books)
    await _insert_postings(connection, evaluation.posted, changed)
    settled = [hold for hold in books.holds.values() if hold.settle_time is not None]
    if settled:
        await _update_holds(connection, settled)
    reversed_ones = [original for original in books.originals.values() if original.changed]
    if reversed_ones:
        await transfer_queries.set_reversed_totals(
            connection,
            ids=[original.id for original in reversed_ones],
            amounts_minor=[original.reversed_minor for original in reversed_ones],
        )


async def _insert_postings(connection: Connection, posted: Sequence[Posted], changed: Sequence[Account]) -> None:
    movements = [each.movement for each in posted]
    updated = await transfer_queries.insert_postings(
        connection,
        ids=[each.transfer_id for each in posted],
        kinds=[movement.kind for movement in movements],
        source_account_ids=[movement.source_id for movement in movements],
        destination_account_ids=[movement.destination_id for movement in movements],
        amounts_minor=[each.amount_minor for each in posted],
        currency_codes=[movement.currency_code for movement in movements],
        initiator_user_ids=[movement.user_id for movement in movements],
        request_ids=[movement.request_id for movement in movements],
        rpcs=[movement.rpc for movement in movements],
        fingerprints=[movement.fingerprint for movement in movements],
        descriptions=[movement.description for movement in movements],
        refs=[movement.reference for movement in movements],
        metadatas=[movement.metadata for movement in movements],
        source_sequences=[each.source_sequence for each in posted],
        source_balances_minor=[each.source_balance_minor for each in posted],
        source_user_ids=[each.source_user_id for each in posted],
        destination_sequences=[each.destination_sequence for each in posted],
        destination_balances_minor=[each.destination_balance_minor for each in posted],
        destination_user_ids=[each.destination_user_id for each in posted],
        create_times=[each.create_time for each in posted],
        hold_ids=[movement.subject_id if movement.kind is Kind.CAPTURE else None for movement in movements],
        reverses_transfer_ids=[
            movement.subject_id if movement.kind is Kind.REVERSAL else None for movement in movements
        ],
        order_ids=[movement.order_id for movement in movements],
        account_ids=[account.id for account in changed],
        accounts_posted_minor=[account.posted_minor for account in changed],
        accounts_held_minor=[account.held_minor for account in changed],
        accounts_entry_count=[account.entry_count for account in changed],
        accounts_last_entry_time=[account.last_entry_time for account in changed],
    )
    if updated != len(changed):
        raise RowsChanged(f"{updated} of {len(changed)} accounts were updated")


async def _insert_holds(connection: Connection, placed: Sequence[tuple[Movement, Hold]], books: Books) -> None:
    await hold_queries.insert_holds(
        connection,
        ids=[hold.id for _, hold in placed],
        source_account_ids=[hold.source_id for _, hold in placed],
        destination_account_ids=[hold.destination_id for _, hold in placed],
        amounts_minor=[hold.amount_minor for _, hold in placed],
        currency_codes=[hold.currency_code for _, hold in placed],
        creator_user_ids=[movement.user_id for movement, _ in placed],
        counterparty_user_ids=[books.accounts[hold.destination_id].owner_user_id for _, hold in placed],
        request_ids=[movement.request_id for movement, _ in placed],
        rpcs=[movement.rpc for movement, _ in placed],
        fingerprints=[movement.fingerprint for movement, _ in placed],
        order_ids=[hold.order_id for _, hold in placed],
        expire_times=[hold.expire_time for _, hold in placed],
        create_times=[hold.create_time for _, hold in placed],
    )


async def _update_holds(connection: Connection, settled: Sequence[Hold]) -> None:
    updated = await hold_queries.update_holds(
        connection,
        ids=[hold.id for hold in settled],
        states=[hold.state for hold in settled],
        captured_amounts_minor=[hold.captured_amount_minor for hold in settled],
        capture_transfer_ids=[hold.capture_transfer_id for hold in settled],
        update_times=[hold.settle_time for hold in settled],
    )
    if updated != len(settled):
        raise RowsChanged(f"{updated} of {len(settled)} holds were pending")
