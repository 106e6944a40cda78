"""What can be done with transfers."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import entries as entry_queries
from bankdb import transfers as transfer_queries
from bankdb.models import Entry
from bankdb.transfers import (
    GetTransferByReferenceRow,
    GetTransferRow,
    ListAllTransfersRow,
    ListTransfersByIdsRow,
    ListTransfersByLabelRow,
    ListTransfersOfAccountsRow,
)

from server.accounts.visible import visible_account
from server.caller import Caller
from server.database import Connection, Database
from server.errors import BankError, NotFound
from server.ledger.batches import Batches
from server.ledger.movements import Movement, Outcome
from server.ledger.time_ordered_ids import first_id_at
from server.page_token import LAST_ID, PageTokens
from server.timestamps import LATEST

_SEQUENCE_MAX = 2**63 - 1
_MILLISECOND = timedelta(milliseconds=1)

Rows = (
    list[GetTransferByReferenceRow]
    | list[ListAllTransfersRow]
    | list[ListTransfersByLabelRow]
    | list[ListTransfersOfAccountsRow]
)


@dataclass(frozen=True, slots=True)
class TransferFilter:
    """What ListTransfers is asked for.

    Attributes:
        account_id: Only this account's; None: of all accounts the caller may see.
        start_time: First instant of the range.
        end_time: First instant after the range.
        kind: As stored; None: any.
        reference: The caller's own; None: any.
        label: Key and value of a label; the caller's own, or for bankers and admins anyone's.
    """

    account_id: UUID | None
    start_time: datetime
    end_time: datetime
    kind: str | None
    reference: str | None
    page_size: int
    page_token: str
    label: tuple[str, str] | None = None

    def scope(self, caller: Caller) -> tuple[str, ...]:
        """What a page token of this list is bound to."""
        filters = (self.account_id, self.start_time, self.end_time, self.kind, self.reference, self.label)
        return ("transfers", str(caller.user_id), *(str(value) for value in filters))


@dataclass(frozen=True, slots=True)
class TransferBatch:
    """Transfers to post together.

    Attributes:
        items: Parsed, or, in a batch that is not atomic, why an item could not be.
        atomic: All or nothing.
    """

    items: list[Movement | BankError]
    atomic: bool


async def post_batch(batches: Batches, batch: TransferBatch) -> list[Outcome]:
    """Post what could be parsed; one outcome for each item, in order.

    Raises:
        BankError: See `Batches.post`.
    """
    movements = [item for item in batch.items if isinstance(item, Movement)]
    posted = iter(await batches.post(movements, atomic=batch.atomic) if movements else [])
    return [next(posted) if isinstance(item, Movement) else item for item in batch.items]


class TransferReader:
    """Reads transfers as far as a caller may see them."""

    def __init__(self, database: Database, page_tokens: PageTokens) -> None:
        self._database = database
        self._page_tokens = page_tokens

    async def get(self, transfer_id: UUID, caller: Caller) -> GetTransferRow:
        """One transfer.

        Raises:
            NotFound: Absent, or the caller is no party to it, banker or admin.
        """
        async with self._database.connection() as connection:
            row = await transfer_queries.get_transfer(connection, id=transfer_id)
        if row is None or not (
            caller.reads_everything or caller.user_id in (row.source_user_id, row.destination_user_id)
        ):
            raise NotFound("transfer", transfer_id)
        return row

    async def replayed(self, transfer_id: UUID, caller: Caller) -> tuple[GetTransferRow, list[Entry]]:
        """A transfer that the caller made, and the caller's own entries of it."""
        async with self._database.connection() as connection:
            row = await transfer_queries.get_transfer(connection, id=transfer_id)
            assert row is not None  # its request row was written with it
            entries = await entry_queries.list_entries_of_transfer(
                connection, transfer_id=transfer_id, owner_user_id=caller.user_id
            )
        return row, entries

    async def by_ids(self, ids: Iterable[UUID]) -> dict[UUID, ListTransfersByIdsRow]:
        """Transfers that the caller made, by id."""
        wanted = list(ids)
        if not wanted:
            return {}
        async with self._database.connection() as connection:
            rows = await transfer_queries.list_transfers_by_ids(connection, ids=wanted)
        return {row.id: row for row in rows}

    async def page(self, wanted: TransferFilter, caller: Caller) -> tuple[Rows, str]:
        """One page, newest first, and the token of the next.

        Raises:
            InvalidPageToken: Not of this list, filter and caller.
            NotFound: The account is not the caller's to see.
        """
        scope = wanted.scope(caller)
        async with self._database.connection() as connection:
            if wanted.account_id is not None:
                await visible_account(connection, wanted.account_id, caller)
            if wanted.reference is not None:
                self._page_tokens.read(scope, wanted.page_token)  # this list has one page, so no token is good
                return await self._by_reference(connection, wanted, caller), ""
            if wanted.label is not None:
                return await self._by_label(connection, wanted, wanted.label, caller)
            if wanted.account_id is None and caller.reads_everything:
                return await self._everyones(connection, wanted, scope)
            account_ids = (
                [wanted.account_id]
                if wanted.account_id is not None
                else await account_queries.list_account_ids_of_user(connection, owner_user_id=caller.user_id)
            )
            return await self._of_accounts(connection, wanted, account_ids, scope)

    @staticmethod
    async def _by_reference(
        connection: Connection, wanted: TransferFilter, caller: Caller
    ) -> list[GetTransferByReferenceRow]:
        assert wanted.reference is not None  # the caller of this has looked
        row = await transfer_queries.get_transfer_by_reference(
            connection, initiator_user_id=caller.user_id, ref=wanted.reference
        )
        fits = (
            row is not None
            and wanted.start_time <= row.create_time < wanted.end_time
            and wanted.kind in (None, row.kind)
            and wanted.account_id in (None, row.source_account_id, row.destination_account_id)
            and (wanted.label is None or wanted.label in json.loads(row.metadata or "{}").items())
        )
        return [row] if row is not None and fits else []

    async def _by_label(
        self, connection: Connection, wanted: TransferFilter, label: tuple[str, str], caller: Caller
    ) -> tuple[list[ListTransfersByLabelRow], str]:
        scope = wanted.scope(caller)
        rows = await transfer_queries.list_transfers_by_label(
            connection,
            label_key=label[0],
            label_value=label[1],
            initiator_user_id=None if caller.reads_everything else caller.user_id,
            account_id=wanted.account_id,
            before_id=self._page_tokens.before_id(scope, wanted.page_token),
            first_id=first_id_at(wanted.start_time),
            start_time=wanted.start_time,
            end_time=wanted.end_time,
            kind=wanted.kind,
            page_size=wanted.page_size + 1,
        )
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.id)])

    async def _everyones(
        self, connection: Connection, wanted: TransferFilter, scope: tuple[str, ...]
    ) -> tuple[list[ListAllTransfersRow], str]:
        rows = await transfer_queries.list_all_transfers(
            connection,
            before_id=min(self._page_tokens.before_id(scope, wanted.page_token), _first_id_after(wanted.end_time)),
            first_id=first_id_at(wanted.start_time),
            start_time=wanted.start_time,
            end_time=wanted.end_time,
            kind=wanted.kind,
            page_size=wanted.page_size + 1,
        )
        return self._page_tokens.cut(scope, rows, wanted.page_size, lambda row: [str(row.id)])

    async def _of_accounts(
        self,
        connection: Connection,
        wanted: TransferFilter,
        account_ids: list[UUID],
        scope: tuple[str, ...],
    ) -> tuple[list[ListTransfersOfAccountsRow], str]:
        before = (LATEST, LAST_ID, _SEQUENCE_MAX)
        position = self._page_tokens.read(scope, wanted.page_token)
        if position is not None:
            before = (datetime.fromisoformat(position[0]), UUID(position[1]), int(position[2]))
        rows = await transfer_queries.list_transfers_of_accounts(
            connection,
            account_ids=account_ids,
            start_time=wanted.start_time,
            # Entries of the very instant of the position may still follow it.
            end_time=min(wanted.end_time, before[0] + timedelta(microseconds=1) if position else LATEST),
            before_time=before[0],
            before_account_id=before[1],
            before_sequence=before[2],
            kind=wanted.kind,
            page_size=wanted.page_size + 1,
        )
        return self._page_tokens.cut(
            scope,
            rows,
            wanted.page_size,
            lambda row: [row.create_time.isoformat(), str(row.listed_account_id), str(row.listed_sequence)],
        )


def _first_id_after(instant: datetime) -> UUID:
    """An id above all that were posted before `instant`, so that a range long ago is found by the index."""
    return first_id_at(min(instant, LATEST - _MILLISECOND) + _MILLISECOND)
