import asyncio
import pickle
import signal
from pathlib import Path

import pytest
from arq.constants import in_progress_key_prefix, job_key_prefix
from bankdb import outbox
from uuid_utils.compat import uuid7

from local.ports import free_ports
from server.jobs import Job
from tests.clocks import WrongClock
from tests.worker.surroundings import Bank, WorkerProcess, dead_letters, eventually, link_to, worker_process
from worker.lanes import LANES
from worker.outbox import Relay
from worker.settings import MAIL, PROMPT, SMTP_TIMEOUT_S, TRIES_MAX


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

    async def test_redis_wiped_while_a_mail_waits_for_its_next_try_loses_nothing(
        self, bank: Bank, tmp_path: Path
    ) -> None:
        _, account_job, mail_job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"] * 4
        async with worker_process(bank.environment, tmp_path):
            await eventually(lambda: len(bank.sink.offered) == 4, 20)
            # The next try is eight seconds away, and now nobody knows of it.
            await bank.redis.flushall()
            await bank.alter("UPDATE outbox SET enqueue_time = enqueue_time - interval '31 s'")
            await eventually(lambda: are_done(bank, account_job, mail_job))
            await asyncio.sleep(1)
        assert len(bank.sink.accepted) == 1

    @pytest.mark.long
    @pytest.mark.timeout(90)
    async def test_redis_wiped_is_noticed_within_a_minute(self, bank: Bank, tmp_path: Path) -> None:
        _, _, mail_job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"] * 7
        async with worker_process(bank.environment, tmp_path):
            # 1 + 2 + 4 + 8 seconds.
            await eventually(lambda: len(bank.sink.offered) == 5, 30)
            bank.sink.answers = []
            await bank.redis.flushall()
            await eventually(lambda: are_done(bank, mail_job), 60)

    async def test_worker_whose_clock_is_set_back_goes_on(self, bank: Bank, tmp_path: Path) -> None:
        _, _, mail_job = await bank.sign_up()
        bank.sink.answers = ["451 4.7.1 greylisted"] * 3
        clock = WrongClock(tmp_path / "clock", "+0")
        async with worker_process({**bank.environment, **clock.environment}, tmp_path) as worker:
            await eventually(lambda: len(bank.sink.offered) == 3, 20)
            # To this worker the next try is now an hour and four seconds away.
            clock.set("-1h")
            _, *later_jobs = await bank.sign_up("bob")
            await eventually(lambda: are_done(bank, mail_job, *later_jobs))
            assert worker.process.returncode is None
        assert [mail["To"] for mail in bank.sink.accepted].count("alice@example.org") == 1

    @pytest.mark.parametrize("offset", ["+5m", "-5m"])
    async def test_workers_whose_clocks_differ_share_the_jobs(self, bank: Bank, tmp_path: Path, offset: str) -> None:
        clock = WrongClock(tmp_path / "clock", offset)
        (tmp_path / "wrong").mkdir()
        wrong = {
            **bank.environment,
            **clock.environment,
            "WORKER_READY_FILE": str(tmp_path / "wrong" / "ready"),
        }
        async with (
            worker_process(bank.environment, tmp_path) as first,
            worker_process(wrong, tmp_path / "wrong") as second,
        ):
            await eventually(lambda: first.is_ready() and second.is_ready())
            jobs = [job for number in range(10) for job in (await bank.sign_up(f"user{number}"))[1:]]
            await eventually(lambda: are_done(bank, *jobs))
        assert len(bank.sink.offered) == 10

    async def test_job_queued_again_and_again_for_two_workers_sends_one_mail(self, bank: Bank, tmp_path: Path) -> None:
        _, account_job, mail_job = await bank.sign_up()
        bank.sink.answers = ["pause"]
        environments = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            environments.append({**bank.environment, "WORKER_READY_FILE": str(tmp_path / str(number) / "ready")})
        async with (
            worker_process(environments[0], tmp_path / "0") as first,
            worker_process(environments[1], tmp_path / "1") as second,
        ):
            relay = Relay(bank.database, bank.redis, LANES, patience_s=0)
            await eventually(lambda: first.is_ready() and second.is_ready())
            while not await are_done(bank, account_job, mail_job):
                await relay.queue_waiting()
                await bank.redis.zadd(MAIL.queue_name, {str(mail_job): 1})
                await asyncio.sleep(0.05)
            for _ in range(10):
                await bank.redis.enqueue_job(
                    Job.SEND_VERIFICATION_EMAIL, _job_id=str(mail_job), _queue_name=MAIL.queue_name
                )
                await asyncio.sleep(0.1)
            logs = [*first.log(), *second.log()]
        assert len(bank.sink.offered) == 1
        assert [line["event"] for line in logs if line.get("job") == Job.SEND_VERIFICATION_EMAIL] == ["job_done"]

    async def test_mail_refused_for_good_is_a_dead_letter_that_is_counted_and_replayed(
        self, bank: Bank, tmp_path: Path
    ) -> None:
        user, _, mail_job = await bank.sign_up()
        bank.sink.answers = ["554 5.7.1 no"]
        metrics_port = free_ports(101)
        environment = {**bank.environment, "METRICS_PORT": str(metrics_port)}
        async with worker_process(environment, tmp_path):
            await eventually(lambda: is_dead(bank, mail_job))
            dead = f'worker_jobs_total{{job_name="{Job.SEND_VERIFICATION_EMAIL}",result="dead"}} 1.0'
            await eventually(lambda: are_told(metrics_port + 100, dead))
            assert await bank.value("SELECT done_time FROM outbox WHERE id = $1", mail_job) is None
            assert (await dead_letters(bank.environment, "replay", "all"))[0] == 0
            await eventually(lambda: are_done(bank, mail_job))
        assert [mail["To"] for mail in bank.sink.accepted] == [user.email]

    @pytest.mark.long
    @pytest.mark.timeout(90)
    async def test_mail_server_that_hangs_is_cut_off_and_mails_go_out_when_it_recovers(
        self, bank: Bank, tmp_path: Path
    ) -> None:
        bank.sink.usual = "hang"
        jobs = [(await bank.sign_up(f"user{number}"))[1:] for number in range(MAIL.jobs_at_once + 2)]
        async with worker_process(bank.environment, tmp_path) as worker:
            await eventually(lambda: are_done(bank, *(account_job for account_job, _ in jobs)), SMTP_TIMEOUT_S)
            await eventually(lambda: retries(worker.log()), SMTP_TIMEOUT_S + 5)
            assert {line["error"] for line in retries(worker.log())} == {"TryLaterError: mail server: TimeoutError"}
            bank.sink.usual = "250 kept"
            await eventually(lambda: are_done(bank, *(mail_job for _, mail_job in jobs)), 2 * SMTP_TIMEOUT_S + 10)
        assert len(bank.sink.accepted) == len(jobs)

    async def test_garbage_in_redis_and_outbox_stops_nothing(self, bank: Bank, tmp_path: Path) -> None:
        for lane in (PROMPT, MAIL):
            for content in (b"\x00garbage", b"[]", pickle.dumps({"f": "x"}), b'{"f": "no such job"}'):
                job_id = str(uuid7())
                await bank.redis.set(job_key_prefix + job_id, content)
                await bank.redis.zadd(lane.queue_name, {job_id: 1, b"\xff\xfe": 1})
        poisoned = uuid7()
        await outbox.insert_outbox_job(
            bank.stored.pool, id=poisoned, job=Job.SEND_SECURITY_NOTICE, payload='{"audit_event_id": "garbage"}'
        )
        _, account_job, mail_job = await bank.sign_up()
        async with worker_process(bank.environment, tmp_path) as worker:
            await eventually(lambda: are_done(bank, account_job, mail_job))
            await eventually(lambda: retries(worker.log()))
            assert worker.process.returncode is None
            assert {line["error"] for line in retries(worker.log())} == {"ValueError"}
            # As after many tries: the next one is the last.
            await bank.redis.set(f"arq:retry:{poisoned}", TRIES_MAX - 1)
            await eventually(lambda: is_dead(bank, poisoned))
        assert len(bank.sink.accepted) == 1

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
        user, *jobs = await bank.sign_up()
        await bank.alter("UPDATE users SET email_verified = true")
        jobs += [await bank.forget_password(user), await bank.notify(user)]
        first = free_ports(101)
        async with worker_process({**bank.environment, "METRICS_PORT": str(first)}, tmp_path):
            await eventually(lambda: are_done(bank, *jobs))
            # Counted after the row says so.
            done = [f'worker_jobs_total{{job_name="{job}",result="done"}} 1.0' for job in Job]
            await eventually(lambda: are_told(first + 100, *done, "worker_mails_sent_total 3.0"))
            text = await metrics(first + 100)
        assert "worker_outbox_age_seconds" in text
        assert "worker_sequencer_lag_seconds" in text


def interruptions(worker: WorkerProcess) -> set[tuple[str, str]]:
    """What was interrupted by what."""
    lines = [line for line in worker.log() if line["event"].endswith("_interrupted")]
    return {(line["event"].removesuffix("_interrupted"), line["error"]) for line in lines}


def retries(log: list[dict[str, str]]) -> list[dict[str, str]]:
    return [line for line in log if line["event"] == "job_retried"]


async def metrics(port: int) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


async def are_told(port: int, *samples: str) -> bool:
    text = await metrics(port)
    return all(sample in text for sample in samples)


async def is_dead(bank: Bank, job: object) -> bool:
    return bool(await bank.value("SELECT dead_time FROM outbox WHERE id = $1", job))


async def are_done(bank: Bank, *jobs: object) -> bool:
    done = await bank.value("SELECT count(*) FROM outbox WHERE id = ANY($1::uuid[]) AND done_time IS NOT NULL", jobs)
    return bool(done == len(jobs))


def events(log: list[dict[str, str]]) -> list[str]:
    return [line["event"] for line in log]


def link_of(mail: str) -> str:
    return mail.replace("=\r\n", "").replace("=\n", "").split("#token=")[1].split()[0]
