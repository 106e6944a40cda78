import asyncio
import sys
from uuid import UUID

from arq.constants import default_queue_name
from bankdb import outbox
from uuid_utils.compat import uuid7

from server.jobs import Job
from tests.worker.surroundings import ROOT, Bank
from worker.outbox import Relay


async def command(bank: Bank, *arguments: str) -> tuple[int, str]:
    """Exit status and output of `python -m worker.dead_letters`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker.dead_letters", *arguments),
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", **bank.environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def give_up(bank: Bank, job: UUID) -> None:
    await outbox.mark_outbox_job_dead(bank.stored.pool, id=job, last_error="KeyError")


class TestDeadLetters:
    async def test_list_names_job_and_reason(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        assert await command(bank, "list") == (0, "no job was given up\n")
        await give_up(bank, mail_job)
        status, output = await command(bank, "list")
        assert status == 0
        assert output.startswith(f"{mail_job}  {Job.SEND_VERIFICATION_EMAIL}  ")
        assert output.endswith("  KeyError\n")

    async def test_replayed_job_is_queued_again(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        relay = Relay(bank.database, bank.redis, [Job.SEND_VERIFICATION_EMAIL])
        await relay.queue_waiting()
        await give_up(bank, mail_job)
        await bank.redis.delete(default_queue_name)
        status, _ = await command(bank, "replay", str(mail_job))
        assert status == 0
        assert await bank.state(mail_job) == "open"
        assert await relay.queue_waiting() == 1

    async def test_job_that_is_not_dead_is_refused_and_unchanged(self, bank: Bank) -> None:
        _, _, mail_job = await bank.sign_up()
        for job in (mail_job, uuid7()):
            status, output = await command(bank, "replay", str(job))
            assert (status, output) == (1, f"{job} is no dead job: see `list`\n")
        await outbox.mark_outbox_job_done(bank.stored.pool, id=mail_job)
        assert (await command(bank, "replay", str(mail_job)))[0] == 1
        assert await bank.state(mail_job) == "done"
