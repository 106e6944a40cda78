"""The second door of the ledger: movements inside a transaction that somebody else owns."""

from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest

from server.errors import InsufficientFunds, NotFound
from server.ledger.commit_queue import LEDGER_SETTINGS
from server.ledger.movements import Kind, Posted, Replay
from server.ledger.posting import Evaluation
from server.ledger.reading import account_ids, lock_accounts, lock_free_accounts
from server.ledger.state import Books
from server.ledger.writing import RowsChanged, decide, post, write
from tests.conftest import Database as MigratedDatabase
from tests.server.bank import Bank, movement


class TestPost:
    async def test_movements_are_decided_in_order_and_written_by_the_callers_commit(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        movements = [
            movement(alice, source, destination, 60),
            movement(alice, source, destination, 60),
            movement(bob, destination, source, 60),
            movement(alice, source, uuid4(), 1),
        ]
        before = await bank.counts()
        async with bank.pool.acquire() as connection, connection.transaction():
            evaluation = await post(connection, [*movements, movements[0]])
            assert await bank.counts() == before

        assert [type(outcome) for outcome in evaluation.outcomes] == [
            Posted,
            InsufficientFunds,
            Posted,
            NotFound,
            Replay,
        ]
        after = await bank.counts()
        assert {table: after[table] - before[table] for table in after} == {
            "accounts": 0,
            "transfers": 2,
            "entries": 4,
            "requests": 2,
            "events": 2,
        }
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (100, 0)
        assert await bank.adds_up()

    async def test_rolled_back_transaction_leaves_nothing(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        before, same = await bank.counts(), movement(alice, source, destination, 60)
        async with bank.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            await post(connection, [same])
            await transaction.rollback()

        assert await bank.counts() == before
        assert isinstance(await bank.ledger.post(same), Posted)

    async def test_refusals_alone_write_nothing(self, bank: Bank) -> None:
        alice = await bank.person()
        source, destination = await bank.account(alice), await bank.account(alice)
        before = await bank.counts()
        async with bank.pool.acquire() as connection, connection.transaction():
            evaluation = await post(connection, [movement(alice, source, destination, 1)])
        assert isinstance(evaluation.outcomes[0], InsufficientFunds)
        assert await bank.counts() == before

    async def test_everything_about_a_transfer_is_stored(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        same = movement(alice, source, destination, 60, description="rent", reference="rent 11")
        async with bank.pool.acquire() as connection, connection.transaction():
            (posted,) = (await post(connection, [same])).outcomes
        assert isinstance(posted, Posted)
        row = await bank.pool.fetchrow("SELECT * FROM transfers WHERE id = $1", posted.transfer_id)
        assert dict(row) == {
            "id": posted.transfer_id,
            "kind": "TRANSFER",
            "source_account_id": source,
            "destination_account_id": destination,
            "amount_minor": 60,
            "currency_code": "USD",
            "initiator_user_id": alice.user_id,
            "request_id": same.request_id,
            "description": "rent",
            "reference": "rent 11",
            "metadata": None,
            "source_sequence": 2,
            "destination_sequence": 1,
            "create_time": posted.create_time,
            "hold_id": None,
            "reverses_transfer_id": None,
            "order_id": None,
        }
        request = await bank.pool.fetchrow("SELECT * FROM requests WHERE request_id = $1", same.request_id)
        assert tuple(request) == (alice.user_id, same.request_id, "test/TRANSFER", same.fingerprint, posted.transfer_id)
        account = await bank.get(source)
        assert (account.entry_count, account.last_entry_time, account.version) == (2, posted.create_time, 1)

    async def test_account_locked_by_another_is_not_waited_for_beyond_the_setting(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        async with bank.pool.acquire() as blocker, blocker.transaction():
            await blocker.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", destination)
            async with bank.pool.acquire() as connection:
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute(f"SET LOCAL lock_timeout = '{LEDGER_SETTINGS['lock_timeout']}'")
                with pytest.raises(asyncpg.LockNotAvailableError):
                    await post(connection, [movement(alice, source, destination, 1)])
                await transaction.rollback()


class TestLocks:
    async def test_every_account_is_named_once(self, bank: Bank) -> None:
        alice = await bank.person()
        first, second, third = (UUID(int=number) for number in range(3))
        movements = [movement(alice, first, second, 1), movement(alice, second, third, 1)]
        assert sorted(account_ids(movements)) == [first, second, third]

    async def test_fresh_state_of_known_accounts_is_returned(self, bank: Bank) -> None:
        alice = await bank.person()
        account_id, cash = await bank.account(alice, 100), bank.reference.cash_account("USD")
        async with bank.pool.acquire() as connection, connection.transaction():
            accounts = await lock_accounts(connection, [account_id, cash, uuid4()])
        assert accounts.keys() == {account_id, cash}
        assert (accounts[account_id].posted_minor, accounts[account_id].entry_count) == (100, 1)
        assert (accounts[cash].kind, accounts[cash].owner_user_id) == ("SYSTEM_CASH", None)

    async def test_locked_by_others_is_told_from_absent(self, bank: Bank) -> None:
        alice = await bank.person()
        locked, free, absent = await bank.account(alice), await bank.account(alice), uuid4()
        async with bank.pool.acquire() as blocker, blocker.transaction():
            await blocker.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", locked)
            async with bank.pool.acquire() as connection, connection.transaction():
                accounts, blocked = await lock_free_accounts(connection, [locked, free, absent])
        assert (accounts.keys(), blocked) == ({free}, {locked})

    async def test_referring_to_a_locked_account_needs_no_wait(self, bank: Bank) -> None:
        """The lock leaves the key alone, so that a schedule or hold can be written beside it."""
        alice = await bank.person()
        account_id = await bank.account(alice, 1)
        async with bank.pool.acquire() as blocker, blocker.transaction():
            await lock_accounts(blocker, [account_id])
            async with bank.pool.acquire() as connection, connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '100ms'")
                await connection.execute("SELECT FROM accounts WHERE id = $1 FOR KEY SHARE", account_id)


class TestDecide:
    async def test_session_of_another_user_is_not_live(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        stolen = movement(type(alice)(alice.user_id, bob.session_id), source, destination, 1)
        async with bank.pool.acquire() as connection, connection.transaction():
            evaluation = await post(connection, [stolen])
        assert [type(outcome).__name__ for outcome in evaluation.outcomes] == ["SessionRevoked"]

    @pytest.mark.parametrize(
        ("change", "outcome"),
        [
            ("UPDATE sessions SET revoke_time = now() WHERE user_id = $1", "SessionRevoked"),
            ("UPDATE sessions SET expire_time = now() WHERE user_id = $1", "SessionRevoked"),
            ("UPDATE sessions SET idle_expire_time = now() WHERE user_id = $1", "SessionRevoked"),
            ("UPDATE users SET disabled = true WHERE id = $1", "Unauthenticated"),
            ("UPDATE users SET email_verified = false WHERE id = $1", "EmailNotVerified"),
            ("UPDATE users SET roles = '{DEPOSITOR}' WHERE id = $1", "Forbidden"),
        ],
    )
    async def test_state_of_the_caller_is_read_as_it_is_now(
        self, bank: Bank, database: MigratedDatabase, change: str, outcome: str
    ) -> None:
        banker = await bank.banker()
        account_id = await bank.account(await bank.person())
        deposit = movement(banker, bank.reference.cash_account("USD"), account_id, 1, kind=Kind.DEPOSIT)
        owner = await asyncpg.connect(database.owner_url)
        await owner.execute(change, banker.user_id)
        await owner.close()
        async with bank.pool.acquire() as connection, connection.transaction():
            evaluation = await post(connection, [deposit])
        assert [type(each).__name__ for each in evaluation.outcomes] == [outcome]

    async def test_order_of_the_answers_is_that_of_the_movements(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 1_000), await bank.account(bob)
        movements = [movement(alice, source, destination, amount) for amount in range(1, 41)]
        async with bank.pool.acquire() as connection, connection.transaction():
            evaluation = await post(connection, movements)
        assert [each.movement for each in evaluation.posted] == movements


class TestWrite:
    async def test_account_that_vanished_under_the_lock_is_a_defect(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        movements, before = [movement(alice, source, destination, 1)], await bank.counts()
        async with bank.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            books = Books(await lock_accounts(connection, account_ids(movements)))
            evaluation = await decide(connection, movements, books)
            ghost = uuid4()
            books.accounts[ghost] = replace(books.accounts[source], id=ghost)
            with pytest.raises(RowsChanged, match="2 of 3 accounts were updated"):
                await write(connection, evaluation, books)
            await transaction.rollback()
        assert await bank.counts() == before

    async def test_request_id_that_was_used_meanwhile_fails_the_whole_statement(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        movements = [movement(alice, source, destination, 1)]
        async with bank.pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            books = Books(await lock_accounts(connection, account_ids(movements)))
            evaluation = await decide(connection, movements, books)
            await bank.pool.execute(
                "INSERT INTO requests VALUES ($1, $2, 'rpc', '', $2)", alice.user_id, movements[0].request_id
            )
            with pytest.raises(asyncpg.UniqueViolationError) as refused:
                await write(connection, evaluation, books)
            await transaction.rollback()
        assert refused.value.constraint_name == "requests_pkey"
        assert await bank.posted_minor(source) == 100
        assert await bank.adds_up()

    async def test_nothing_posted_is_nothing_written(self, bank: Bank) -> None:
        before = await bank.counts()
        async with bank.pool.acquire() as connection, connection.transaction():
            await write(connection, Evaluation(), Books())
        assert await bank.counts() == before
