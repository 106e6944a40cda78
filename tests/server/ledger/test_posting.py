"""The rules, case by case in the documented order, without a database."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from server.errors import (
    AccountClosed,
    AccountFrozen,
    AmountOverflow,
    CurrencyMismatch,
    DuplicateReference,
    EmailNotVerified,
    Forbidden,
    InsufficientFunds,
    NotFound,
    RequestIdReused,
    SessionRevoked,
    Unauthenticated,
)
from server.ledger.movements import Kind, Movement, Posted, Replay, fingerprint_of
from server.ledger.posting import evaluate
from server.ledger.rules import POSTED_MINOR_MAX
from server.ledger.state import Account, Books, Context

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ALICE, BOB, BANKER = UUID(int=1), UUID(int=2), UUID(int=3)
SOURCE, DESTINATION, CASH = UUID(int=11), UUID(int=12), UUID(int=13)
CONTEXT = Context(
    session_live=True,
    user_disabled=False,
    email_verified=True,
    roles=("DEPOSITOR",),
    request_rpc=None,
    request_fingerprint=None,
    request_result_id=None,
    reference_taken=False,
    now=NOW,
)


def account(account_id: UUID, owner: UUID | None, posted_minor: int = 0) -> Account:
    kind = "CUSTOMER" if owner else "SYSTEM_CASH"
    return Account(account_id, kind, owner, "USD", "OPEN", posted_minor, 0, 0, 0, None)


def transfer(amount_minor: int = 10, **changes: object) -> Movement:
    movement = Movement(
        kind=Kind.TRANSFER,
        user_id=ALICE,
        session_id=uuid4(),
        request_id=uuid4(),
        rpc="transfer",
        fingerprint=fingerprint_of(amount_minor),
        source_id=SOURCE,
        destination_id=DESTINATION,
        amount_minor=amount_minor,
        currency_code="USD",
    )
    return movement._replace(**changes)  # type: ignore[arg-type]  # names of fields


class Scene:
    """Two accounts, the cash account, and what the rules made of the movements."""

    def __init__(self) -> None:
        self.source = account(SOURCE, ALICE, 100)
        self.destination = account(DESTINATION, BOB)
        self.cash = account(CASH, None)
        self.context = CONTEXT

    def post(self, *movements: Movement) -> list[object]:
        accounts = {each.id: each for each in (self.source, self.destination, self.cash)}
        evaluation = evaluate(movements, Books(accounts), [self.context] * len(movements))
        assert len(evaluation.posted) == sum(
            isinstance(outcome, Posted) and not outcome.movement.validate_only for outcome in evaluation.outcomes
        )
        return list(evaluation.outcomes)

    @property
    def untouched(self) -> bool:
        return not any(each.changed or each.entry_count for each in (self.source, self.destination, self.cash))


@pytest.fixture
def scene() -> Iterator[Scene]:
    return Scene()


class TestTransfer:
    def test_posts_two_entries_and_moves_the_money(self, scene: Scene) -> None:
        (posted,) = scene.post(transfer(30))

        assert isinstance(posted, Posted)
        assert (posted.source_balance_minor, posted.destination_balance_minor) == (70, 30)
        assert (scene.source.posted_minor, scene.destination.posted_minor) == (70, 30)
        assert (scene.source.entry_count, scene.destination.entry_count) == (1, 1)

    def test_later_movement_spends_what_an_earlier_one_credited(self, scene: Scene) -> None:
        back = transfer(100, user_id=BOB, source_id=DESTINATION, destination_id=SOURCE)

        outcomes = scene.post(transfer(100), back)

        assert [type(outcome) for outcome in outcomes] == [Posted, Posted]
        assert scene.source.posted_minor == 100

    def test_refusal_in_the_middle_harms_no_neighbour(self, scene: Scene) -> None:
        outcomes = scene.post(transfer(60), transfer(60), transfer(40))

        assert [type(outcome) for outcome in outcomes] == [Posted, InsufficientFunds, Posted]
        assert scene.source.posted_minor == 0

    def test_exactly_the_available_amount_passes(self, scene: Scene) -> None:
        scene.source.held_minor = 30
        scene.source.overdraft_limit_minor = 5

        outcomes = scene.post(transfer(76), transfer(75))

        assert [type(outcome) for outcome in outcomes] == [InsufficientFunds, Posted]

    def test_clock_set_back_never_puts_an_entry_before_its_predecessor(self, scene: Scene) -> None:
        later = NOW + timedelta(hours=1)
        scene.destination.last_entry_time = later

        first, second = scene.post(transfer(1), transfer(1))

        assert isinstance(first, Posted)
        assert isinstance(second, Posted)
        assert first.create_time == later
        assert scene.source.last_entry_time == later
        assert first.transfer_id < second.transfer_id

    def test_validate_only_changes_nothing(self, scene: Scene) -> None:
        (posted,) = scene.post(transfer(30, validate_only=True))

        assert isinstance(posted, Posted)
        assert posted.source_balance_minor == 70
        assert scene.untouched


class TestOrderOfChecks:
    """Each case breaks every rule from its own onwards; the first one named must answer."""

    CASES = (
        (SessionRevoked, {"session_live": False}),
        (Unauthenticated, {"user_disabled": True}),
        (EmailNotVerified, {"email_verified": False}),
        (
            RequestIdReused,
            {"request_rpc": "transfer", "request_fingerprint": b"other", "request_result_id": UUID(int=9)},
        ),
        (NotFound, "somebody else's source"),
        (DuplicateReference, {"reference_taken": True}),
        (AccountClosed, "closed"),
        (AccountFrozen, "frozen"),
        (CurrencyMismatch, "currency"),
        (InsufficientFunds, "funds"),
    )

    @pytest.mark.parametrize("first", range(len(CASES)), ids=[case[0].__name__ for case in CASES])
    def test_first_broken_rule_answers(self, scene: Scene, first: int) -> None:
        movement = transfer(101, reference="rent")
        for _, change in self.CASES[first:]:
            if isinstance(change, dict):
                scene.context = scene.context._replace(**change)
            else:
                self._break(scene, change)

        (outcome,) = scene.post(movement)

        assert type(outcome) is self.CASES[first][0]
        assert scene.untouched

    @staticmethod
    def _break(scene: Scene, what: str) -> None:
        if what == "somebody else's source":
            scene.source.owner_user_id = BOB
        elif what == "closed":
            scene.destination.state = "CLOSED"
        elif what == "frozen":
            scene.source.state = "FROZEN"
        elif what == "currency":
            scene.destination.currency_code = "EUR"


class TestRefusal:
    def test_closed_source_is_named_before_closed_destination(self, scene: Scene) -> None:
        scene.source.state = scene.destination.state = "CLOSED"
        (outcome,) = scene.post(transfer())
        assert isinstance(outcome, AccountClosed)
        assert outcome.metadata == {"account_id": str(SOURCE)}
        assert scene.untouched

    def test_frozen_destination_is_credited(self, scene: Scene) -> None:
        scene.destination.state = "FROZEN"
        (outcome,) = scene.post(transfer())
        assert isinstance(outcome, Posted)

    @pytest.mark.parametrize("destination_id", [CASH, UUID(int=99)], ids=["system account", "absent"])
    def test_destination_that_is_no_customers_is_not_found(self, scene: Scene, destination_id: UUID) -> None:
        (outcome,) = scene.post(transfer(destination_id=destination_id))
        assert isinstance(outcome, NotFound)
        assert outcome.metadata["name"] == str(destination_id)
        assert scene.untouched

    def test_system_account_is_nobodys_source(self, scene: Scene) -> None:
        (outcome,) = scene.post(transfer(source_id=CASH))
        assert isinstance(outcome, NotFound)
        assert scene.untouched

    def test_funds_are_told_in_the_metadata(self, scene: Scene) -> None:
        (outcome,) = scene.post(transfer(101))
        assert isinstance(outcome, InsufficientFunds)
        assert outcome.metadata == {"account_id": str(SOURCE), "needed_minor": "101", "available_minor": "100"}

    def test_balance_beyond_the_range_is_overflow(self, scene: Scene) -> None:
        scene.destination.posted_minor = POSTED_MINOR_MAX - 9
        assert [type(outcome) for outcome in scene.post(transfer(10), transfer(9))] == [AmountOverflow, Posted]


class TestRequestId:
    def test_stored_one_with_same_fields_is_a_replay(self, scene: Scene) -> None:
        movement = transfer()
        scene.context = CONTEXT._replace(
            request_rpc=movement.rpc, request_fingerprint=movement.fingerprint, request_result_id=UUID(int=7)
        )
        assert scene.post(movement) == [Replay(UUID(int=7))]
        assert scene.untouched

    def test_stored_one_of_another_rpc_is_reused(self, scene: Scene) -> None:
        movement = transfer()
        scene.context = CONTEXT._replace(
            request_rpc="deposit", request_fingerprint=movement.fingerprint, request_result_id=UUID(int=7)
        )
        assert isinstance(scene.post(movement)[0], RequestIdReused)

    def test_repeated_within_the_batch_is_a_replay(self, scene: Scene) -> None:
        movement = transfer(60)
        first, second = scene.post(movement, movement)
        assert isinstance(first, Posted)
        assert second == Replay(first.result_id)
        assert scene.source.posted_minor == 40

    def test_repeated_with_other_fields_within_the_batch_is_reused(self, scene: Scene) -> None:
        movement = transfer(60)
        outcomes = scene.post(movement, transfer(61, request_id=movement.request_id))
        assert [type(outcome) for outcome in outcomes] == [Posted, RequestIdReused]

    def test_repeated_after_a_refusal_within_the_batch_is_evaluated_afresh(self, scene: Scene) -> None:
        movement = transfer(101)
        refill = transfer(10, user_id=BOB, source_id=DESTINATION, destination_id=SOURCE)
        scene.destination.posted_minor = 10

        outcomes = scene.post(movement, refill, movement)

        assert [type(outcome) for outcome in outcomes] == [InsufficientFunds, Posted, Posted]

    def test_reference_repeated_within_the_batch_is_a_duplicate(self, scene: Scene) -> None:
        outcomes = scene.post(transfer(1, reference="rent"), transfer(1, reference="rent"))
        assert [type(outcome) for outcome in outcomes] == [Posted, DuplicateReference]


class TestAtTheCounter:
    def deposit(self, **changes: object) -> Movement:
        return transfer(
            **{"kind": Kind.DEPOSIT, "user_id": BANKER, "source_id": CASH, **changes}  # type: ignore[arg-type]
        )

    def test_deposit_lets_the_cash_account_go_below_zero(self, scene: Scene) -> None:
        scene.context = CONTEXT._replace(roles=("DEPOSITOR", "BANKER"))
        (outcome,) = scene.post(self.deposit())
        assert isinstance(outcome, Posted)
        assert (scene.cash.posted_minor, scene.destination.posted_minor) == (-10, 10)

    def test_deposit_without_the_role_is_forbidden(self, scene: Scene) -> None:
        (outcome,) = scene.post(self.deposit())
        assert isinstance(outcome, Forbidden)
        assert scene.untouched

    def test_deposit_on_the_bankers_own_account_is_forbidden(self, scene: Scene) -> None:
        scene.context = CONTEXT._replace(roles=("DEPOSITOR", "BANKER"))
        scene.destination.owner_user_id = BANKER
        (outcome,) = scene.post(self.deposit())
        assert isinstance(outcome, Forbidden)
        assert scene.untouched

    def test_deposit_on_an_absent_account_names_that_account(self, scene: Scene) -> None:
        scene.context = CONTEXT._replace(roles=("DEPOSITOR", "BANKER"))
        (outcome,) = scene.post(self.deposit(destination_id=UUID(int=99)))
        assert isinstance(outcome, NotFound)
        assert outcome.name == str(UUID(int=99))

    def test_withdrawal_obeys_the_funds_check(self, scene: Scene) -> None:
        scene.context = CONTEXT._replace(roles=("DEPOSITOR", "BANKER"))
        withdrawal = {"kind": Kind.WITHDRAWAL, "user_id": BANKER, "destination_id": CASH}
        outcomes = scene.post(
            transfer(101, **withdrawal),  # type: ignore[arg-type]
            transfer(100, **withdrawal),  # type: ignore[arg-type]
        )
        assert [type(outcome) for outcome in outcomes] == [InsufficientFunds, Posted]
        assert (scene.source.posted_minor, scene.cash.posted_minor) == (0, 100)
