"""Holds on a real database: placed, captured, voided, expired, raced for."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest

from server.errors import AmountOverflow, Forbidden, InsufficientFunds, InvalidRequest, NotFound
from server.ledger.errors import CaptureExceedsHold, HoldExpired, HoldNotPending, TooManyHolds
from server.ledger.movements import UNRESOLVED, Held, Kind, Movement, Posted, Replay
from server.ledger.rules import PENDING_HOLDS_MAX, POSTED_MINOR_MAX
from server.ledger.writing import post
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


class TestHeldAmount:
    """What may be held on one account altogether."""

    async def test_more_than_can_be_stored_is_refused(self, scene: Scene) -> None:
        spare = 10**17
        await scene.bank.as_owner(
            "UPDATE accounts SET posted_minor = $2, held_minor = $3, overdraft_limit_minor = $4 WHERE id = $1",
            scene.source,
            POSTED_MINOR_MAX,
            POSTED_MINOR_MAX - spare,
            spare,
        )
        more = hold(scene.alice, scene.source, scene.destination, 1)
        await scene.bank.ledger.post(hold(scene.alice, scene.source, scene.destination, spare))

        refused = await scene.bank.refused(
            scene.bank.ledger.post(more), AmountOverflow, ["accounts", "holds", "requests", "events"]
        )

        assert refused.metadata == {"account_id": str(scene.source)}
        assert (await scene.bank.get(scene.source)).held_minor == POSTED_MINOR_MAX


class TestHoldCount:
    """How many holds may be pending on one account."""

    async def begin(self, scene: Scene, pending: int) -> None:
        """Let so many holds be pending on Alice's account, the scene's own included."""
        await scene.bank.deposit(await scene.bank.banker(), scene.source, 10_000)
        await scene.bank.place_holds(scene.alice, scene.source, scene.destination, pending - 1)

    async def post(self, scene: Scene, *movements: Movement) -> list[type]:
        async with scene.bank.pool.acquire() as connection, connection.transaction():
            return [type(outcome) for outcome in (await post(connection, movements)).outcomes]

    def next(self, scene: Scene) -> Movement:
        return hold(scene.alice, scene.source, scene.destination, 1)

    async def test_one_more_than_may_be_is_refused(self, scene: Scene) -> None:
        await self.begin(scene, PENDING_HOLDS_MAX - 1)
        last = self.next(scene)
        placed = await scene.bank.ledger.post(last)
        assert isinstance(placed, Held)

        refused = await scene.bank.refused(
            scene.bank.ledger.post(self.next(scene)), TooManyHolds, ["accounts", "holds", "requests", "events"]
        )

        assert refused.metadata == {"account_id": str(scene.source), "count_max": str(PENDING_HOLDS_MAX)}
        assert await scene.bank.ledger.post(last) == Replay(placed.hold_id)

    async def test_holds_of_one_batch_are_counted_together(self, scene: Scene) -> None:
        await self.begin(scene, PENDING_HOLDS_MAX - 2)
        assert await self.post(scene, *(self.next(scene) for _ in range(3))) == [Held, Held, TooManyHolds]

    async def test_hold_that_is_settled_before_makes_room(self, scene: Scene) -> None:
        await self.begin(scene, PENDING_HOLDS_MAX)
        other = await scene.bank.pool.fetchval("SELECT id FROM holds WHERE id <> $1 LIMIT 1", scene.hold_id)
        assert await self.post(
            scene,
            self.next(scene),
            settle(scene.shop, Kind.CAPTURE, scene.hold_id),
            self.next(scene),
            settle(scene.shop, Kind.VOID, other),
            self.next(scene),
            self.next(scene),
        ) == [TooManyHolds, Posted, Held, Held, Held, TooManyHolds]

    async def test_overdue_hold_does_not_count(self, scene: Scene) -> None:
        await self.begin(scene, PENDING_HOLDS_MAX)
        await scene.overdue()
        assert await self.post(scene, self.next(scene), self.next(scene)) == [Held, TooManyHolds]
        assert await scene.state() == ("EXPIRED", 0)

    async def test_other_accounts_and_other_movements_go_on(self, scene: Scene) -> None:
        await self.begin(scene, PENDING_HOLDS_MAX)
        elsewhere = await scene.bank.account(scene.alice, 10)
        assert await self.post(
            scene,
            hold(scene.alice, elsewhere, scene.destination, 1),
            movement(scene.alice, scene.source, scene.destination, 1),
        ) == [Held, Posted]


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
