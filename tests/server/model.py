"""A plain model of the bank: what the ledger must do, one call at a time, written without looking at how.

Amounts are small numbers, names stand for ids, and every answer is a word: `posted`, `held`,
`replayed`, or the reason of a refusal.
"""

from dataclasses import dataclass, field

Answer = str


@dataclass
class ModelAccount:
    owner: str
    posted: int = 0
    held: int = 0
    overdraft: int = 0
    frozen: bool = False
    entries: int = 0

    @property
    def available(self) -> int:
        return self.posted - self.held + self.overdraft


@dataclass
class ModelHold:
    source: str
    destination: str
    amount: int
    state: str = "PENDING"


@dataclass
class ModelTransfer:
    kind: str
    source: str
    destination: str
    amount: int
    reversed: int = 0


@dataclass
class ModelBank:
    """Accounts by name; holds and transfers by user and key of the request that made them."""

    accounts: dict[str, ModelAccount] = field(default_factory=dict)
    holds: dict[str, ModelHold] = field(default_factory=dict)
    transfers: dict[str, ModelTransfer] = field(default_factory=dict)
    requests: dict[tuple[str, str], object] = field(default_factory=dict)

    def _repeat(self, user: str, key: str, fields: object) -> Answer | None:
        if (user, key) not in self.requests:
            return None
        return "replayed" if self.requests[user, key] == fields else "REQUEST_ID_REUSED"

    def _move(self, kind: str, user: str, key: str, fields: object, source: str, destination: str, amount: int) -> None:
        self.accounts[source].posted -= amount
        self.accounts[destination].posted += amount
        self.accounts[source].entries += 1
        self.accounts[destination].entries += 1
        self.transfers[f"{user} {key}"] = ModelTransfer(kind, source, destination, amount)
        self.requests[user, key] = fields

    def transfer(self, user: str, key: str, source: str, destination: str, amount: int) -> Answer:
        fields = ("transfer", source, destination, amount)
        repeat = self._repeat(user, key, fields)
        if repeat:
            return repeat
        account = self.accounts[source]
        if account.owner != user:
            return "NOT_FOUND"
        if account.frozen:
            return "ACCOUNT_FROZEN"
        if amount > account.available:
            return "INSUFFICIENT_FUNDS"
        self._move("TRANSFER", user, key, fields, source, destination, amount)
        return "posted"

    def hold(self, user: str, key: str, source: str, destination: str, amount: int) -> Answer:
        fields = ("hold", source, destination, amount)
        repeat = self._repeat(user, key, fields)
        if repeat:
            return repeat
        account = self.accounts[source]
        if account.owner != user:
            return "NOT_FOUND"
        if account.frozen:
            return "ACCOUNT_FROZEN"
        if amount > account.available:
            return "INSUFFICIENT_FUNDS"
        account.held += amount
        self.holds[f"{user} {key}"] = ModelHold(source, destination, amount)
        self.requests[user, key] = fields
        return "held"

    def capture(self, user: str, key: str, hold_key: str, amount: int | None) -> Answer:
        fields = ("capture", hold_key, amount)
        repeat = self._repeat(user, key, fields)
        if repeat:
            return repeat
        hold = self.holds[hold_key]
        source = self.accounts[hold.source]
        if self.accounts[hold.destination].owner != user:
            return "PERMISSION_DENIED" if source.owner == user else "NOT_FOUND"
        if source.frozen:
            return "ACCOUNT_FROZEN"
        if hold.state != "PENDING":
            return "HOLD_NOT_PENDING"
        moved = hold.amount if amount is None else amount
        if moved > hold.amount:
            return "CAPTURE_EXCEEDS_HOLD"
        source.held -= hold.amount
        hold.state = "CAPTURED"
        self._move("CAPTURE", user, key, fields, hold.source, hold.destination, moved)
        return "posted"

    def void(self, user: str, hold_key: str) -> Answer:
        hold = self.holds[hold_key]
        source = self.accounts[hold.source]
        if self.accounts[hold.destination].owner != user:
            return "PERMISSION_DENIED" if source.owner == user else "NOT_FOUND"
        if hold.state == "CAPTURED":
            return "HOLD_NOT_PENDING"
        if hold.state == "PENDING":
            hold.state = "VOIDED"
            source.held -= hold.amount
        return "held"

    def reverse(self, user: str, key: str, transfer_key: str, amount: int | None) -> Answer:
        fields = ("reverse", transfer_key, amount)
        repeat = self._repeat(user, key, fields)
        if repeat:
            return repeat
        original = self.transfers[transfer_key]
        payer = self.accounts[original.destination]
        receiver = self.accounts[original.source]
        if user not in (payer.owner, receiver.owner):
            return "NOT_FOUND"
        if original.kind == "REVERSAL":
            return "NOT_REVERSIBLE"
        if payer.owner != user:
            return "PERMISSION_DENIED"
        if payer.frozen:
            return "ACCOUNT_FROZEN"
        left = original.amount - original.reversed
        if left == 0:
            return "ALREADY_REVERSED"
        moved = left if amount is None else amount
        if moved > left:
            return "REVERSAL_EXCEEDS_TRANSFER"
        if moved > payer.available:
            return "INSUFFICIENT_FUNDS"
        original.reversed += moved
        self._move("REVERSAL", user, key, fields, original.destination, original.source, moved)
        return "posted"
