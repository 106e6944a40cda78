"""Jobs about accounts."""

from typing import Any
from uuid import UUID

from bankdb import outbox

from server.accounts.opening import NewAccount, open_account
from server.database import Connection, Database
from server.jobs import Job


class FirstAccount:
    """Opens the account that every new user gets.

    Args:
        database: Where it is opened.
        currency_code: Its currency.
    """

    def __init__(self, database: Database, currency_code: str) -> None:
        self._database = database
        self._currency_code = currency_code

    async def open(self, outbox_id: UUID, payload: dict[str, Any]) -> None:
        """Open it and mark the job done, in one transaction: once, however often this runs."""
        user_id = UUID(payload["user_id"])
        new = NewAccount(
            requester_user_id=user_id,
            # The same whenever this job runs, and nothing the user could have called with before.
            request_id=outbox_id,
            rpc=Job.OPEN_FIRST_ACCOUNT,
            fingerprint=b"",
            owner_user_id=user_id,
            currency_code=self._currency_code,
            display_name="",
        )

        async def work(connection: Connection) -> None:
            if await outbox.mark_outbox_job_done(connection, id=outbox_id):
                await open_account(connection, new)

        await self._database.transaction(work)
