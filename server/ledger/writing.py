"""The SQL side of a batch: lock, read, decide, write, inside a transaction the caller owns."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import requests as request_queries
from bankdb import transfers as transfer_queries

from server.database import Connection
from server.ledger.movements import Movement, Posted
from server.ledger.posting import Account, Context, Evaluation, evaluate


class AccountsChanged(Exception):
    """Fewer accounts were updated than were locked: a defect, never a refusal."""


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
    accounts = await lock_accounts(connection, account_ids(movements))
    evaluation = await decide(connection, movements, accounts)
    await write(connection, evaluation.posted, accounts.values())
    return evaluation


def account_ids(movements: Iterable[Movement]) -> list[UUID]:
    """Every account the movements name, once."""
    ids = set()
    for movement in movements:
        ids.add(movement.source_id)
        ids.add(movement.destination_id)
    return list(ids)


async def lock_accounts(connection: Connection, ids: Sequence[UUID]) -> dict[UUID, Account]:
    """Lock accounts in id order and return their fresh state; unknown ids are left out."""
    rows = await account_queries.lock_accounts(connection, ids=list(ids))
    return {row.id: _account(row) for row in rows}


async def lock_free_accounts(connection: Connection, ids: Sequence[UUID]) -> tuple[dict[UUID, Account], set[UUID]]:
    """Lock what can be locked without waiting.

    Returns:
        The locked accounts, and the ids of those that somebody else has locked.
    """
    rows = await account_queries.lock_free_accounts(connection, ids=list(ids))
    locked = {row.id: _account(row) for row in rows}
    rest = [account_id for account_id in ids if account_id not in locked]
    blocked = await account_queries.list_existing_account_ids(connection, ids=rest) if rest else []
    return locked, set(blocked)


def _account(row: account_queries.LockAccountsRow | account_queries.LockFreeAccountsRow) -> Account:
    return Account(
        row.id,
        row.kind,
        row.owner_user_id,
        row.currency_code,
        row.state,
        row.posted_minor,
        row.held_minor,
        row.overdraft_limit_minor,
        row.entry_count,
        row.last_entry_time,
    )


async def decide(connection: Connection, movements: Sequence[Movement], accounts: dict[UUID, Account]) -> Evaluation:
    """Read, in a statement that begins after the locks were taken, what the rules need; apply them."""
    rows = await request_queries.list_movement_contexts(
        connection,
        ordinals=list(range(len(movements))),
        session_ids=[movement.session_id for movement in movements],
        user_ids=[movement.user_id for movement in movements],
        request_ids=[movement.request_id for movement in movements],
        refs=[movement.reference for movement in movements],
    )
    contexts = {
        row.ordinal: Context(
            row.session_live,
            row.user_disabled,
            row.email_verified,
            row.roles,
            row.request_rpc,
            row.request_fingerprint,
            row.request_result_id,
            row.reference_taken,
            row.now,
        )
        for row in rows
    }
    return evaluate(movements, accounts, [contexts[ordinal] for ordinal in range(len(movements))])


async def write(connection: Connection, posted: Sequence[Posted], accounts: Iterable[Account]) -> None:
    """Write transfers, entries, requests, events and the final state of each changed account."""
    if not posted:
        return
    movements = [each.movement for each in posted]
    changed = [account for account in accounts if account.changed]
    updated = await transfer_queries.insert_postings(
        connection,
        ids=[each.transfer_id for each in posted],
        kinds=[movement.kind for movement in movements],
        source_account_ids=[movement.source_id for movement in movements],
        destination_account_ids=[movement.destination_id for movement in movements],
        amounts_minor=[movement.amount_minor for movement in movements],
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
        account_ids=[account.id for account in changed],
        accounts_posted_minor=[account.posted_minor for account in changed],
        accounts_entry_count=[account.entry_count for account in changed],
        accounts_last_entry_time=[account.last_entry_time for account in changed],
    )
    if updated != len(changed):
        raise AccountsChanged(f"{updated} of {len(changed)} accounts were updated")
