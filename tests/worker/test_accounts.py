import asyncio
from uuid import UUID, uuid5

import asyncpg
import pytest

from server.accounts.opening import NewAccount, open_account
from server.jobs import Job
from tests.worker.surroundings import Bank
from worker.accounts import FirstAccount
from worker.settings import PROMPT


async def counts(bank: Bank, user_id: UUID) -> tuple[int, int, int]:
    """Accounts, requests and events about accounts of a user."""
    return (
        await bank.value("SELECT count(*) FROM accounts WHERE owner_user_id = $1", user_id),
        await bank.value("SELECT count(*) FROM requests WHERE user_id = $1", user_id),
        await bank.value("SELECT count(*) FROM events WHERE type = 'account.created' AND user_id = $1", user_id),
    )


class TestFirstAccount:
    async def test_first_run_opens_an_account_in_the_default_currency(self, bank: Bank) -> None:
        user, job, _ = await bank.sign_up()
        await bank.attempt(Job.OPEN_FIRST_ACCOUNT, job)
        row = await bank.stored.pool.fetchrow("SELECT * FROM accounts WHERE owner_user_id = $1", user.id)
        assert (row["currency_code"], row["state"], row["posted_minor"]) == ("USD", "OPEN", 0)
        assert await bank.state(job) == "done"

    async def test_every_further_run_changes_nothing(self, bank: Bank) -> None:
        user, job, _ = await bank.sign_up()
        work = bank.work(PROMPT)[Job.OPEN_FIRST_ACCOUNT]
        await asyncio.gather(*(work(job, {"user_id": str(user.id)}) for _ in range(5)))
        await bank.attempt(Job.OPEN_FIRST_ACCOUNT, job)
        assert await counts(bank, user.id) == (1, 1, 1)

    async def test_no_request_id_that_the_user_called_with_before_is_in_the_way(self, bank: Bank) -> None:
        user, job, _ = await bank.sign_up()
        guessed = uuid5(user.id, Job.OPEN_FIRST_ACCOUNT)
        own = NewAccount(user.id, guessed, "bank.v1.AccountService/CreateAccount", b"", user.id, "JPY", "")
        await bank.database.transaction(lambda connection: open_account(connection, own))
        await bank.attempt(Job.OPEN_FIRST_ACCOUNT, job)
        assert await counts(bank, user.id) == (2, 2, 2)
        assert await bank.state(job) == "done"

    async def test_failure_leaves_job_open_and_nothing_written(self, bank: Bank) -> None:
        user, job, _ = await bank.sign_up()
        unknown = FirstAccount(bank.database, "XXX")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await unknown.open(job, {"user_id": str(user.id)})
        assert await counts(bank, user.id) == (0, 0, 0)
        assert await bank.state(job) == "open"
