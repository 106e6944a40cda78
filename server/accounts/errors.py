"""Refusals that only changes of accounts meet; part of the tree in server/errors.py."""

from collections.abc import Sequence
from uuid import UUID

from server.errors import AccountRule


class AccountNotEmpty(AccountRule):
    """Only an account without money and without anything that will move some is closed.

    Attributes:
        posted_minor: What it has, in minor units.
        obligations: Kinds of what is still open, such as `hold`.
    """

    reason = "ACCOUNT_NOT_EMPTY"

    def __init__(self, account_id: UUID, posted_minor: int, obligations: Sequence[str]) -> None:
        open_ones = f", and open: {', '.join(obligations)}" if obligations else ""
        super().__init__(
            f"account {account_id} has {posted_minor} posted (minor units){open_ones}: it must be empty", account_id
        )
        self.posted_minor = posted_minor
        self.obligations = tuple(obligations)

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "account_id": self.subject,
            "posted_minor": str(self.posted_minor),
            "obligations": ",".join(self.obligations),
        }


class OverdraftInUse(AccountRule):
    """The account is further below zero, holds included, than the new limit allows. Amounts in minor units."""

    reason = "OVERDRAFT_IN_USE"

    def __init__(self, account_id: UUID, used_minor: int) -> None:
        super().__init__(
            f"account {account_id} uses {used_minor} of its overdraft (minor units): the limit cannot be lower",
            account_id,
        )
        self.used_minor = used_minor

    @property
    def metadata(self) -> dict[str, str]:
        return {"account_id": self.subject, "used_minor": str(self.used_minor)}
