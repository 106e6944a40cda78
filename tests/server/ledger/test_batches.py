"""Batches on a real database: all or nothing, or each by itself."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from server.database import open_pool
from server.errors import Contended, InsufficientFunds, Overloaded, RequestIdReused
from server.ledger.batches import BATCHES_AT_ONCE, BATCHES_PER_USER_MAX, BATCHES_WAITING_MAX, Batches
from server.ledger.commit_queue import LEDGER_SETTINGS
from server.ledger.movements import Posted, Replay
from tests.server.bank import Bank, Person, movement


@pytest.fixture
async def batches(bank: Bank) -> AsyncIterator[Batches]:
    pool = await open_pool(bank.url, size=2, settings=LEDGER_SETTINGS)
    yield Batches(pool)
    await pool.close()


class TestIndependent:
    async def test_each_item_has_its_own_outcome_in_order(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        amounts = [60, 50, 40, 1]

        outcomes = await batches.post([movement(alice, source, destination, each) for each in amounts], atomic=False)

        assert [type(outcome) for outcome in outcomes] == [Posted, InsufficientFunds, Posted, InsufficientFunds]
        assert (await bank.posted_minor(source), await bank.posted_minor(destination)) == (0, 100)
        assert await bank.adds_up()

    async def test_repeated_batch_is_replayed(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        same = [movement(alice, source, destination, 10) for _ in range(5)]

        first = await batches.post(same, atomic=False)
        again = await batches.post(same, atomic=False)

        assert again == [Replay(outcome.result_id) for outcome in first if isinstance(outcome, Posted)]
        assert await bank.posted_minor(source) == 50

    async def test_item_named_twice_is_posted_once_and_then_replayed(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        item = movement(alice, source, destination, 10)

        posted, replayed = await batches.post([item, item], atomic=False)

        assert isinstance(posted, Posted)
        assert replayed == Replay(posted.transfer_id)
        assert await bank.posted_minor(source) == 90

    async def test_thousand_items_are_one_transaction(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 1000), await bank.account(bob)

        outcomes = await batches.post([movement(alice, source, destination, 1) for _ in range(1000)], atomic=False)

        assert {type(outcome) for outcome in outcomes} == {Posted}
        assert await bank.pool.fetchval("SELECT count(DISTINCT xmin::text) FROM transfers WHERE kind = 'TRANSFER'") == 1
        assert await bank.adds_up()


class TestAtomic:
    async def test_one_refused_item_refuses_all_and_is_named(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        before = await bank.counts()

        with pytest.raises(InsufficientFunds) as refused:
            await batches.post([movement(alice, source, destination, each) for each in (60, 30, 20)], atomic=True)

        assert refused.value.item_index == 2
        assert await bank.counts() == before
        assert await bank.posted_minor(source) == 100

    async def test_later_item_spends_what_an_earlier_one_credited(self, bank: Bank, batches: Batches) -> None:
        alice = await bank.person()
        first, second, third = await bank.account(alice, 100), await bank.account(alice), await bank.account(alice)

        outcomes = await batches.post(
            [movement(alice, first, second, 100), movement(alice, second, third, 100)], atomic=True
        )

        assert [type(outcome) for outcome in outcomes] == [Posted, Posted]
        assert await bank.posted_minor(third) == 100

    async def test_request_id_repeated_with_other_fields_refuses_all(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        request_id = uuid4()
        items = [movement(alice, source, destination, each, request_id=request_id) for each in (1, 2)]

        with pytest.raises(RequestIdReused):
            await batches.post(items, atomic=True)

        assert await bank.posted_minor(source) == 100


class TestAdmission:
    """While an account of Alice's is locked, her batches stay."""

    @pytest.fixture
    async def scene(self, bank: Bank) -> tuple[Person, UUID, UUID]:
        alice = await bank.person()
        return alice, await bank.account(alice, 100), await bank.account(alice)

    async def test_one_user_leaves_places_to_others(
        self, bank: Bank, batches: Batches, scene: tuple[Person, UUID, UUID]
    ) -> None:
        alice, source, destination = scene
        bob = await bank.person()
        of_bob = await bank.account(bob, 1)

        def post() -> asyncio.Task[object]:
            return asyncio.create_task(batches.post([movement(alice, source, destination, 1)], atomic=True))

        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
            hers = [post() for _ in range(BATCHES_PER_USER_MAX)]
            await asyncio.sleep(0.1)
            with pytest.raises(Overloaded):
                await post()
            his = asyncio.create_task(batches.post([movement(bob, of_bob, destination, 1)], atomic=True))
            await asyncio.sleep(0.1)
        await asyncio.gather(*hers, his)
        await post()
        assert await bank.posted_minor(destination) == BATCHES_PER_USER_MAX + 2

    async def test_more_than_may_wait_are_refused_at_once(
        self, bank: Bank, batches: Batches, scene: tuple[Person, UUID, UUID]
    ) -> None:
        alice, source, destination = scene

        def post() -> asyncio.Task[object]:
            item = movement(alice, source, destination, 1)._replace(user_id=uuid4())
            return asyncio.create_task(batches.post([item], atomic=False))

        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
            admitted = [post() for _ in range(BATCHES_AT_ONCE + BATCHES_WAITING_MAX)]
            await asyncio.sleep(0.1)
            with pytest.raises(Overloaded):
                await post()
        await asyncio.gather(*admitted)

    async def test_caller_who_gives_up_keeps_the_place_until_the_batch_has_ended(
        self, bank: Bank, batches: Batches, scene: tuple[Person, UUID, UUID]
    ) -> None:
        alice, source, destination = scene

        def post() -> asyncio.Task[object]:
            return asyncio.create_task(batches.post([movement(alice, source, destination, 1)], atomic=True))

        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
            left = [post() for _ in range(BATCHES_PER_USER_MAX)]
            await asyncio.sleep(0.1)
            for call in left:
                call.cancel()
            await asyncio.sleep(0.1)
            with pytest.raises(Overloaded):
                await post()
        await asyncio.wait(left)
        await post()
        assert await bank.posted_minor(destination) == BATCHES_PER_USER_MAX + 1


class TestConcurrency:
    async def test_opposite_batches_and_calls_add_up(self, bank: Bank, batches: Batches) -> None:
        people = [await bank.person() for _ in range(4)]
        accounts = [await bank.account(person, 1_000) for person in people]

        async def batch(number: int) -> None:
            source = number % 4
            items = [
                movement(people[source], accounts[source], accounts[(source + 1 + step % 3) % 4], 1)
                for step in range(40)
            ]
            await batches.post(items if number % 2 else items[::-1], atomic=bool(number % 3))

        async def call(number: int) -> None:
            for step in range(20):
                source = (number + step) % 4
                await bank.ledger.post(movement(people[source], accounts[source], accounts[(source + 2) % 4], 1))

        await asyncio.gather(*(batch(number) for number in range(8)), *(call(number) for number in range(16)))

        assert sum([await bank.posted_minor(account) for account in accounts]) == 4_000
        assert await bank.adds_up()

    async def test_locked_account_is_contention_and_nothing_is_written(self, bank: Bank, batches: Batches) -> None:
        alice, bob = await bank.person(), await bank.person()
        source, destination = await bank.account(alice, 100), await bank.account(bob)
        before = await bank.counts()
        async with bank.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR UPDATE", source)
            with pytest.raises(Contended):
                await batches.post([movement(alice, source, destination, 1)], atomic=False)
        assert await bank.counts() == before
