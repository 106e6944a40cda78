from uuid import UUID

from bankdb import outbox
from uuid_utils.compat import uuid7

from server.jobs import Job
from tests.worker.surroundings import Bank, dead_letters
from worker.outbox import Relay
from worker.settings import MAIL


async def give_up(bank: Bank, job: UUID) -> None:
    await outbox.mark_outbox_job_dead(bank.stored.pool, id=job, last_error="KeyError")


class TestDeadLetters:
    async def test_list_names_job_and_reason(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        assert await dead_letters(bank.environment, "list") == (0, "no job was given up\n")
        await give_up(bank, mail_job)
        status, output = await dead_letters(bank.environment, "list")
        assert status == 0
        assert output.startswith(f"{mail_job}  {Job.SEND_VERIFICATION_EMAIL}  ")
        assert output.endswith("  KeyError\n")

    async def test_replayed_job_is_queued_again(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        relay = Relay(bank.database, bank.redis, {Job.SEND_VERIFICATION_EMAIL: MAIL})
        await relay.queue_waiting()
        await give_up(bank, mail_job)
        await bank.redis.delete(MAIL.queue_name)
        status, _ = await dead_letters(bank.environment, "replay", str(mail_job))
        assert status == 0
        assert await bank.state(mail_job) == "open"
        assert await relay.queue_waiting() == 1

    async def test_all_dead_jobs_are_replayed_at_once_and_no_other(self, bank: Bank) -> None:
        jobs = [(await bank.sign_up(username))[1:] for username in ("alice", "bob")]
        for account_job, mail_job in jobs:
            await outbox.mark_outbox_job_done(bank.stored.pool, id=account_job)
            await give_up(bank, mail_job)
        assert await dead_letters(bank.environment, "replay", "all") == (0, "2 jobs will be tried again\n")
        states = [await bank.state(job) for pair in jobs for job in pair]
        assert states == ["done", "open", "done", "open"]
        assert await dead_letters(bank.environment, "list") == (0, "no job was given up\n")

    async def test_what_is_no_id_is_refused(self, bank: Bank) -> None:
        status, output = await dead_letters(bank.environment, "replay", "everything")
        assert status == 2
        assert "invalid" in output

    async def test_job_that_is_not_dead_is_refused_and_unchanged(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        for job in (mail_job, uuid7()):
            status, output = await dead_letters(bank.environment, "replay", str(job))
            assert (status, output) == (1, f"{job} is no dead job: see `list`\n")
        await outbox.mark_outbox_job_done(bank.stored.pool, id=mail_job)
        assert (await dead_letters(bank.environment, "replay", str(mail_job)))[0] == 1
        assert await bank.state(mail_job) == "done"
