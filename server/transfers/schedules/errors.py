"""The refusal that only scheduled transfers meet; part of the tree in server/errors.py."""

from uuid import UUID

from server.errors import RuleBroken


class ScheduleNotPending(RuleBroken):
    """A scheduled transfer is canceled only before it is due.

    Attributes:
        state: As stored; SCHEDULED if it is due and about to be executed.
    """

    reason = "SCHEDULE_NOT_PENDING"

    def __init__(self, scheduled_transfer_id: UUID, state: str) -> None:
        standing = "due" if state == "SCHEDULED" else state.lower()
        super().__init__(
            f"scheduled transfer {scheduled_transfer_id} is {standing} already: it cannot be canceled any more",
            scheduled_transfer_id,
        )
        self.state = state

    @property
    def metadata(self) -> dict[str, str]:
        return {"scheduled_transfer_id": self.subject, "state": self.state}
