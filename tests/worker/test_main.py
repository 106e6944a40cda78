import asyncio
import signal
from pathlib import Path

from arq.constants import in_progress_key_prefix

from local.ports import free_ports
from server.jobs import Job
from tests.worker.surroundings import Bank, WorkerProcess, eventually, link_to, worker_process


class TestWorkerProcess:
    async def test_redis_down_at_sign_up_means_mail_once_it_is_back(self, bank: Bank, tmp_path: Path) -> None:
        async with (
            link_to(bank.environment["REDIS_URL"]) as (link, url),
            worker_process({**bank.environment, "REDIS_URL": url}, tmp_path) as worker,
        ):
            await eventually(worker.is_ready)
            await link.cut()
            user, account_job, mail_job = await bank.sign_up()
            await asyncio.sleep(1.5)
            assert worker.process.returncode is None
            assert bank.sink.offered == []
            await link.open()
            await eventually(lambda: are_done(bank, account_job, mail_job))
        assert [mail["To"] for mail in bank.sink.accepted] == [user.email]

    async def test_worker_that_starts_before_its_servers_waits_for_them(self, bank: Bank, tmp_path: Path) -> None:
        async with (
            link_to(bank.environment["DATABASE_URL"]) as (database, database_url),
            link_to(bank.environment["REDIS_URL"]) as (redis, redis_url),
        ):
            await database.cut()
            await redis.cut()
            environment = {**bank.environment, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
            _, account_job, mail_job = await bank.sign_up()
            async with worker_process(environment, tmp_path) as worker:
                await eventually(lambda: interruptions(worker) > {("queue", "ConnectionError")})
                await redis.open()
                await eventually(lambda: interruptions(worker) > {("queue", "ConnectionRefusedError")})
                assert not worker.is_ready()
                await database.open()
                await eventually(worker.is_ready)
                await eventually(lambda: are_done(bank, account_job, mail_job))

    async def test_worker_killed_before_the_done_mark_sends_the_same_mail_again(
        self, bank: Bank, tmp_path: Path
    ) -> None:
        _, _, mail_job = await bank.sign_up()
        bank.sink.answers = ["hang"]
        async with worker_process(bank.environment, tmp_path) as worker:
            await eventually(lambda: bank.sink.offered)
            await worker.kill()
        assert await bank.state(mail_job) == "open"
        # Redis itself would give the job out again some 20 s later.
        await bank.redis.delete(f"{in_progress_key_prefix}{mail_job}")
        async with worker_process(bank.environment, tmp_path):
            await eventually(lambda: are_done(bank, mail_job))
        first, second = bank.sink.offered
        assert first["Message-ID"] == second["Message-ID"]
        assert link_of(first.as_string()) == link_of(second.as_string())

    async def test_lost_database_connections_are_replaced(self, bank: Bank, tmp_path: Path) -> None:
        async with worker_process(bank.environment, tmp_path) as worker:
            await eventually(worker.is_ready)
            await eventually(lambda: "sequencer_active" in events(worker.log()))
            await bank.stored.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name IN ('worker', 'sequencer') AND datname = current_database()"
            )
            _, account_job, mail_job = await bank.sign_up()
            await eventually(lambda: are_done(bank, account_job, mail_job))
            # The account's event.
            await eventually(lambda: bank.value("SELECT position FROM events"))

    async def test_sigterm_lets_the_mail_under_way_end(self, bank: Bank, tmp_path: Path) -> None:
        _, _, mail_job = await bank.sign_up()
        bank.sink.answers = ["pause"]
        async with worker_process(bank.environment, tmp_path) as worker:
            await eventually(lambda: bank.sink.offered)
            worker.process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(worker.process.wait(), 10) == 0
            assert not worker.is_ready()
            assert events(worker.log())[-1] == "worker_stopped"
        assert await bank.state(mail_job) == "done"
        assert len(bank.sink.offered) == 1

    async def test_sigterm_ends_a_worker_whose_servers_are_frozen(self, bank: Bank, tmp_path: Path) -> None:
        async with (
            link_to(bank.environment["DATABASE_URL"]) as (database, database_url),
            link_to(bank.environment["REDIS_URL"]) as (redis, redis_url),
        ):
            environment = {**bank.environment, "DATABASE_URL": database_url, "REDIS_URL": redis_url}
            async with worker_process(environment, tmp_path) as worker:
                await eventually(worker.is_ready)
                database.freeze()
                redis.freeze()
                await asyncio.sleep(0.5)
                worker.process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(worker.process.wait(), 9) == 0

    async def test_missing_setting_is_named_and_ends_the_worker(self, bank: Bank, tmp_path: Path) -> None:
        environment = {name: value for name, value in bank.environment.items() if name != "REDIS_URL"}
        async with worker_process(environment, tmp_path) as worker:
            assert await asyncio.wait_for(worker.process.wait(), 10) == 2
        assert "refusing to start: REDIS_URL: Field required" in (tmp_path / "worker.log").read_text()

    async def test_log_is_json_without_secrets(self, bank: Bank, tmp_path: Path) -> None:
        _, account_job, mail_job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"]
        environment = {**bank.environment, "SMTP_PASSWORD": "canary", "METRICS_PORT": str(free_ports(101))}
        async with worker_process(environment, tmp_path) as worker:
            await eventually(lambda: are_done(bank, account_job, mail_job))
            lines = worker.log()
        text = str(lines)
        token = bank.tokens.make("VERIFY_EMAIL", mail_job, await bank.value("SELECT user_id FROM mail_tokens"))
        for secret in (token, "canary", bank.environment["DATABASE_URL"], bank.environment["REDIS_URL"], "alice@"):
            assert secret not in text
        assert {line["process"] for line in lines} == {"worker"}
        assert [line["job"] for line in lines if line["event"] == "job_retried"] == [Job.SEND_VERIFICATION_EMAIL]


class TestMetrics:
    async def test_jobs_and_mails_are_counted(self, bank: Bank, tmp_path: Path) -> None:
        _, account_job, mail_job = await bank.sign_up()
        first = free_ports(101)
        async with worker_process({**bank.environment, "METRICS_PORT": str(first)}, tmp_path):
            await eventually(lambda: are_done(bank, account_job, mail_job))
            reader, writer = await asyncio.open_connection("127.0.0.1", first + 100)
            writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
            text = (await reader.read()).decode()
            writer.close()
        for job in Job:
            assert f'worker_jobs_total{{job="{job}",result="done"}} 1.0' in text
        assert "worker_mails_sent_total 1.0" in text
        assert "worker_outbox_age_seconds" in text
        assert "worker_sequencer_lag_seconds" in text


def interruptions(worker: WorkerProcess) -> set[tuple[str, str]]:
    """What was interrupted by what."""
    lines = [line for line in worker.log() if line["event"].endswith("_interrupted")]
    return {(line["event"].removesuffix("_interrupted"), line["error"]) for line in lines}


async def are_done(bank: Bank, *jobs: object) -> bool:
    done = await bank.value("SELECT count(*) FROM outbox WHERE id = ANY($1::uuid[]) AND done_time IS NOT NULL", jobs)
    return bool(done == len(jobs))


def events(log: list[dict[str, str]]) -> list[str]:
    return [line["event"] for line in log]


def link_of(mail: str) -> str:
    return mail.replace("=\r\n", "").replace("=\n", "").split("#token=")[1].split()[0]
