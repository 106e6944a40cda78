"""Opening an account: once for each request id, however many ask at once."""

import asyncio
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from server.accounts.opening import NewAccount, open_account
from server.accounts.operations import Accounts
from server.caller import Role
from server.errors import Forbidden, NotFound, RequestIdReused
from server.page_token import PageTokens
from tests.server.bank import Bank, Person, caller


@pytest.fixture
def accounts(bank: Bank) -> Accounts:
    return Accounts(bank.database, PageTokens(bytes(32)))


def new_account(requester: Person, owner: UUID | None = None, fingerprint: bytes = b"USD Rent") -> NewAccount:
    return NewAccount(
        requester_user_id=requester.user_id,
        request_id=uuid4(),
        rpc="bank.v1.AccountService/CreateAccount",
        fingerprint=fingerprint,
        owner_user_id=owner or requester.user_id,
        currency_code="USD",
        display_name="Rent",
    )


class TestOpen:
    async def test_new_account_is_empty_and_open_and_an_event_tells_of_it(self, bank: Bank, accounts: Accounts) -> None:
        alice = await bank.person()

        account, replayed = await accounts.open(new_account(alice), caller(alice))

        assert not replayed
        assert account._asdict() == (await bank.get(account.id))._asdict()
        assert (account.owner_user_id, account.currency_code, account.display_name) == (alice.user_id, "USD", "Rent")
        assert (account.state, account.posted_minor, account.held_minor, account.version) == ("OPEN", 0, 0, 1)
        assert account.id.version == 7
        event = await bank.pool.fetchrow("SELECT type, user_id, data FROM events WHERE subject_id = $1", account.id)
        assert tuple(event) == ("account.created", alice.user_id, '{"currency_code": "USD"}')

    async def test_repeated_request_id_returns_the_account_as_it_is_now(self, bank: Bank, accounts: Accounts) -> None:
        alice = await bank.person()
        new = new_account(alice)
        first, _ = await accounts.open(new, caller(alice))
        await bank.deposit(await bank.banker(), first.id, 100)
        before = await bank.counts()

        again, replayed = await accounts.open(new, caller(alice))

        assert replayed
        assert (again.id, again.posted_minor) == (first.id, 100)
        assert await bank.counts() == before

    async def test_many_at_once_with_one_request_id_open_one_account(self, bank: Bank, accounts: Accounts) -> None:
        alice = await bank.person()
        new, before = new_account(alice), await bank.counts()

        results = await asyncio.gather(*(accounts.open(new, caller(alice)) for _ in range(20)))

        assert len({account.id for account, _ in results}) == 1
        assert sorted(replayed for _, replayed in results) == [False] + [True] * 19
        after = await bank.counts()
        assert {table: after[table] - before[table] for table in after if after[table] != before[table]} == {
            "accounts": 1,
            "requests": 1,
            "events": 1,
        }

    async def test_many_at_once_with_different_fields_open_one_account(self, bank: Bank, accounts: Accounts) -> None:
        alice = await bank.person()
        new, before = new_account(alice), await bank.counts()
        calls = [replace(new, fingerprint=bytes([number])) for number in range(8)]

        results = await asyncio.gather(*(accounts.open(each, caller(alice)) for each in calls), return_exceptions=True)

        assert sum(isinstance(result, RequestIdReused) for result in results) == 7
        assert (await bank.counts())["accounts"] == before["accounts"] + 1

    @pytest.mark.parametrize(
        "change", [{"fingerprint": b"EUR Rent"}, {"rpc": "bank.v1.OrderService/CreateOrder"}], ids=str
    )
    async def test_request_id_of_another_call_is_refused_and_writes_nothing(
        self, bank: Bank, accounts: Accounts, change: dict[str, object]
    ) -> None:
        alice = await bank.person()
        new = new_account(alice)
        await accounts.open(new, caller(alice))
        before = await bank.counts()

        with pytest.raises(RequestIdReused):
            await accounts.open(replace(new, **change), caller(alice))  # type: ignore[arg-type]  # names of fields

        assert await bank.counts() == before

    async def test_request_id_of_another_user_is_independent(self, bank: Bank, accounts: Accounts) -> None:
        alice, bob = await bank.person(), await bank.person()
        new = new_account(alice)
        first, _ = await accounts.open(new, caller(alice))
        of_bob = replace(new, requester_user_id=bob.user_id, owner_user_id=bob.user_id)

        second, replayed = await accounts.open(of_bob, caller(bob))

        assert not replayed
        assert second.id != first.id

    async def test_banker_opens_for_others_and_nobody_else_does(self, bank: Bank, accounts: Accounts) -> None:
        alice, banker = await bank.person(), await bank.banker()
        before = await bank.counts()
        for roles in ((), (Role.ADMIN,), (Role.MERCHANT,)):
            with pytest.raises(Forbidden):
                await accounts.open(new_account(banker, alice.user_id), caller(banker, *roles))
        assert await bank.counts() == before

        account, _ = await accounts.open(new_account(banker, alice.user_id), caller(banker, Role.BANKER))

        assert account.owner_user_id == alice.user_id

    async def test_unknown_owner_is_not_found_and_the_request_id_stays_usable(
        self, bank: Bank, accounts: Accounts
    ) -> None:
        banker, alice = await bank.banker(), await bank.person()
        new, before = new_account(banker, uuid4()), await bank.counts()

        with pytest.raises(NotFound) as refused:
            await accounts.open(new, caller(banker, Role.BANKER))

        assert refused.value.metadata == {"resource": "user", "name": str(new.owner_user_id)}
        assert await bank.counts() == before
        account, replayed = await accounts.open(replace(new, owner_user_id=alice.user_id), caller(banker, Role.BANKER))
        assert (account.owner_user_id, replayed) == (alice.user_id, False)


class TestOpenAccount:
    async def test_rolled_back_transaction_leaves_nothing(self, bank: Bank) -> None:
        alice = await bank.person()
        new, before = new_account(alice), await bank.counts()
        async with bank.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await open_account(connection, new)
            await transaction.rollback()
        assert await bank.counts() == before

    async def test_second_one_waits_for_a_first_that_fails_and_opens(self, bank: Bank, accounts: Accounts) -> None:
        alice = await bank.person()
        new = new_account(alice)
        async with bank.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            first, _ = await open_account(connection, new)
            second = asyncio.create_task(accounts.open(new, caller(alice)))
            await asyncio.sleep(0.05)
            assert not second.done()
            await transaction.rollback()
        account, replayed = await second
        assert not replayed
        assert account.id != first.id
