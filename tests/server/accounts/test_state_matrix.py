"""What may happen on a frozen and on a closed account: every movement, on either side."""

from uuid import UUID

import pytest

from server.accounts.standing import AccountStanding
from server.caller import Role
from server.errors import AccountClosed, AccountFrozen, BankError
from server.ledger.movements import UNRESOLVED, Held, Kind, Movement, Posted
from server.ledger.writing import release_overdue_holds
from tests.server.bank import Bank, Person, caller, movement


class Scene:
    """Alice's account under test and Bob's, with a hold and a transfer in either direction between them."""

    def __init__(self, bank: Bank) -> None:
        self.bank = bank
        self.subjects: dict[str, UUID] = {}

    async def begin(self) -> "Scene":
        bank = self.bank
        self.alice, self.bob, self.banker = await bank.person(), await bank.person(), await bank.banker()
        self.own, self.other = await bank.account(self.alice, 100), await bank.account(self.bob, 100)
        self.cash = bank.reference.cash_account("USD")
        for name, owner, source, destination in (
            ("out", self.alice, self.own, self.other),
            ("in", self.bob, self.other, self.own),
        ):
            sent = await bank.ledger.post(movement(owner, source, destination, 5))
            held = await bank.ledger.post(movement(owner, source, destination, 10, kind=Kind.HOLD))
            assert isinstance(sent, Posted)
            assert isinstance(held, Held)
            self.subjects |= {f"transfer {name}": sent.transfer_id, f"hold {name}": held.hold_id}
        return self

    def settle(self, kind: Kind, subject: str, amount_minor: int | None = 5) -> Movement:
        """Something about a hold or transfer, by a banker who may do all of it."""
        return movement(self.banker, UNRESOLVED, UNRESOLVED, amount_minor, kind=kind, subject_id=self.subjects[subject])

    def attempt(self, name: str) -> Movement:
        def send(who: Person, source: UUID, destination: UUID, kind: Kind) -> Movement:
            return movement(who, source, destination, 5, kind=kind)

        return {
            "transfer out": lambda: send(self.alice, self.own, self.other, Kind.TRANSFER),
            "transfer in": lambda: send(self.bob, self.other, self.own, Kind.TRANSFER),
            "deposit": lambda: send(self.banker, self.cash, self.own, Kind.DEPOSIT),
            "withdrawal": lambda: send(self.banker, self.own, self.cash, Kind.WITHDRAWAL),
            "hold out": lambda: send(self.alice, self.own, self.other, Kind.HOLD),
            "hold in": lambda: send(self.bob, self.other, self.own, Kind.HOLD),
            "capture out": lambda: self.settle(Kind.CAPTURE, "hold out"),
            "capture in": lambda: self.settle(Kind.CAPTURE, "hold in"),
            "void out": lambda: self.settle(Kind.VOID, "hold out", None),
            "void in": lambda: self.settle(Kind.VOID, "hold in", None),
            "reversal that debits": lambda: self.settle(Kind.REVERSAL, "transfer in"),
            "reversal that credits": lambda: self.settle(Kind.REVERSAL, "transfer out"),
        }[name]()

    async def overdue(self, subject: str) -> None:
        await self.bank.as_owner(
            "UPDATE holds SET expire_time = clock_timestamp() - interval '1 s' WHERE id = $1", self.subjects[subject]
        )

    async def money(self) -> tuple[int, ...]:
        rows = [await self.bank.get(account_id) for account_id in (self.own, self.other)]
        return tuple(value for row in rows for value in (row.posted_minor, row.held_minor))

    async def outcome(self, attempt: Movement) -> type[BankError] | None:
        """What refuses the attempt; a refused one must change nothing."""
        before = (await self.bank.counts(), await self.money())
        try:
            await self.bank.ledger.post(attempt)
        except BankError as refusal:
            assert (await self.bank.counts(), await self.money()) == before
            return type(refusal)
        assert await self.bank.adds_up()
        return None


@pytest.fixture
async def scene(bank: Bank) -> Scene:
    return await Scene(bank).begin()


class TestFrozen:
    @pytest.mark.parametrize(
        ("name", "refusal"),
        [
            ("transfer out", AccountFrozen),
            ("transfer in", None),
            ("deposit", None),
            ("withdrawal", AccountFrozen),
            ("hold out", AccountFrozen),
            ("hold in", None),
            ("capture out", AccountFrozen),
            ("capture in", None),
            ("void out", None),
            ("void in", None),
            ("reversal that debits", AccountFrozen),
            ("reversal that credits", None),
        ],
    )
    async def test_debits_are_refused_and_all_else_goes_on(
        self, scene: Scene, standing: AccountStanding, name: str, refusal: type[BankError] | None
    ) -> None:
        await standing.freeze(scene.own, caller(scene.banker, Role.BANKER))
        assert await scene.outcome(scene.attempt(name)) is refusal

    async def test_holds_expire(self, scene: Scene, standing: AccountStanding) -> None:
        await standing.freeze(scene.own, caller(scene.banker, Role.BANKER))
        await scene.overdue("hold out")
        released = await scene.bank.database.transaction(
            lambda connection: release_overdue_holds(connection, [scene.own])
        )
        assert (released, await scene.money()) == (1, (100, 0, 100, 10))

    async def test_everything_goes_on_after_unfreezing(self, scene: Scene, standing: AccountStanding) -> None:
        await standing.freeze(scene.own, caller(scene.banker, Role.BANKER))
        await standing.unfreeze(scene.own, caller(scene.banker, Role.BANKER))
        for name in ("transfer out", "withdrawal", "hold out", "capture out", "reversal that debits"):
            assert await scene.outcome(scene.attempt(name)) is None


class TestClosed:
    @pytest.fixture
    async def closed(self, scene: Scene, standing: AccountStanding) -> Scene:
        """The account emptied and closed; a hold for it has run out, but nobody has looked at that yet."""
        await scene.bank.ledger.post(scene.settle(Kind.VOID, "hold out", None))
        await scene.bank.ledger.post(movement(scene.banker, scene.own, scene.cash, 100, kind=Kind.WITHDRAWAL))
        await scene.overdue("hold in")
        assert (await standing.close(scene.own, caller(scene.alice))).state == "CLOSED"
        return scene

    @pytest.mark.parametrize(
        "name",
        [
            "transfer out",
            "transfer in",
            "deposit",
            "withdrawal",
            "hold out",
            "hold in",
            "capture out",
            "capture in",
            "reversal that debits",
            "reversal that credits",
        ],
    )
    async def test_nothing_is_booked(self, closed: Scene, name: str) -> None:
        assert await closed.outcome(closed.attempt(name)) is AccountClosed

    async def test_hold_for_it_that_ran_out_is_released(self, closed: Scene) -> None:
        await closed.bank.database.transaction(lambda connection: release_overdue_holds(connection, [closed.other]))
        assert await closed.money() == (0, 0, 100, 0)
        assert await closed.bank.adds_up()
