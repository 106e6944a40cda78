"""Refusals about holds and reversals; part of the tree in server/errors.py."""

from uuid import UUID

from server.errors import AccountRule, RuleBroken


class HoldRule(RuleBroken):
    """A rule about one hold."""

    @property
    def metadata(self) -> dict[str, str]:
        return {"hold_id": self.subject}


class HoldNotPending(HoldRule):
    """A hold is captured or voided once."""

    reason = "HOLD_NOT_PENDING"

    def __init__(self, hold_id: UUID, state: str) -> None:
        super().__init__(f"hold {hold_id} is {state.lower()} already", hold_id)
        self.state = state

    @property
    def metadata(self) -> dict[str, str]:
        return {"hold_id": self.subject, "state": self.state}


class HoldExpired(HoldRule):
    """The hold's time ran out; what it held was released."""

    reason = "HOLD_EXPIRED"

    def __init__(self, hold_id: UUID) -> None:
        super().__init__(f"hold {hold_id} has expired: place a new one", hold_id)


class CaptureExceedsHold(HoldRule):
    """At most what is held is captured. Amounts in minor units."""

    reason = "CAPTURE_EXCEEDS_HOLD"

    def __init__(self, hold_id: UUID, wanted_minor: int, held_minor: int) -> None:
        super().__init__(f"hold {hold_id} is for {held_minor}, {wanted_minor} was asked for (minor units)", hold_id)
        self.wanted_minor = wanted_minor
        self.held_minor = held_minor

    @property
    def metadata(self) -> dict[str, str]:
        return {"hold_id": self.subject, "wanted_minor": str(self.wanted_minor), "held_minor": str(self.held_minor)}


class TooManyHolds(AccountRule):
    """An account has only so many pending holds."""

    reason = "TOO_MANY_HOLDS"

    def __init__(self, account_id: UUID, count_max: int) -> None:
        super().__init__(
            f"account {account_id} has {count_max} pending holds, the most there may be: wait until some are settled",
            account_id,
        )
        self.count_max = count_max

    @property
    def metadata(self) -> dict[str, str]:
        return {"account_id": self.subject, "count_max": str(self.count_max)}


class TransferRule(RuleBroken):
    """A rule about one transfer."""

    @property
    def metadata(self) -> dict[str, str]:
        return {"transfer_id": self.subject}


class NotReversible(TransferRule):
    """A reversal is never reversed, and what paid an order only by the order's refund."""

    reason = "NOT_REVERSIBLE"

    def __init__(self, transfer_id: UUID, order_id: UUID | None = None) -> None:
        why = f"paid order {order_id}: refund the order" if order_id else "is a reversal: make a new transfer"
        super().__init__(f"transfer {transfer_id} {why} instead", transfer_id)


class AlreadyReversed(TransferRule):
    """All of the transfer was reversed."""

    reason = "ALREADY_REVERSED"

    def __init__(self, transfer_id: UUID) -> None:
        super().__init__(f"transfer {transfer_id} was reversed in full", transfer_id)


class ReversalExceedsTransfer(TransferRule):
    """Reversals together move back at most what was moved. Amounts in minor units."""

    reason = "REVERSAL_EXCEEDS_TRANSFER"

    def __init__(self, transfer_id: UUID, wanted_minor: int, remaining_minor: int) -> None:
        super().__init__(
            f"of transfer {transfer_id} {remaining_minor} can be reversed, {wanted_minor} was asked for (minor units)",
            transfer_id,
        )
        self.wanted_minor = wanted_minor
        self.remaining_minor = remaining_minor

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "transfer_id": self.subject,
            "wanted_minor": str(self.wanted_minor),
            "remaining_minor": str(self.remaining_minor),
        }
