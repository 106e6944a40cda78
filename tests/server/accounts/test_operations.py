"""Reading accounts and entries: who sees what, and that pages neither repeat nor lose anything."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from server.accounts.operations import Accounts, Page
from server.caller import Role
from server.errors import InvalidPageToken, NotFound
from server.ledger.writing import post
from server.page_token import PageTokens
from tests.server.bank import Bank, Person, caller, movement

Item = TypeVar("Item")


@pytest.fixture
def accounts(bank: Bank) -> Accounts:
    return Accounts(bank.database, PageTokens(bytes(32)))


async def open_for(bank: Bank, owner: Person) -> UUID:
    """An account whose id has the place in time that the service would give it."""
    account_id = uuid7()
    await bank.pool.execute(
        "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", account_id, owner.user_id
    )
    return account_id


async def cash_account(bank: Bank) -> UUID:
    return bank.reference.cash_account("USD")


async def walk(read: Callable[[str], Awaitable[tuple[list[Item], str]]]) -> list[Item]:
    """All items of a list, page by page."""
    items: list[Item] = []
    token = ""
    for _ in range(1000):
        page, token = await read(token)
        items += page
        if not token:
            return items
    raise AssertionError("a list without end")


class TestGet:
    async def test_owner_banker_and_admin_read_it(self, bank: Bank, accounts: Accounts) -> None:
        alice, other = await bank.person(), await bank.person()
        account_id = await bank.account(alice, 5)
        for reader in (caller(alice), caller(other, Role.BANKER), caller(other, Role.ADMIN)):
            assert await accounts.get(account_id, reader) == await bank.get(account_id)

    async def test_somebody_elses_and_absent_and_system_accounts_are_not_found_alike(
        self, bank: Bank, accounts: Accounts
    ) -> None:
        alice, mallory = await bank.person(), await bank.person()
        for account_id in (await bank.account(alice), uuid4(), await cash_account(bank)):
            for reader in (caller(mallory), caller(mallory, Role.MERCHANT)):
                with pytest.raises(NotFound) as refused:
                    await accounts.get(account_id, reader)
                assert refused.value.message == f"account {account_id} does not exist or is not yours to see"
                assert refused.value.metadata == {"resource": "account", "name": str(account_id)}

    async def test_system_account_is_not_found_by_staff_either(self, bank: Bank, accounts: Accounts) -> None:
        banker, account_id = await bank.banker(), await cash_account(bank)
        with pytest.raises(NotFound):
            await accounts.get(account_id, caller(banker, Role.BANKER, Role.ADMIN))
        with pytest.raises(NotFound):
            await accounts.entries(account_id, Page(50, ""), caller(banker, Role.BANKER))


class TestPage:
    async def test_own_accounts_come_newest_first(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob = await bank.person(), await bank.person()
        opened = [await open_for(bank, alice) for _ in range(3)]
        await open_for(bank, bob)
        for owner in (None, alice.user_id):
            rows, token = await accounts.page(owner, Page(50, ""), caller(alice))
            assert ([row.id for row in rows], token) == (opened[::-1], "")

    async def test_staff_see_everyones_but_no_system_account(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob, banker = await bank.person(), await bank.person(), await bank.banker()
        opened = [await open_for(bank, owner) for owner in (alice, bob)]
        rows, _ = await accounts.page(None, Page(200, ""), caller(banker, Role.BANKER))
        assert [row.id for row in rows] == opened[::-1]
        rows, _ = await accounts.page(bob.user_id, Page(200, ""), caller(banker, Role.ADMIN))
        assert [row.id for row in rows] == opened[1:]

    async def test_somebody_elses_accounts_are_not_found(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob = await bank.person(), await bank.person()
        for owner in (bob.user_id, uuid4()):
            with pytest.raises(NotFound) as refused:
                await accounts.page(owner, Page(50, ""), caller(alice))
            assert refused.value.metadata == {"resource": "user", "name": str(owner)}

    async def test_pages_of_one_neither_repeat_nor_lose_while_accounts_are_opened(
        self, bank: Bank, accounts: Accounts
    ) -> None:
        alice, banker = await bank.person(), await bank.banker()
        opened = [await open_for(bank, alice) for _ in range(12)]

        async def keep_opening() -> None:
            while True:
                await open_for(bank, alice)

        opening = asyncio.create_task(keep_opening())
        for owner, reader in ((None, caller(alice)), (None, caller(banker, Role.BANKER))):
            rows = await walk(lambda token, o=owner, r=reader: accounts.page(o, Page(1, token), r))
            ids = [row.id for row in rows]
            assert len(set(ids)) == len(ids)
            assert [account_id for account_id in ids if account_id in opened] == opened[::-1]
        opening.cancel()

    async def test_last_full_page_has_no_token(self, bank: Bank, accounts: Accounts) -> None:
        alice = await bank.person()
        for _ in range(4):
            await open_for(bank, alice)
        _, token = await accounts.page(None, Page(2, ""), caller(alice))
        rows, last = await accounts.page(None, Page(2, token), caller(alice))
        assert (len(rows), last) == (2, "")

    async def test_token_is_good_for_its_caller_and_owner_only(self, bank: Bank, accounts: Accounts) -> None:
        alice, banker, other = await bank.person(), await bank.banker(), await bank.banker()
        for _ in range(2):
            await open_for(bank, alice)
        as_banker = caller(banker, Role.BANKER)
        _, everyones = await accounts.page(None, Page(1, ""), as_banker)
        _, of_alice = await accounts.page(alice.user_id, Page(1, ""), as_banker)
        for owner, token, reader in (
            (alice.user_id, everyones, as_banker),
            (None, of_alice, as_banker),
            (None, everyones, caller(other, Role.BANKER)),
            (None, of_alice, caller(alice)),
        ):
            with pytest.raises(InvalidPageToken):
                await accounts.page(owner, Page(1, token), reader)


class TestEntries:
    async def test_highest_sequence_comes_first_and_only_the_accounts_own(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        for amount_minor in (1, 2, 3):
            await bank.ledger.post(movement(alice, source, destination, amount_minor))

        rows, token = await accounts.entries(source, Page(50, ""), caller(alice))

        assert token == ""
        assert [(row.sequence, row.amount_minor, row.balance_after_minor) for row in rows] == [
            (4, -3, 94),
            (3, -2, 97),
            (2, -1, 99),
            (1, 100, 100),
        ]
        assert {row.account_id for row in rows} == {source}

    async def test_pages_of_one_neither_repeat_nor_lose_while_money_moves(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 10_000), await bank.account(bob)
        for _ in range(10):
            await bank.ledger.post(movement(alice, source, destination, 1))

        async def keep_paying() -> None:
            while True:
                await bank.ledger.post(movement(alice, source, destination, 1))

        paying = asyncio.create_task(keep_paying())
        rows = await walk(lambda token: accounts.entries(source, Page(1, token), caller(alice)))
        paying.cancel()

        sequences = [row.sequence for row in rows]
        assert sequences == list(range(sequences[0], 0, -1))
        assert sequences[0] >= 11

    async def test_entries_of_one_instant_come_in_the_order_of_their_sequence(
        self, bank: Bank, accounts: Accounts
    ) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice, 1000), await bank.account(alice)
        batch = [movement(alice, source, destination, 1) for _ in range(30)]
        await bank.database.transaction(lambda connection: post(connection, batch))

        rows = await walk(lambda token: accounts.entries(source, Page(7, token), caller(alice)))

        assert len({row.create_time for row in rows[:30]}) == 1
        assert [row.sequence for row in rows] == list(range(31, 0, -1))
        assert [row.balance_after_minor for row in rows] == [*range(970, 1000), 1000]

    async def test_somebody_elses_entries_are_not_found(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob = await bank.person(), await bank.person()
        account_id = await bank.account(alice, 1)
        for wanted in (account_id, uuid4()):
            with pytest.raises(NotFound):
                await accounts.entries(wanted, Page(50, ""), caller(bob))
        rows, _ = await accounts.entries(account_id, Page(50, ""), caller(bob, Role.ADMIN))
        assert len(rows) == 1

    async def test_token_is_good_for_its_account_and_caller_only(self, bank: Bank, accounts: Accounts) -> None:
        alice, banker = await bank.person(), await bank.banker()
        first, second = await bank.account(alice, 1), await bank.account(alice, 1)
        await bank.ledger.post(movement(alice, first, second, 1))
        _, token = await accounts.entries(first, Page(1, ""), caller(alice))
        assert token
        for wanted, reader in ((second, caller(alice)), (first, caller(banker, Role.BANKER))):
            with pytest.raises(InvalidPageToken):
                await accounts.entries(wanted, Page(1, token), reader)
        with pytest.raises(InvalidPageToken):
            await accounts.page(None, Page(1, token), caller(alice))
