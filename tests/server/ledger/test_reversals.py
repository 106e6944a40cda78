"""Reversals on a real database: full, partial, by whom, raced for."""

import asyncio
from collections import Counter
from uuid import UUID, uuid4

import pytest

from server.errors import Forbidden, InsufficientFunds, NotFound
from server.ledger.errors import AlreadyReversed, NotReversible, ReversalExceedsTransfer
from server.ledger.movements import UNRESOLVED, Kind, Movement, Posted, Replay
from tests.server.bank import Bank, Person, movement, running_ledger


def reverse(caller: Person, transfer_id: UUID, amount_minor: int | None = None) -> Movement:
    return movement(caller, UNRESOLVED, UNRESOLVED, amount_minor, kind=Kind.REVERSAL, subject_id=transfer_id)


class Scene:
    """Alice has sent Bob 60 of her 100."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    async def begin(self) -> "Scene":
        self.alice, self.bob = await self.bank.person(), await self.bank.person()
        self.source, self.destination = await self.bank.account(self.alice, 100), await self.bank.account(self.bob)
        posted = await self.bank.ledger.post(movement(self.alice, self.source, self.destination, 60))
        assert isinstance(posted, Posted)
        self.transfer_id = posted.transfer_id
        return self

    async def money(self) -> tuple[int, int]:
        return await self.bank.posted_minor(self.source), await self.bank.posted_minor(self.destination)


@pytest.fixture
async def scene(bank: Bank) -> Scene:
    return await Scene(bank).begin()


class TestReversal:
    async def test_full_moves_all_back_and_links_both(self, scene: Scene) -> None:
        posted = await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id))
        assert isinstance(posted, Posted)
        assert (posted.amount_minor, await scene.money()) == (60, (100, 0))
        row = await scene.bank.pool.fetchrow("SELECT * FROM transfers WHERE id = $1", posted.transfer_id)
        assert (row["kind"], row["reverses_transfer_id"]) == ("REVERSAL", scene.transfer_id)
        assert await scene.bank.adds_up()

    async def test_parts_add_up_to_the_amount_at_most(self, scene: Scene) -> None:
        await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id, 25))
        with pytest.raises(ReversalExceedsTransfer):
            await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id, 36))
        await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id))
        with pytest.raises(AlreadyReversed):
            await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id, 1))
        assert await scene.money() == (100, 0)

    async def test_repeat_is_replayed(self, scene: Scene) -> None:
        same = reverse(scene.bob, scene.transfer_id, 25)
        first = await scene.bank.ledger.post(same)
        assert isinstance(first, Posted)
        assert await scene.bank.ledger.post(same) == Replay(first.transfer_id)
        assert await scene.money() == (65, 35)

    async def test_sender_is_forbidden_a_stranger_told_nothing_a_banker_served(self, scene: Scene) -> None:
        with pytest.raises(Forbidden):
            await scene.bank.ledger.post(reverse(scene.alice, scene.transfer_id))
        with pytest.raises(NotFound):
            await scene.bank.ledger.post(reverse(await scene.bank.person(), scene.transfer_id))
        with pytest.raises(NotFound):
            await scene.bank.ledger.post(reverse(scene.bob, uuid4()))
        assert await scene.money() == (40, 60)
        await scene.bank.ledger.post(reverse(await scene.bank.banker(), scene.transfer_id))
        assert await scene.money() == (100, 0)

    async def test_money_that_was_spent_is_not_there_to_go_back(self, scene: Scene) -> None:
        await scene.bank.ledger.post(movement(scene.bob, scene.destination, scene.source, 50))
        with pytest.raises(InsufficientFunds):
            await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id, 11))
        assert await scene.money() == (90, 10)

    async def test_reversal_is_never_reversed(self, scene: Scene) -> None:
        posted = await scene.bank.ledger.post(reverse(scene.bob, scene.transfer_id))
        assert isinstance(posted, Posted)
        with pytest.raises(NotReversible):
            await scene.bank.ledger.post(reverse(await scene.bank.banker(), posted.transfer_id))

    async def test_banker_does_not_take_back_what_they_paid(self, scene: Scene) -> None:
        await scene.bank.as_owner("UPDATE users SET roles = '{DEPOSITOR,BANKER}' WHERE id = $1", scene.alice.user_id)
        with pytest.raises(Forbidden):
            await scene.bank.ledger.post(reverse(scene.alice, scene.transfer_id))
        assert await scene.money() == (40, 60)

    async def test_deposit_is_reversed_by_bankers_only(self, scene: Scene) -> None:
        deposited = await scene.bank.deposit(await scene.bank.banker(), scene.source, 5)
        assert isinstance(deposited, Posted)
        with pytest.raises(Forbidden):
            await scene.bank.ledger.post(reverse(scene.alice, deposited.transfer_id))
        await scene.bank.ledger.post(reverse(await scene.bank.banker(), deposited.transfer_id))
        assert await scene.money() == (40, 60)
        assert await scene.bank.adds_up()

    async def test_concurrent_reversals_move_back_no_more_than_was_moved(self, scene: Scene) -> None:
        async with running_ledger(scene.bank.url) as other:
            results = await asyncio.gather(
                *(
                    (scene.bank.ledger, other)[number % 2].post(reverse(scene.bob, scene.transfer_id, 25))
                    for number in range(20)
                ),
                return_exceptions=True,
            )
        assert Counter(type(result) for result in results) == {Posted: 2, ReversalExceedsTransfer: 18}
        assert await scene.money() == (90, 10)
        assert await scene.bank.adds_up()
