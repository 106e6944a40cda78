import asyncio
from uuid import UUID

import asyncpg
import pytest
from bankdb import outbox
from uuid_utils.compat import uuid7

from server.jobs import Job, payload
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

    async def test_second_job_for_the_same_user_opens_no_second_account(self, bank: Bank) -> None:
        user, job, _ = await bank.sign_up()
        again = uuid7()
        await outbox.insert_outbox_job(
            bank.stored.pool, id=again, job=Job.OPEN_FIRST_ACCOUNT, payload=payload(user_id=user.id)
        )
        await bank.attempt(Job.OPEN_FIRST_ACCOUNT, job)
        await bank.attempt(Job.OPEN_FIRST_ACCOUNT, again)
        assert await counts(bank, user.id) == (1, 1, 1)
        assert await bank.state(again) == "done"

    async def test_failure_leaves_job_open_and_nothing_written(self, bank: Bank) -> None:
        user, job, _ = await bank.sign_up()
        unknown = FirstAccount(bank.database, "XXX")
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await unknown.open(job, {"user_id": str(user.id)})
        assert await counts(bank, user.id) == (0, 0, 0)
        assert await bank.state(job) == "open"
