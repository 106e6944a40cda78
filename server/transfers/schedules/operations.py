"""What can be done with transfers that shall be made later; the worker executes them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bankdb import scheduled_transfers as queries
from bankdb.models import ScheduledTransfer

from server.accounts.visible import visible_account
from server.caller import Caller
from server.clock import read_clock
from server.database import Connection, Database
from server.errors import FieldViolation, Forbidden, InvalidRequest, NotFound
from server.ledger import rules
from server.ledger.movements import Movement
from server.ledger.reading import account_ids, lock_accounts, read_contexts
from server.ledger.time_ordered_ids import time_ordered_id
from server.page_token import PageTokens
from server.request_ids import Request, claim
from server.transfers.schedules.errors import ScheduleNotPending

EXECUTE_TIME_MAX = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A transfer to make later, already parsed.

    Attributes:
        movement: What shall be posted, under the request id of the call that schedules it.
        execute_time: When.
    """

    movement: Movement
    execute_time: datetime


@dataclass(frozen=True, slots=True)
class ScheduleFilter:
    """What ListScheduledTransfers is asked for.

    Attributes:
        account_id: Only from this account, or for who reads everything also to it; None: any.
        state: As stored; None: any.
    """

    account_id: UUID | None
    state: str | None
    page_size: int
    page_token: str


class Schedules:
    """Stores, shows and cancels scheduled transfers as far as a caller may."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def create(self, new: NewSchedule) -> tuple[ScheduledTransfer, bool]:
        """Store a scheduled transfer, at most once per request id.

        Both accounts are locked meanwhile, as for posting: none is closed or frozen in between,
        and a caller who is disabled or signed out has no say any more.

        Returns:
            The scheduled transfer as it is now, and whether an earlier call had stored it.

        Raises:
            SessionRevoked, Unauthenticated, EmailNotVerified: The caller moves no money now.
            RequestIdReused: The request id stands for another call.
            NotFound: An account does not exist, or the source is not the caller's.
            AccountClosed, AccountFrozen: As for posting.
            CurrencyMismatch: An account is in another currency.
            InvalidRequest: It is not due after now and within EXECUTE_TIME_MAX.
            asyncpg.LockNotAvailableError: An account stayed locked for too long.
        """
        return await self._database.transaction(lambda connection: _create(connection, new))

    async def get(self, scheduled_transfer_id: UUID, caller: Caller) -> ScheduledTransfer:
        """One scheduled transfer.

        Raises:
            NotFound: Absent, or not the caller's to see.
        """
        async with self._database.connection() as connection:
            return _seen(
                await queries.get_scheduled_transfer(connection, id=scheduled_transfer_id),
                scheduled_transfer_id,
                caller,
            )

    async def cancel(self, scheduled_transfer_id: UUID, caller: Caller) -> ScheduledTransfer:
        """Call off one that is not due; one that was called off stays as it is.

        Raises:
            NotFound: Absent, or not the caller's to see.
            Forbidden: The caller does not own the source.
            ScheduleNotPending: It is due, posted or failed.
            asyncpg.LockNotAvailableError: It is being executed, and that takes too long.
        """

        async def work(connection: Connection) -> ScheduledTransfer:
            row = _seen(
                await queries.lock_scheduled_transfer(connection, id=scheduled_transfer_id),
                scheduled_transfer_id,
                caller,
            )
            if row.creator_user_id != caller.user_id:
                raise Forbidden("only the owner of the source account cancels a scheduled transfer")
            if row.state == "CANCELED":
                return row
            now = await read_clock(connection)
            if row.state != "SCHEDULED" or row.execute_time <= now:
                raise ScheduleNotPending(row.id, row.state)
            canceled = await queries.mark_scheduled_transfer_canceled(connection, id=row.id)
            assert canceled is not None  # it is locked
            return canceled

        return await self._database.transaction(work)

    async def page(self, wanted: ScheduleFilter, caller: Caller) -> tuple[list[ScheduledTransfer], str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list, filter and caller.
            NotFound: The account is not the caller's to see.
        """
        scope = ("scheduled_transfers", str(caller.user_id), str(wanted.account_id), str(wanted.state))
        before_id = self._page_tokens.before_id(scope, wanted.page_token)
        async with self._database.connection() as connection:
            rows = await _list(connection, wanted, before_id, caller)
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.id)])


async def _create(connection: Connection, new: NewSchedule) -> tuple[ScheduledTransfer, bool]:
    movement = new.movement
    accounts = await lock_accounts(connection, account_ids([movement]))
    [context] = await read_contexts(connection, [movement])
    refusal = rules.refusal_of_caller(movement, context)
    if refusal is not None:
        raise refusal
    schedule_id = time_ordered_id(context.now, 0)
    request = Request(movement.user_id, movement.request_id, movement.rpc, movement.fingerprint)
    # Waits for another call with the same id and other accounts; undone if this one is refused.
    earlier_id = await claim(connection, request, schedule_id)
    if earlier_id is not None:
        earlier = await queries.get_scheduled_transfer(connection, id=earlier_id)
        assert earlier is not None  # its request row was written with it
        return earlier, True
    source, destination = accounts.get(movement.source_id), accounts.get(movement.destination_id)
    refusal = rules.refusal_of_ownership(movement, source, destination)
    if refusal is None:
        assert source is not None  # the check has looked
        assert destination is not None
        refusal = rules.refusal_of_states(source, destination) or rules.refusal_of_currencies(
            movement, source, destination
        )
    if refusal is not None:
        raise refusal
    if not context.now < new.execute_time <= context.now + EXECUTE_TIME_MAX:
        raise InvalidRequest(
            [FieldViolation("execute_time", f"must be after now and within {EXECUTE_TIME_MAX.days} days")]
        )
    assert movement.amount_minor is not None  # a transfer says how much
    row = await queries.insert_scheduled_transfer(
        connection,
        id=schedule_id,
        creator_user_id=movement.user_id,
        source_account_id=movement.source_id,
        destination_account_id=movement.destination_id,
        amount_minor=movement.amount_minor,
        currency_code=movement.currency_code,
        description=movement.description,
        reference=movement.reference,
        execute_time=new.execute_time,
        create_time=context.now,
    )
    assert row is not None  # RETURNING
    return row, False


async def _list(
    connection: Connection, wanted: ScheduleFilter, before_id: UUID, caller: Caller
) -> list[ScheduledTransfer]:
    size = wanted.page_size + 1
    if wanted.account_id is not None:
        await visible_account(connection, wanted.account_id, caller)
        return await queries.list_scheduled_transfers_of_account(
            connection,
            account_id=wanted.account_id,
            before_id=before_id,
            state=wanted.state,
            # What others intend to send is theirs until it is sent.
            with_incoming=caller.reads_everything,
            page_size=size,
        )
    if caller.reads_everything:
        return await queries.list_all_scheduled_transfers(
            connection, before_id=before_id, state=wanted.state, page_size=size
        )
    return await queries.list_scheduled_transfers_of_user(
        connection, creator_user_id=caller.user_id, before_id=before_id, state=wanted.state, page_size=size
    )


def _seen(row: ScheduledTransfer | None, scheduled_transfer_id: UUID, caller: Caller) -> ScheduledTransfer:
    if row is None or not (caller.reads_everything or row.creator_user_id == caller.user_id):
        raise NotFound("scheduled_transfer", scheduled_transfer_id)
    return row
