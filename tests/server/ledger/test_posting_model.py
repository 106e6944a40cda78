"""The rules against the plain model: random batches, decided by both."""

from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from server.errors import BankError
from server.ledger.movements import UNRESOLVED, Held, Kind, Movement, Outcome, Posted, Replay, fingerprint_of
from server.ledger.posting import evaluate
from server.ledger.state import Account, Books, Context, Hold, Original
from tests.server.model import ModelAccount, ModelBank

USERS = ("alice", "bob", "carol")
ACCOUNTS = {"a1": "alice", "a2": "alice", "b1": "bob", "c1": "carol"}
START = 100
NOW = datetime(2026, 11, 21, tzinfo=UTC)

names = st.sampled_from(sorted(ACCOUNTS))
users = st.sampled_from(USERS)
amounts = st.integers(1, 150)
parts = st.none() | st.integers(1, 120)
keys = st.sampled_from([f"k{number}" for number in range(40)])
picks = st.integers(0, 1000)


def uid(name: str) -> UUID:
    return uuid5(NAMESPACE_OID, name)


class PostingMachine(RuleBasedStateMachine):
    """Keeps what the database would keep between batches, in dictionaries."""

    def __init__(self) -> None:
        super().__init__()
        self.model = ModelBank({name: ModelAccount(owner, START) for name, owner in ACCOUNTS.items()})
        self.accounts = {
            uid(name): Account(uid(name), "CUSTOMER", uid(owner), "USD", "OPEN", START, 0, 0, 0, None)
            for name, owner in ACCOUNTS.items()
        }
        self.holds: dict[UUID, Hold] = {}
        self.originals: dict[UUID, Original] = {}
        self.requests: dict[tuple[UUID, UUID], tuple[str, bytes, UUID]] = {}
        self.ids: dict[str, UUID] = {}  # what the model calls by a key
        self.clock = NOW
        self.waiting: list[tuple[Movement, str, str | None]] = []

    def movement(self, kind: Kind, user: str, key: str, **fields: object) -> Movement:
        values: dict[str, object] = {
            "source_id": UNRESOLVED,
            "destination_id": UNRESOLVED,
            "amount_minor": None,
            "currency_code": "USD",
            "subject_id": None,
            **fields,
        }
        return Movement(  # type: ignore[arg-type]  # values by name
            kind=kind,
            user_id=uid(user),
            session_id=None,
            request_id=uid(f"request {key}"),
            rpc=kind,
            fingerprint=fingerprint_of(*values.values()),
            **values,
        )

    def between(self, kind: Kind, user: str, key: str, source: str, destination: str, amount: int) -> Movement:
        ends = {"source_id": uid(source), "destination_id": uid(destination)}
        return self.movement(kind, user, key, **ends, amount_minor=amount)

    def queue(self, movement: Movement, expected: str, key: str | None) -> None:
        self.waiting.append((movement, expected, key))

    @rule(user=users, key=keys, source=names, destination=names, amount=amounts)
    def transfer(self, user: str, key: str, source: str, destination: str, amount: int) -> None:
        if source != destination:
            self.queue(
                self.movement(
                    Kind.TRANSFER,
                    user,
                    key,
                    source_id=uid(source),
                    destination_id=uid(destination),
                    amount_minor=amount,
                ),
                self.model.transfer(user, key, source, destination, amount),
                f"{user} {key}",
            )

    @rule(user=users, key=keys, source=names, destination=names, amount=amounts)
    def hold(self, user: str, key: str, source: str, destination: str, amount: int) -> None:
        if source != destination:
            self.queue(
                self.between(Kind.HOLD, user, key, source, destination, amount),
                self.model.hold(user, key, source, destination, amount),
                f"{user} {key}",
            )

    @rule(user=users, key=keys, pick=picks, amount=parts)
    def capture(self, user: str, key: str, pick: int, amount: int | None) -> None:
        self.settle()  # a hold has no id that a client could name before it is committed
        known = sorted(set(self.model.holds) & set(self.ids))
        if known:
            hold_key = known[pick % len(known)]
            self.queue(
                self.of_hold(Kind.CAPTURE, user, key, self.ids[hold_key], amount),
                self.model.capture(user, key, hold_key, amount),
                f"{user} {key}",
            )

    @rule(user=users, pick=picks)
    def void(self, user: str, pick: int) -> None:
        self.settle()
        known = sorted(set(self.model.holds) & set(self.ids))
        if known:
            hold_key = known[pick % len(known)]
            self.queue(
                self.of_hold(Kind.VOID, user, f"void {pick}", self.ids[hold_key], None),
                self.model.void(user, hold_key),
                None,
            )

    @rule(user=users, key=keys, pick=picks, amount=parts)
    def reverse(self, user: str, key: str, pick: int, amount: int | None) -> None:
        self.settle()
        known = sorted(set(self.model.transfers) & set(self.ids))
        if known:
            transfer_key = known[pick % len(known)]
            original = self.originals[self.ids[transfer_key]]
            movement = self.movement(
                Kind.REVERSAL,
                user,
                key,
                source_id=original.destination_id,
                destination_id=original.source_id,
                amount_minor=amount,
                subject_id=original.id,
            )
            self.queue(movement, self.model.reverse(user, key, transfer_key, amount), f"{user} {key}")

    @rule(name=names, frozen=st.booleans())
    def freeze(self, name: str, frozen: bool) -> None:
        self.settle()
        self.model.accounts[name].frozen = frozen
        self.accounts[uid(name)].state = "FROZEN" if frozen else "OPEN"

    @rule()
    def settle(self) -> None:
        """Decide what has gathered as one batch, and keep what a commit would keep."""
        if not self.waiting:
            return
        self.clock += timedelta(seconds=1)
        movements = [movement for movement, _, _ in self.waiting]
        contexts = [self.context(movement) for movement in movements]
        evaluation = evaluate(movements, Books(self.accounts, self.holds, self.originals), contexts)
        for (movement, expected, key), outcome in zip(self.waiting, evaluation.outcomes, strict=True):
            assert word(outcome) == expected, (movement.kind, word(outcome), expected)
            self.keep(movement, outcome, key)
        self.waiting = []

    def of_hold(self, kind: Kind, user: str, key: str, hold_id: UUID, amount: int | None) -> Movement:
        hold = self.holds[hold_id]
        return self.movement(
            kind,
            user,
            key,
            source_id=hold.source_id,
            destination_id=hold.destination_id,
            amount_minor=amount,
            subject_id=hold_id,
        )

    def context(self, movement: Movement) -> Context:
        rpc, fingerprint, result = self.requests.get((movement.user_id, movement.request_id), (None, None, None))
        return Context(True, False, True, ("DEPOSITOR",), self.clock, rpc, fingerprint, result)

    def keep(self, movement: Movement, outcome: Outcome, key: str | None) -> None:
        if key is None or not isinstance(outcome, Posted | Held):
            return
        self.requests[movement.user_id, movement.request_id] = (movement.rpc, movement.fingerprint, outcome.result_id)
        self.ids[key] = outcome.result_id
        if isinstance(outcome, Posted):
            self.originals[outcome.transfer_id] = Original(
                outcome.transfer_id,
                movement.kind,
                movement.source_id,
                movement.destination_id,
                outcome.amount_minor,
                "USD",
            )

    @invariant()
    def books_equal_the_model(self) -> None:
        if self.waiting:
            return
        for name, expected in self.model.accounts.items():
            account = self.accounts[uid(name)]
            assert (account.posted_minor, account.held_minor, account.entry_count) == (
                expected.posted,
                expected.held,
                expected.entries,
            )
        assert sum(account.posted_minor for account in self.accounts.values()) == START * len(ACCOUNTS)
        assert all(account.available_minor >= 0 for account in self.accounts.values())


def word(outcome: Outcome) -> str:
    if isinstance(outcome, BankError):
        return outcome.reason
    return {Posted: "posted", Held: "held", Replay: "replayed"}[type(outcome)]


TestPostingMachine = PostingMachine.TestCase
TestPostingMachine.settings = settings(max_examples=300, stateful_step_count=60, deadline=None)
