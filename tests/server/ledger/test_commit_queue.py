"""The commit queue on a real database: many callers, little money, locks, losses."""

import asyncio
from collections import Counter
from statistics import median
from time import monotonic
from uuid import uuid4

import asyncpg
import pytest

from server.errors import (
    BankError,
    Contended,
    DuplicateReference,
    InsufficientFunds,
    NotFound,
    RequestIdReused,
    SessionRevoked,
)
from server.ledger.commit_queue import BATCH_LOCK_TIMEOUT_S, BLOCKED_TIMEOUT_S
from server.ledger.movements import Posted, Replay
from server.ledger.waiting_line import WAITING_PER_USER_MAX
from tests.server.bank import Bank, movement, running_ledger


class TestPost:
    async def test_transfer_moves_money_and_leaves_two_entries_and_an_event(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 10_000), await bank.account(bob)

        posted = await bank.ledger.post(movement(alice, source, destination, 1_234))

        assert isinstance(posted, Posted)
        assert (posted.source_balance_minor, posted.destination_balance_minor) == (8_766, 1_234)
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (8_766, 1_234)
        entries = await bank.pool.fetch(
            "SELECT account_id, sequence, amount_minor, balance_after_minor FROM entries"
            " WHERE transfer_id = $1 ORDER BY amount_minor",
            posted.transfer_id,
        )
        assert [tuple(entry) for entry in entries] == [(source, 2, -1_234, 8_766), (destination, 1, 1_234, 1_234)]
        event = await bank.pool.fetchrow("SELECT * FROM events WHERE subject_id = $1", posted.transfer_id)
        assert (event["type"], event["user_id"], event["counterparty_user_id"]) == (
            "transfer.posted",
            alice.user_id,
            bob.user_id,
        )
        assert await bank.adds_up()

    async def test_repeated_request_id_returns_first_transfer(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        same = movement(alice, source, destination, 60)

        first = await bank.ledger.post(same)
        again = await bank.ledger.post(same)

        assert isinstance(first, Posted)
        assert again == Replay(first.result_id)
        assert await bank.posted_minor(source) == 40

    async def test_request_id_with_other_fields_is_refused_and_writes_nothing(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        request_id = uuid4()
        await bank.ledger.post(movement(alice, source, destination, 10, request_id=request_id))
        before = await bank.counts()

        with pytest.raises(RequestIdReused):
            await bank.ledger.post(movement(alice, source, destination, 11, request_id=request_id))

        assert await bank.counts() == before
        assert await bank.posted_minor(source) == 90

    async def test_request_id_of_a_refused_call_stays_usable(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice), await bank.account(bob)
        same = movement(alice, source, destination, 10)
        with pytest.raises(InsufficientFunds):
            await bank.ledger.post(same)
        await bank.deposit(await bank.banker(), source, 10)

        assert isinstance(await bank.ledger.post(same), Posted)

    async def test_same_request_id_of_another_user_is_independent(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        of_alice, of_bob = await bank.account(alice, 100), await bank.account(bob, 100)
        request_id = uuid4()

        await bank.ledger.post(movement(alice, of_alice, of_bob, 30, request_id=request_id))
        second = await bank.ledger.post(movement(bob, of_bob, of_alice, 10, request_id=request_id))

        assert isinstance(second, Posted)

    async def test_validate_only_tells_the_balances_and_writes_nothing(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        before = await bank.counts()

        posted = await bank.ledger.post(movement(alice, source, destination, 30, validate_only=True))

        assert isinstance(posted, Posted)
        assert (posted.source_balance_minor, posted.destination_balance_minor) == (70, 30)
        assert await bank.counts() == before
        assert await bank.posted_minor(source) == 100

    async def test_reference_is_unique_for_its_user(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob, 100)
        await bank.ledger.post(movement(alice, source, destination, 1, reference="rent 11"))

        with pytest.raises(DuplicateReference):
            await bank.ledger.post(movement(alice, source, destination, 1, reference="rent 11"))

        assert isinstance(await bank.ledger.post(movement(bob, destination, source, 1, reference="rent 11")), Posted)

    async def test_caller_that_leaves_while_queued_leaves_nothing(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        call = asyncio.create_task(bank.ledger.post(movement(alice, source, destination, 10)))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

        await bank.ledger.post(movement(alice, source, destination, 1))

        assert await bank.posted_minor(source) == 99


class TestConcurrency:
    async def test_exactly_as_many_succeed_as_there_is_money_for(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)

        async with running_ledger(bank.url) as other:
            results = await asyncio.gather(
                *(
                    (bank.ledger, other)[number % 2].post(movement(alice, source, destination, 10))
                    for number in range(200)
                ),
                return_exceptions=True,
            )

        assert Counter(type(result) for result in results) == {Posted: 10, InsufficientFunds: 190}
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (0, 100)
        assert await bank.adds_up()

    async def test_one_request_id_from_many_callers_posts_once(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        same = movement(alice, source, destination, 60)

        async with running_ledger(bank.url) as other:
            results = await asyncio.gather(*((bank.ledger, other)[number % 2].post(same) for number in range(50)))

        posted = [result for result in results if isinstance(result, Posted)]
        assert len(posted) == 1
        assert {result for result in results if result is not posted[0]} == {Replay(posted[0].result_id)}
        assert await bank.posted_minor(source) == 40
        assert await bank.adds_up()

    async def test_one_request_id_for_different_accounts_posts_once(self, bank: Bank) -> None:
        """The account locks do not meet; the key of requests has to."""
        alice, bob = await bank.person(), await bank.person()
        accounts = [await bank.account(alice, 100) for _ in range(8)]
        destination = await bank.account(bob)
        request_id = uuid4()

        async with running_ledger(bank.url) as other:
            results = await asyncio.gather(
                *(
                    (bank.ledger, other)[number % 2].post(
                        movement(alice, account, destination, 10, request_id=request_id)
                    )
                    for number, account in enumerate(accounts)
                ),
                return_exceptions=True,
            )

        assert Counter(type(result) for result in results) == {Posted: 1, RequestIdReused: 7}
        assert await bank.adds_up()

    async def test_opposite_transfers_over_two_processes_never_deadlock(self, bank: Bank) -> None:
        people = [await bank.person() for _ in range(4)]
        accounts = [await bank.account(person, 1_000) for person in people]
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        before = await bank.pool.fetchval(deadlocks)

        async def wander(ledger: object, first: int) -> None:
            for step in range(30):
                source = (first + step) % 4
                destination = (source + 1 + step % 3) % 4
                await ledger.post(movement(people[source], accounts[source], accounts[destination], 1))  # type: ignore[attr-defined]

        async with running_ledger(bank.url) as other:
            await asyncio.gather(*(wander((bank.ledger, other)[number % 2], number) for number in range(32)))

        assert sum([await bank.posted_minor(account) for account in accounts]) == 4_000
        assert await bank.adds_up()
        await asyncio.sleep(1.1)  # the server reports its counters once a second
        assert await bank.pool.fetchval(deadlocks) == before


class TestBlockedAccount:
    async def test_locked_account_holds_up_only_its_own(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        locked, free, destination = (
            await bank.account(alice, 100),
            await bank.account(alice, 100),
            await bank.account(bob),
        )
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", locked)
            blocked = asyncio.create_task(bank.ledger.post(movement(alice, locked, destination, 10)))
            times_s = []
            for _ in range(20):
                started = monotonic()
                await bank.ledger.post(movement(alice, free, destination, 1))
                times_s.append(monotonic() - started)
            assert median(times_s) < BATCH_LOCK_TIMEOUT_S
            assert not blocked.done()

        assert isinstance(await blocked, Posted)
        assert await bank.posted_minor(destination) == 30

    async def test_account_locked_for_too_long_is_contention(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        locked, destination = await bank.account(alice, 100), await bank.account(bob)
        before = await bank.counts()
        started = monotonic()
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", locked)
            calls = [bank.ledger.post(movement(alice, locked, destination, 10)) for _ in range(5)]
            results = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(result) for result in results] == [Contended] * 5
        assert BLOCKED_TIMEOUT_S <= monotonic() - started < BLOCKED_TIMEOUT_S + 5
        assert await bank.counts() == before

    async def test_unknown_account_beside_a_locked_one_is_not_found(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        locked, source = await bank.account(alice, 100), await bank.account(alice, 100)
        destination = await bank.account(bob)
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", locked)
            blocked = asyncio.create_task(bank.ledger.post(movement(alice, locked, destination, 10)))
            with pytest.raises(NotFound):
                await bank.ledger.post(movement(alice, source, uuid4(), 10))
        await blocked


class TestRevocation:
    async def test_debit_that_waited_for_a_revocation_is_refused(self, bank: Bank) -> None:
        """State read before the locks were had would let it pass."""
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE owner_user_id = $1 FOR UPDATE", alice.user_id)
            call = asyncio.create_task(bank.ledger.post(movement(alice, source, destination, 10)))
            await bank.waits_for_locks(1)
            await connection.execute("UPDATE sessions SET revoke_time = now() WHERE id = $1", alice.session_id)

        with pytest.raises(SessionRevoked):
            await call
        assert await bank.posted_minor(source) == 100


class TestFailures:
    async def test_one_bad_movement_harms_no_neighbour(self, bank: Bank) -> None:
        """A NUL, which the parsers refuse, stands for whatever they may miss."""
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        good = [movement(alice, source, destination, 1) for _ in range(20)]
        bad = movement(alice, source, destination, 1, description="\0")

        results = await asyncio.gather(
            *(bank.ledger.post(each) for each in (*good[:10], bad, *good[10:])), return_exceptions=True
        )

        assert [type(result) for result in results] == [Posted] * 10 + [asyncpg.CharacterNotInRepertoireError] + [
            Posted
        ] * 10
        assert await bank.posted_minor(destination) == 20
        assert await bank.adds_up()

    async def test_lost_connections_are_reported_and_replaced(self, bank: Bank) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100_000), await bank.account(bob)
        acknowledged = 0

        async def call_for_ever() -> None:
            nonlocal acknowledged
            while True:
                same = movement(alice, source, destination, 1)
                for _ in range(50):
                    try:
                        await bank.ledger.post(same)
                        acknowledged += 1
                        break
                    except BankError:
                        await asyncio.sleep(0.01)

        callers = [asyncio.create_task(call_for_ever()) for _ in range(8)]
        for _ in range(10):
            await asyncio.sleep(0.1)
            await bank.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'transactions' AND datname = current_database()"
                " AND query ~ 'COMMIT|InsertPostings|LockAccounts|BEGIN'"
            )
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await bank.ledger.close()

        assert acknowledged > 50
        in_flight = await bank.posted_minor(destination) - acknowledged
        assert 0 <= in_flight <= len(callers)
        assert await bank.adds_up()

    async def test_one_user_cannot_fill_the_line(self, bank: Bank) -> None:
        greedy, modest = await bank.person(), await bank.person()
        source, destination = await bank.account(modest, 100), await bank.account(greedy)
        calls = [
            asyncio.create_task(bank.ledger.post(movement(greedy, destination, source, 1)))
            for _ in range(WAITING_PER_USER_MAX + 200)
        ]
        await asyncio.sleep(0)

        assert isinstance(await bank.ledger.post(movement(modest, source, destination, 1)), Posted)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert "Overloaded" in {type(result).__name__ for result in results}
