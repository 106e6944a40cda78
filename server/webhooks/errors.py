"""Refusals about webhooks; part of the tree in server/errors.py."""

from uuid import UUID

from server.errors import RuleBroken


class TooManyWebhooks(RuleBroken):
    """A user has only so many webhooks."""

    reason = "TOO_MANY_WEBHOOKS"

    def __init__(self, user_id: UUID, count_max: int) -> None:
        super().__init__(f"you have {count_max} webhooks, the most there may be: delete one first", user_id)
        self.count_max = count_max

    @property
    def metadata(self) -> dict[str, str]:
        return {"count_max": str(self.count_max)}
