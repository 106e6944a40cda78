"""Reading transfers: who sees which, every filter, and pages that neither repeat nor lose anything."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from server.caller import Caller, Role
from server.errors import InvalidPageToken, NotFound
from server.ledger.movements import Kind, Posted, Replay
from server.page_token import PageTokens
from server.timestamps import EARLIEST, LATEST
from server.transfers.operations import TransferFilter, TransferReader
from tests.server.bank import Bank, Person, caller, movement

EVERYTHING = TransferFilter(
    account_id=None, start_time=EARLIEST, end_time=LATEST, kind=None, reference=None, page_size=200, page_token=""
)
MICROSECOND = timedelta(microseconds=1)


@pytest.fixture
def transfers(bank: Bank) -> TransferReader:
    return TransferReader(bank.database, PageTokens(bytes(32)))


async def pay(bank: Bank, payer: Person, source: UUID, destination: UUID, **changes: str) -> Posted:
    posted = await bank.ledger.post(movement(payer, source, destination, 1, **changes))  # type: ignore[arg-type]  # texts
    assert isinstance(posted, Posted)
    return posted


async def walk(transfers: TransferReader, wanted: TransferFilter, reader: Caller, page_size: int = 1) -> list[UUID]:
    """Ids of the whole list, page by page."""
    ids: list[UUID] = []
    wanted = replace(wanted, page_size=page_size)
    for _ in range(1000):
        rows, token = await transfers.page(wanted, reader)
        assert len(rows) <= page_size
        ids += [row.id for row in rows]
        if not token:
            return ids
        wanted = replace(wanted, page_token=token)
    raise AssertionError("a list without end")


def ids_of(posted: Sequence[Posted]) -> list[UUID]:
    """Newest first."""
    return [each.transfer_id for each in reversed(posted)]


class TestGet:
    async def test_parties_and_staff_read_it(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob, other = await bank.person(), await bank.person(), await bank.person()
        posted = await pay(bank, alice, await bank.account(alice, 1), await bank.account(bob))
        for reader in (caller(alice), caller(bob), caller(other, Role.BANKER), caller(other, Role.ADMIN)):
            row = await transfers.get(posted.transfer_id, reader)
            assert (row.id, row.create_time) == (posted.transfer_id, posted.create_time)

    async def test_somebody_elses_and_absent_ones_are_not_found_alike(
        self, bank: Bank, transfers: TransferReader
    ) -> None:
        alice, bob, mallory = await bank.person(), await bank.person(), await bank.person()
        posted = await pay(bank, alice, await bank.account(alice, 1), await bank.account(bob))
        for transfer_id in (posted.transfer_id, uuid4()):
            with pytest.raises(NotFound) as refused:
                await transfers.get(transfer_id, caller(mallory, Role.MERCHANT))
            assert refused.value.message == f"transfer {transfer_id} does not exist or is not yours to see"


class TestReplayed:
    async def test_entries_are_as_they_were_and_only_the_callers(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        same = movement(alice, source, destination, 60)
        first = await bank.ledger.post(same)
        assert isinstance(first, Posted)
        await pay(bank, alice, source, destination)

        again = await bank.ledger.post(same)

        assert again == Replay(first.transfer_id)
        row, entries = await transfers.replayed(first.transfer_id, caller(alice))
        assert row.id == first.transfer_id
        assert [(entry.account_id, entry.amount_minor, entry.balance_after_minor) for entry in entries] == [
            (source, -60, 40)
        ]

    async def test_own_transfer_has_both_entries_the_debit_first(self, bank: Bank, transfers: TransferReader) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(alice)
        posted = await pay(bank, alice, source, destination)
        _, entries = await transfers.replayed(posted.transfer_id, caller(alice))
        assert [(entry.account_id, entry.amount_minor, entry.sequence) for entry in entries] == [
            (source, -1, posted.source_sequence),
            (destination, 1, posted.destination_sequence),
        ]


class TestPage:
    async def test_own_transfers_of_all_accounts_come_newest_first(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob, carol = await bank.person(), await bank.person(), await bank.person()
        first, second = await bank.account(alice, 10), await bank.account(alice)
        of_bob, of_carol = await bank.account(bob, 10), await bank.account(carol)
        posted = [
            await pay(bank, alice, first, of_bob),
            await pay(bank, bob, of_bob, second),
            await pay(bank, alice, first, second),
        ]
        await pay(bank, bob, of_bob, of_carol)

        listed = await walk(transfers, replace(EVERYTHING, kind="TRANSFER"), caller(alice), 200)

        assert listed == ids_of(posted)

    async def test_transfer_between_own_accounts_is_listed_once(self, bank: Bank, transfers: TransferReader) -> None:
        alice = await bank.person()
        first, second = await bank.account(alice, 10), await bank.account(alice, 10)
        posted = [await pay(bank, alice, *((first, second) if number % 2 else (second, first))) for number in range(6)]
        wanted = replace(EVERYTHING, kind="TRANSFER")
        for page_size in (1, 2, 200):
            assert await walk(transfers, wanted, caller(alice), page_size) == ids_of(posted)
            for account_id in (first, second):
                of_account = replace(wanted, account_id=account_id)
                assert await walk(transfers, of_account, caller(alice), page_size) == ids_of(posted)

    async def test_transfers_of_one_instant_are_neither_repeated_nor_lost(
        self, bank: Bank, transfers: TransferReader
    ) -> None:
        """Those of one batch share their time."""
        alice, bob = await bank.person(), await bank.person()
        accounts = [await bank.account(alice, 100) for _ in range(3)]
        of_bob = await bank.account(bob)
        pairs = [(accounts[number % 3], (*accounts, of_bob)[(number + 1) % 4]) for number in range(24)]
        calls = [movement(alice, source, destination, 1) for source, destination in pairs if source != destination]
        posted = [each for each in await asyncio.gather(*map(bank.ledger.post, calls)) if isinstance(each, Posted)]
        assert len({each.create_time for each in posted}) < len(posted)

        wanted = replace(EVERYTHING, kind="TRANSFER")
        for page_size in (1, 5):
            listed = await walk(transfers, wanted, caller(alice), page_size)
            assert len(listed) == len(posted)
            assert set(listed) == {each.transfer_id for each in posted}

    @pytest.mark.parametrize("staff", [False, True], ids=["owner", "staff"])
    async def test_pages_of_one_neither_repeat_nor_lose_while_money_moves(
        self, bank: Bank, transfers: TransferReader, staff: bool
    ) -> None:
        alice, bob = await bank.person(), await bank.person()
        mine = [await bank.account(alice, 10_000) for _ in range(2)]
        of_bob = await bank.account(bob, 10_000)
        before = [
            await pay(bank, alice, mine[number % 2], (of_bob, mine[(number + 1) % 2])[number % 3 == 0])
            for number in range(16)
        ]

        async def keep_paying(payer: Person, source: UUID, destination: UUID) -> None:
            while True:
                await pay(bank, payer, source, destination)

        payers = [
            asyncio.create_task(keep_paying(alice, mine[0], of_bob)),
            asyncio.create_task(keep_paying(bob, of_bob, mine[1])),
            asyncio.create_task(keep_paying(alice, mine[1], mine[0])),
        ]
        reader = caller(await bank.banker(), Role.BANKER) if staff else caller(alice)
        listed = await walk(transfers, replace(EVERYTHING, kind="TRANSFER"), reader)
        for payer in payers:
            payer.cancel()

        assert len(set(listed)) == len(listed)
        known = {each.transfer_id for each in before}
        assert [transfer_id for transfer_id in listed if transfer_id in known] == ids_of(before)

    async def test_staff_see_everyones(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob, banker = await bank.person(), await bank.person(), await bank.banker()
        source, destination = await bank.account(alice, 10), await bank.account(bob, 10)
        posted = [await pay(bank, alice, source, destination), await pay(bank, bob, destination, source)]
        for role in (Role.BANKER, Role.ADMIN):
            listed = await walk(transfers, replace(EVERYTHING, kind="TRANSFER"), caller(banker, role))
            assert listed == ids_of(posted)
            assert len(await walk(transfers, EVERYTHING, caller(banker, role))) == 4

    async def test_user_without_accounts_has_none(self, bank: Bank, transfers: TransferReader) -> None:
        await bank.account(await bank.person(), 10)
        assert await transfers.page(EVERYTHING, caller(await bank.person())) == ([], "")


class TestFilter:
    async def test_account_is_the_callers_or_not_found(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob, banker = await bank.person(), await bank.person(), await bank.banker()
        first, second, of_bob = await bank.account(alice, 9), await bank.account(alice, 9), await bank.account(bob)
        posted = await pay(bank, alice, first, of_bob)
        await pay(bank, alice, second, of_bob)
        wanted = replace(EVERYTHING, account_id=first, kind="TRANSFER")
        assert await walk(transfers, wanted, caller(alice)) == [posted.transfer_id]
        assert await walk(transfers, wanted, caller(banker, Role.BANKER)) == [posted.transfer_id]
        for reader, account_id in (
            (caller(bob), first),
            (caller(alice), uuid4()),
            (caller(banker, Role.BANKER), bank.reference.cash_account("USD")),
        ):
            with pytest.raises(NotFound) as refused:
                await transfers.page(replace(EVERYTHING, account_id=account_id), reader)
            assert refused.value.metadata == {"resource": "account", "name": str(account_id)}

    async def test_kind_is_the_one_asked_for(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        posted = await pay(bank, alice, source, destination)
        for reader in (caller(alice), caller(await bank.banker(), Role.BANKER)):
            assert await walk(transfers, replace(EVERYTHING, kind="TRANSFER"), reader) == [posted.transfer_id]
            deposits, _ = await transfers.page(replace(EVERYTHING, kind="DEPOSIT"), reader)
            assert [row.kind for row in deposits] == [Kind.DEPOSIT]
            assert await walk(transfers, replace(EVERYTHING, kind="CAPTURE"), reader) == []

    @pytest.mark.parametrize("staff", [False, True], ids=["owner", "staff"])
    @pytest.mark.parametrize("by_account", [False, True], ids=["all", "account"])
    async def test_range_includes_its_start_and_excludes_its_end(
        self, bank: Bank, transfers: TransferReader, staff: bool, by_account: bool
    ) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        posted = [await pay(bank, alice, source, destination) for _ in range(5)]
        times = [each.create_time for each in posted]
        assert times == sorted(set(times))
        reader = caller(await bank.banker(), Role.ADMIN) if staff else caller(alice)
        wanted = replace(EVERYTHING, kind="TRANSFER", account_id=source if by_account else None)

        async def within(**bounds: object) -> list[UUID]:
            return await walk(transfers, replace(wanted, **bounds), reader)  # type: ignore[arg-type]  # times

        assert await within(start_time=times[1], end_time=times[3]) == ids_of(posted[1:3])
        assert await within(start_time=times[1], end_time=times[3] + MICROSECOND) == ids_of(posted[1:4])
        assert await within(start_time=times[1] + MICROSECOND, end_time=times[3]) == ids_of(posted[2:3])
        assert await within(start_time=times[4]) == ids_of(posted[4:])
        assert await within(end_time=times[0]) == []
        assert await within(start_time=times[2], end_time=times[2]) == []
        assert await within(start_time=times[3], end_time=times[1]) == []

    async def test_reference_finds_the_callers_own_transfer(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 10), await bank.account(bob, 10)
        other = await bank.account(alice)
        posted = await pay(bank, alice, source, destination, reference="rent 11")
        await pay(bank, bob, destination, source, reference="rent 11")
        wanted = replace(EVERYTHING, reference="rent 11")

        for fits in (
            wanted,
            replace(wanted, account_id=source),
            replace(wanted, kind="TRANSFER"),
            replace(wanted, start_time=posted.create_time, end_time=posted.create_time + MICROSECOND),
        ):
            assert await walk(transfers, fits, caller(alice)) == [posted.transfer_id]
        for misses in (
            replace(wanted, reference="rent 12"),
            replace(wanted, account_id=other),
            replace(wanted, kind="DEPOSIT"),
            replace(wanted, end_time=posted.create_time),
            replace(wanted, start_time=posted.create_time + MICROSECOND),
        ):
            assert await walk(transfers, misses, caller(alice)) == []
        assert await walk(transfers, wanted, caller(await bank.banker(), Role.BANKER)) == []


class TestPageToken:
    async def test_token_is_good_for_its_caller_and_filter_only(self, bank: Bank, transfers: TransferReader) -> None:
        alice, bob, banker = await bank.person(), await bank.person(), await bank.banker()
        source, destination = await bank.account(alice, 10), await bank.account(bob)
        posted = [await pay(bank, alice, source, destination) for _ in range(3)]
        wanted = replace(EVERYTHING, page_size=1)
        _, token = await transfers.page(wanted, caller(alice))
        assert token

        for reader, change in (
            (caller(bob), {}),
            (caller(banker, Role.BANKER), {}),
            (caller(alice), {"account_id": source}),
            (caller(alice), {"kind": "TRANSFER"}),
            (caller(alice), {"start_time": posted[0].create_time}),
            (caller(alice), {"end_time": posted[2].create_time}),
            (caller(alice), {"reference": "rent 11"}),
        ):
            with pytest.raises(InvalidPageToken):
                await transfers.page(replace(wanted, page_token=token, **change), reader)  # type: ignore[arg-type]
        rows, _ = await transfers.page(replace(wanted, page_token=token, page_size=2), caller(alice))
        assert [row.id for row in rows] == ids_of(posted[:2])
