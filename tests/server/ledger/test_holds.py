"""Holds on a real database: placed, captured, voided, expired, raced for."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from server.errors import Forbidden, InsufficientFunds, InvalidRequest, NotFound
from server.ledger.errors import CaptureExceedsHold, HoldExpired, HoldNotPending
from server.ledger.movements import UNRESOLVED, Held, Kind, Movement, Posted, Replay
from tests.server.bank import Bank, Person, movement, running_ledger
from worker.holds import HoldSweep


def hold(caller: Person, source: UUID, destination: UUID, amount_minor: int, **changes: object) -> Movement:
    return movement(caller, source, destination, amount_minor, kind=Kind.HOLD, **changes)  # type: ignore[arg-type]


def settle(caller: Person, kind: Kind, hold_id: UUID, amount_minor: int | None = None) -> Movement:
    return movement(caller, UNRESOLVED, UNRESOLVED, amount_minor, kind=kind, subject_id=hold_id)


class Scene:
    """Alice, who has 100, and a shop that holds 60 of it."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank

    async def begin(self) -> "Scene":
        self.alice, self.shop = await self.bank.person(), await self.bank.person()
        self.source, self.destination = await self.bank.account(self.alice, 100), await self.bank.account(self.shop)
        placed = await self.bank.ledger.post(hold(self.alice, self.source, self.destination, 60))
        assert isinstance(placed, Held)
        self.hold_id = placed.hold_id
        return self

    async def overdue(self) -> None:
        """Let the hold's time run out, as the owner of the tables can."""
        await self.bank.as_owner(
            "UPDATE holds SET expire_time = clock_timestamp() - interval '1 s' WHERE id = $1", self.hold_id
        )

    async def state(self, hold_id: UUID | None = None) -> tuple[str, int]:
        """Of a hold, of the shop's if none is named."""
        row = await self.bank.pool.fetchrow(
            "SELECT state, captured_amount_minor FROM holds WHERE id = $1", hold_id or self.hold_id
        )
        assert row is not None
        return row["state"], row["captured_amount_minor"]

    async def money(self) -> tuple[int, int, int]:
        """Posted and held on the source, posted on the destination."""
        source = await self.bank.get(self.source)
        return source.posted_minor, source.held_minor, await self.bank.posted_minor(self.destination)


@pytest.fixture
async def scene(bank: Bank) -> Scene:
    return await Scene(bank).begin()


class TestHold:
    async def test_held_money_is_not_available(self, scene: Scene) -> None:
        assert await scene.money() == (100, 60, 0)
        with pytest.raises(InsufficientFunds):
            await scene.bank.ledger.post(movement(scene.alice, scene.source, scene.destination, 41))
        with pytest.raises(InsufficientFunds):
            await scene.bank.ledger.post(hold(scene.alice, scene.source, scene.destination, 41))
        assert await scene.money() == (100, 60, 0)

    async def test_repeated_request_id_returns_the_first_hold(self, scene: Scene) -> None:
        same = hold(scene.alice, scene.source, scene.destination, 10)
        first = await scene.bank.ledger.post(same)
        assert isinstance(first, Held)
        assert await scene.bank.ledger.post(same) == Replay(first.hold_id)
        assert await scene.money() == (100, 70, 0)

    @pytest.mark.parametrize("offset", [timedelta(seconds=-1), timedelta(days=31, minutes=1)])
    async def test_expiry_that_is_past_or_too_far_is_refused(self, scene: Scene, offset: timedelta) -> None:
        with pytest.raises(InvalidRequest):
            await scene.bank.ledger.post(
                hold(scene.alice, scene.source, scene.destination, 10, expire_time=datetime.now(UTC) + offset)
            )
        assert await scene.money() == (100, 60, 0)


class TestCapture:
    async def test_part_is_moved_and_the_rest_released(self, scene: Scene) -> None:
        posted = await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, scene.hold_id, 45))
        assert isinstance(posted, Posted)
        assert (posted.amount_minor, await scene.money()) == (45, (55, 0, 45))
        assert await scene.state() == ("CAPTURED", 45)
        assert await scene.bank.adds_up()

    async def test_full_moves_all_that_is_held(self, scene: Scene) -> None:
        await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, scene.hold_id))
        assert await scene.money() == (40, 0, 60)

    async def test_more_than_is_held_is_refused(self, scene: Scene) -> None:
        with pytest.raises(CaptureExceedsHold):
            await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, scene.hold_id, 61))
        assert (await scene.state(), await scene.money()) == (("PENDING", 0), (100, 60, 0))

    async def test_second_capture_is_refused_and_a_repeat_replayed(self, scene: Scene) -> None:
        same = settle(scene.shop, Kind.CAPTURE, scene.hold_id, 10)
        first = await scene.bank.ledger.post(same)
        assert isinstance(first, Posted)
        assert await scene.bank.ledger.post(same) == Replay(first.transfer_id)
        with pytest.raises(HoldNotPending):
            await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, scene.hold_id, 10))
        assert await scene.money() == (90, 0, 10)

    async def test_owner_of_the_source_is_forbidden_and_a_stranger_told_nothing(self, scene: Scene) -> None:
        with pytest.raises(Forbidden):
            await scene.bank.ledger.post(settle(scene.alice, Kind.CAPTURE, scene.hold_id))
        with pytest.raises(NotFound):
            await scene.bank.ledger.post(settle(await scene.bank.person(), Kind.CAPTURE, scene.hold_id))
        with pytest.raises(NotFound):
            await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, uuid4()))
        assert await scene.money() == (100, 60, 0)

    @pytest.mark.parametrize("kind", [Kind.CAPTURE, Kind.VOID])
    async def test_banker_does_not_settle_a_hold_on_their_own_account(self, scene: Scene, kind: Kind) -> None:
        await scene.bank.as_owner("UPDATE users SET roles = '{DEPOSITOR,BANKER}' WHERE id = $1", scene.alice.user_id)
        before = await scene.bank.counts()
        with pytest.raises(Forbidden):
            await scene.bank.ledger.post(settle(scene.alice, kind, scene.hold_id))
        assert await scene.bank.counts() == before
        await scene.bank.ledger.post(settle(scene.shop, kind, scene.hold_id))

    async def test_banker_captures(self, scene: Scene) -> None:
        await scene.bank.ledger.post(settle(await scene.bank.banker(), Kind.CAPTURE, scene.hold_id))
        assert await scene.money() == (40, 0, 60)


class TestVoid:
    async def test_money_is_released_once(self, scene: Scene) -> None:
        for _ in range(2):
            assert isinstance(await scene.bank.ledger.post(settle(scene.shop, Kind.VOID, scene.hold_id)), Held)
            assert (await scene.state(), await scene.money()) == (("VOIDED", 0), (100, 0, 0))

    async def test_captured_hold_is_not_voided(self, scene: Scene) -> None:
        await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, scene.hold_id))
        with pytest.raises(HoldNotPending):
            await scene.bank.ledger.post(settle(scene.shop, Kind.VOID, scene.hold_id))
        assert await scene.money() == (40, 0, 60)


class TestExpiry:
    async def test_overdue_money_is_free_for_the_next_transfer(self, scene: Scene) -> None:
        await scene.overdue()
        await scene.bank.ledger.post(movement(scene.alice, scene.source, scene.destination, 100))
        assert (await scene.state(), await scene.money()) == (("EXPIRED", 0), (0, 0, 100))
        assert await scene.bank.adds_up()

    async def test_overdue_hold_is_not_captured(self, scene: Scene) -> None:
        await scene.overdue()
        with pytest.raises(HoldExpired):
            await scene.bank.ledger.post(settle(scene.shop, Kind.CAPTURE, scene.hold_id))
        assert (await scene.money())[::2] == (100, 0)

    async def test_sweep_expires_what_nobody_touches(self, scene: Scene) -> None:
        await scene.overdue()
        sweep = HoldSweep(scene.bank.database)
        assert (await sweep.sweep(), await sweep.sweep()) == (1, 0)
        assert (await scene.state(), await scene.money()) == (("EXPIRED", 0), (100, 0, 0))
        types = await scene.bank.pool.fetch("SELECT type FROM events WHERE subject_id = $1 ORDER BY id", scene.hold_id)
        assert [row["type"] for row in types] == ["hold.created", "hold.expired"]


class TestRaces:
    async def test_one_of_many_captures_and_voids_wins(self, scene: Scene) -> None:
        async with running_ledger(scene.bank.url) as other:
            results = await asyncio.gather(
                *(
                    (scene.bank.ledger, other)[number % 2].post(
                        settle(scene.shop, Kind.CAPTURE if number % 3 else Kind.VOID, scene.hold_id)
                    )
                    for number in range(30)
                ),
                return_exceptions=True,
            )
        kinds = Counter(type(result) for result in results)
        if kinds[Posted]:
            assert kinds == {Posted: 1, HoldNotPending: 29}
            assert await scene.money() == (40, 0, 60)
        else:
            assert kinds == {Held: 10, HoldNotPending: 20}
            assert await scene.money() == (100, 0, 0)
        assert await scene.bank.adds_up()

    async def test_capture_racing_expiry_has_one_end(self, scene: Scene) -> None:
        sweep, ends = HoldSweep(scene.bank.database), set()
        # The first is overdue, the last lives on, and the time of those between runs out meanwhile.
        for left_ms in (-1_000, 1, 2, 3, 4, 6, 10, 60_000):
            placed = await scene.bank.ledger.post(hold(scene.alice, scene.source, scene.destination, 1))
            assert isinstance(placed, Held)
            before = await scene.money()
            await scene.bank.as_owner(
                "UPDATE holds SET expire_time = clock_timestamp() + make_interval(secs => $2) WHERE id = $1",
                placed.hold_id,
                left_ms / 1_000,
            )
            capture = partial(settle, scene.shop, Kind.CAPTURE, placed.hold_id)
            post = scene.bank.ledger.post
            results = await asyncio.gather(
                post(capture()), sweep.sweep(), post(capture()), sweep.sweep(), return_exceptions=True
            )
            assert {type(result) for result in results} <= {Posted, HoldExpired, HoldNotPending, int}
            await asyncio.sleep(0.03)
            await sweep.sweep()
            captured = sum(isinstance(result, Posted) for result in results)
            assert await scene.state(placed.hold_id) == (("CAPTURED", 1) if captured else ("EXPIRED", 0))
            source, held, destination = before
            assert await scene.money() == (source - captured, held - 1, destination + captured)
            ends.add(captured)
        assert ends == {0, 1}
        assert await scene.bank.adds_up()
