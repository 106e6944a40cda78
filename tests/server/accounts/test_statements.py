"""Balances at an instant and statements: whatever is booked meanwhile, they add up."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import asyncpg
import pytest
from bankdb.models import Entry

from server.accounts.operations import Page
from server.accounts.statements import LINES_AT_ONCE, Period, StatementPage, Statements
from server.caller import Role
from server.database import open_pool
from server.errors import InvalidPageToken, NotFound, SessionRevoked, Unauthenticated
from server.ledger.batches import Batches
from server.ledger.commit_queue import LEDGER_SETTINGS
from server.ledger.movements import Kind
from server.timestamps import EARLIEST, LATEST
from tests.server.bank import Bank, caller, movement
from tests.server.history import fill_history

INSTANT = timedelta(microseconds=1)


class Scene:
    """Alice's account with entries of both signs; some of them were posted at the very same instant."""

    def __init__(self, bank: Bank, statements: Statements) -> None:
        self.bank = bank
        self.statements = statements

    async def begin(self) -> "Scene":
        bank = self.bank
        self.alice, self.bob = await bank.person(), await bank.person()
        self.own, self.other = await bank.account(self.alice, 100), await bank.account(self.bob, 100)
        for amount_minor in (10, 20):
            await bank.ledger.post(movement(self.alice, self.own, self.other, amount_minor))
        pool = await open_pool(bank.url, size=2, settings=LEDGER_SETTINGS)
        batch = [movement(self.bob, self.other, self.own, amount_minor) for amount_minor in (1, 2, 3)]
        await Batches(pool).post(batch, atomic=True)
        await pool.close()
        await bank.ledger.post(movement(self.alice, self.own, self.other, 6))
        rows = await bank.pool.fetch("SELECT * FROM entries WHERE account_id = $1 ORDER BY sequence", self.own)
        self.entries = [Entry(**row) for row in rows]
        assert len({entry.create_time for entry in self.entries}) < len(self.entries)
        return self

    def posted_minor(self, until: datetime, *, inclusive: bool) -> int:
        """What the entries up to an instant come to."""
        counted = (e for e in self.entries if e.create_time < until or (inclusive and e.create_time == until))
        return sum(entry.amount_minor for entry in counted)

    async def whole(self, period: Period, size: int) -> list[StatementPage]:
        """All pages of a statement."""
        pages, token = [], ""
        while not pages or token:
            pages.append(await self.statements.page(period, Page(size, token), caller(self.alice)))
            token = pages[-1].next_page_token
        return pages


@pytest.fixture
async def scene(bank: Bank, statements: Statements) -> Scene:
    return await Scene(bank, statements).begin()


class TestBalance:
    async def test_now_has_what_is_held_too(self, scene: Scene) -> None:
        await scene.bank.ledger.post(movement(scene.alice, scene.own, scene.other, 15, kind=Kind.HOLD))
        balance = await scene.statements.balance(scene.own, None, caller(scene.alice))
        assert (balance.posted_minor, balance.held_minor, balance.available_minor) == (70, 15, 55)
        assert balance.sequence == len(scene.entries)
        await scene.bank.as_owner("UPDATE holds SET expire_time = now() - interval '1 s'")
        balance = await scene.statements.balance(scene.own, None, caller(scene.alice))
        assert (balance.posted_minor, balance.held_minor, balance.available_minor) == (70, 0, 70)

    @pytest.mark.parametrize("offset", [-INSTANT, timedelta(0), INSTANT])
    async def test_entries_of_the_very_instant_are_counted_in(self, scene: Scene, offset: timedelta) -> None:
        for entry in scene.entries:
            instant = entry.create_time + offset
            balance = await scene.statements.balance(scene.own, instant, caller(scene.alice))
            assert balance.posted_minor == scene.posted_minor(instant, inclusive=True)
            assert (balance.held_minor, balance.available_minor, balance.at_time) == (None, None, instant)

    async def test_ends_of_time(self, scene: Scene) -> None:
        for instant, sequence, posted_minor in ((EARLIEST, 0, 0), (LATEST, len(scene.entries), 70)):
            balance = await scene.statements.balance(scene.own, instant, caller(scene.alice))
            assert (balance.sequence, balance.posted_minor) == (sequence, posted_minor)

    async def test_others_accounts_are_not_found(self, scene: Scene) -> None:
        for account_id in (scene.other, uuid4(), scene.bank.reference.cash_account("USD")):
            for instant in (None, LATEST):
                with pytest.raises(NotFound):
                    await scene.statements.balance(account_id, instant, caller(scene.alice))
        admin = caller(scene.alice, Role.ADMIN)
        assert (await scene.statements.balance(scene.other, None, admin)).posted_minor == 130


class TestStatement:
    async def test_every_range_between_two_entries_adds_up(self, scene: Scene) -> None:
        instants = sorted({entry.create_time + offset for entry in scene.entries for offset in (-INSTANT, INSTANT * 0)})
        for start in instants:
            for end in (instant for instant in instants if instant >= start):
                pages = await scene.whole(Period(scene.own, start, end), 2)
                entries = [entry for page in pages for entry in page.entries]
                assert entries == [e for e in scene.entries if start <= e.create_time < end]
                found = pages[0].range
                assert found.opening_balance_minor == scene.posted_minor(start, inclusive=False)
                assert found.closing_balance_minor == scene.posted_minor(end, inclusive=False)
                assert found.credited_minor == sum(max(entry.amount_minor, 0) for entry in entries)
                assert found.debited_minor == sum(max(-entry.amount_minor, 0) for entry in entries)
                assert found.entry_count == len(entries)
                assert all(page.range == found for page in pages)

    async def test_account_without_entries(self, scene: Scene) -> None:
        empty = await scene.bank.account(scene.alice)
        (page,) = await scene.whole(Period(empty, EARLIEST, LATEST), 50)
        assert (page.entries, page.range.closing_balance_minor, page.range.entry_count) == ([], 0, 0)

    async def test_pages_tell_of_the_same_entries_while_more_are_booked(self, scene: Scene) -> None:
        stop = asyncio.Event()

        async def pay() -> int:
            number = 0
            while not stop.is_set():
                number += 1
                sides = (scene.own, scene.other) if number % 2 else (scene.other, scene.own)
                owner = scene.alice if number % 2 else scene.bob
                await scene.bank.ledger.post(movement(owner, *sides, 1 + number % 3))
            return number

        paying = asyncio.create_task(pay())
        counts = []
        for _ in range(20):
            await asyncio.sleep(0.02)
            pages = await scene.whole(Period(scene.own, EARLIEST, LATEST), 7)
            entries = [entry for page in pages for entry in page.entries]
            (found,) = {page.range for page in pages}
            assert found.opening_balance_minor + sum(e.amount_minor for e in entries) == found.closing_balance_minor
            assert found.credited_minor - found.debited_minor == found.closing_balance_minor
            assert [entry.sequence for entry in entries] == list(range(1, found.entry_count + 1))
            counts.append(found.entry_count)
        stop.set()
        assert await paying > 20
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]
        assert await scene.bank.adds_up()

    async def test_adjoining_statements_join(self, scene: Scene) -> None:
        instants = [EARLIEST, *sorted({entry.create_time for entry in scene.entries}), LATEST]
        ranges = [(await scene.whole(Period(scene.own, *pair), 50))[0].range for pair in pairwise(instants)]
        assert all(one.closing_balance_minor == two.opening_balance_minor for one, two in pairwise(ranges))
        assert sum(each.entry_count for each in ranges) == len(scene.entries)

    async def test_totals_beyond_64_bits_are_cut(self, scene: Scene) -> None:
        bank, huge = scene.bank, 10**17
        await bank.deposit(await bank.banker(), scene.own, huge)
        for _ in range(93):
            await bank.ledger.post(movement(scene.alice, scene.own, scene.other, huge))
            await bank.ledger.post(movement(scene.bob, scene.other, scene.own, huge))
        (page,) = await scene.whole(Period(scene.own, EARLIEST, LATEST), 1_000)
        assert (page.range.credited_minor, page.range.debited_minor) == (2**63 - 1, 2**63 - 1)
        assert page.range.closing_balance_minor == huge + 70

    async def test_token_of_another_statement_is_refused(self, scene: Scene) -> None:
        period = Period(scene.own, EARLIEST, LATEST)
        first = await scene.statements.page(period, Page(2, ""), caller(scene.alice))
        admin = await scene.bank.person(roles=("DEPOSITOR", "ADMIN"))
        for changed, who in (
            (replace(period, end_time=datetime.now(UTC)), caller(scene.alice)),
            (period, caller(admin, Role.ADMIN)),
        ):
            with pytest.raises(InvalidPageToken):
                await scene.statements.page(changed, Page(2, first.next_page_token), who)

    async def test_others_accounts_are_not_found(self, scene: Scene) -> None:
        for account_id in (scene.other, uuid4()):
            period = Period(account_id, EARLIEST, LATEST)
            with pytest.raises(NotFound):
                await scene.statements.page(period, Page(2, ""), caller(scene.alice))
            with pytest.raises(NotFound):
                await scene.statements.open(period, caller(scene.alice))


class TestLines:
    @pytest.mark.parametrize(
        ("change", "refusal"),
        [
            ("UPDATE sessions SET revoke_time = now() WHERE user_id = $1", SessionRevoked),
            ("UPDATE users SET disabled = true WHERE id = $1", Unauthenticated),
            ("UPDATE users SET roles = '{DEPOSITOR}' WHERE id = $1", NotFound),
        ],
    )
    async def test_reader_who_may_not_any_more_gets_no_further_piece(
        self, bank: Bank, statements: Statements, change: str, refusal: type[Exception]
    ) -> None:
        banker, own = await bank.banker(), await bank.account(await bank.person())
        owner = await asyncpg.connect(bank.owner_url)
        await fill_history(owner, own, 2 * LINES_AT_ONCE)
        reader = caller(banker, Role.BANKER)
        _, whole = await statements.open(Period(own, EARLIEST, LATEST), reader)
        assert [len(rows) async for rows in statements.lines(own, whole, reader)] == [LINES_AT_ONCE] * 2
        lines = statements.lines(own, whole, reader)
        assert len(await anext(lines)) == LINES_AT_ONCE
        await owner.execute(change, banker.user_id)
        await owner.close()
        with pytest.raises(refusal):
            await anext(lines)
