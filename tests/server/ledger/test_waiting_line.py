"""The line before the ledger: bounded, fair, and quick to forget callers that have gone."""

import asyncio
from uuid import UUID, uuid4

import pytest

from server.errors import Overloaded
from server.ledger.movements import Kind, Movement, Replay
from server.ledger.waiting_line import WAITING_MAX, WAITING_PER_USER_MAX, Waiting, WaitingLine

ALICE, BOB, CAROL = UUID(int=1), UUID(int=2), UUID(int=3)


async def waiting(user_id: UUID) -> Waiting:
    """A coroutine, as a future needs a loop."""
    return Waiting(Movement(Kind.TRANSFER, user_id, None, uuid4(), "rpc", b"", UUID(int=11), UUID(int=12), 1, "USD"))


class TestTake:
    async def test_one_user_is_served_in_the_order_of_arrival(self) -> None:
        line, calls = WaitingLine(), [await waiting(ALICE) for _ in range(5)]
        for call in calls:
            line.add(call)
        assert line.take(2) + line.take(256) == calls
        assert len(line) == 0

    async def test_users_take_turns(self) -> None:
        line = WaitingLine()
        of_alice = [await waiting(ALICE) for _ in range(4)]
        of_bob, of_carol = [await waiting(BOB) for _ in range(2)], [await waiting(CAROL)]
        for call in (*of_alice, *of_bob, *of_carol):
            line.add(call)
        assert line.take(4) == [of_alice[0], of_bob[0], of_carol[0], of_alice[1]]
        assert line.take(256) == [of_bob[1], of_alice[2], of_alice[3]]

    async def test_crowd_of_one_user_holds_up_a_neighbour_by_one_turn(self) -> None:
        line = WaitingLine()
        for _ in range(WAITING_PER_USER_MAX):
            line.add(await waiting(ALICE))
        modest = await waiting(BOB)
        line.add(modest)
        assert line.take(2)[1] is modest

    async def test_caller_that_has_gone_takes_no_place_in_a_batch(self) -> None:
        line, calls = WaitingLine(), [await waiting(ALICE) for _ in range(3)]
        for call in calls:
            line.add(call)
        calls[0].future.cancel()
        assert line.take(2) == calls[1:]
        assert len(line) == 0

    async def test_nothing_is_taken_from_an_empty_line(self) -> None:
        assert WaitingLine().take(256) == []


class TestAdd:
    async def test_share_of_one_user_is_bounded(self) -> None:
        line = WaitingLine()
        for _ in range(WAITING_PER_USER_MAX):
            line.add(await waiting(ALICE))
        with pytest.raises(Overloaded):
            line.add(await waiting(ALICE))
        line.add(await waiting(BOB))
        assert len(line) == WAITING_PER_USER_MAX + 1

    async def test_whole_line_is_bounded_and_has_room_again_after_a_batch(self) -> None:
        line = WaitingLine()
        for number in range(WAITING_MAX):
            line.add(await waiting(UUID(int=number)))
        with pytest.raises(Overloaded):
            line.add(await waiting(uuid4()))
        assert len(line) == WAITING_MAX
        line.take(1)
        line.add(await waiting(uuid4()))

    async def test_share_is_free_again_after_a_batch(self) -> None:
        line = WaitingLine()
        for _ in range(WAITING_PER_USER_MAX):
            line.add(await waiting(ALICE))
        line.take(1)
        line.add(await waiting(ALICE))
        with pytest.raises(Overloaded):
            line.add(await waiting(ALICE))


class TestPutBack:
    async def test_who_waited_elsewhere_is_the_users_first_again(self) -> None:
        line, first, second = WaitingLine(), await waiting(ALICE), await waiting(ALICE)
        line.add(second)
        line.put_back(first)
        assert line.take(2) == [first, second]

    async def test_who_was_admitted_once_is_never_refused(self) -> None:
        line = WaitingLine()
        for _ in range(WAITING_PER_USER_MAX):
            line.add(await waiting(ALICE))
        line.put_back(await waiting(ALICE))
        assert len(line) == WAITING_PER_USER_MAX + 1


class TestWait:
    async def test_it_lasts_until_somebody_comes(self) -> None:
        line = WaitingLine()
        waiter = asyncio.create_task(line.wait())
        await asyncio.sleep(0)
        assert not waiter.done()
        line.add(await waiting(ALICE))
        await waiter

    async def test_it_lasts_again_once_everybody_was_taken(self) -> None:
        line = WaitingLine()
        for call in (await waiting(ALICE), await waiting(BOB)):
            line.add(call)
        line.take(1)
        await asyncio.wait_for(line.wait(), 1)
        line.take(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(line.wait(), 0.01)
        line.put_back(await waiting(ALICE))
        await asyncio.wait_for(line.wait(), 1)


class TestAnswer:
    async def test_first_answer_counts(self) -> None:
        call = await waiting(ALICE)
        call.answer(Replay(UUID(int=7)))
        call.refuse(Overloaded())
        call.answer(Replay(UUID(int=8)))
        assert await call.future == Replay(UUID(int=7))

    async def test_caller_that_has_gone_needs_no_answer(self) -> None:
        call = await waiting(ALICE)
        call.future.cancel()
        call.answer(Replay(UUID(int=7)))
        call.refuse(Overloaded())
        assert call.future.cancelled()
