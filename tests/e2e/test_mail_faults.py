"""Signing up works whatever becomes of Redis and the worker, and the mail that was promised arrives."""

import asyncio
import json
import os
import signal
import statistics
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from time import monotonic
from uuid import uuid4

import pytest
from aiosmtpd.smtp import SMTP
from redis.asyncio import Redis as ConnectedRedis

from local.ports import free_ports
from local.process import Child, start_service
from local.redis_server import redis_service, redis_url
from local.secrets import new_secrets
from tests.e2e.parts import Parts, running_parts
from tests.e2e.wire import JsonWire
from tests.worker.surroundings import ScriptedSink, WorkerProcess, eventually, worker_process
from worker.settings import MAIL

PASSWORD = "seven blue herons at dusk"
HANDED_OUT_AGAIN_S = 35
"""A killed worker's job is given out again when its time in the queue is over, and after that by the relay."""


class Redis:
    """A Redis that can be killed."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)
        self._password = new_secrets().redis
        self._folder = folder
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return redis_url(self._password, self.port)

    async def start(self) -> None:
        service = redis_service(self._folder, self.port, self._password, os.environ)
        self._child = await start_service(service, self._folder)
        await asyncio.wait_for(self._child.wait_ready(), 10)

    def signal(self, number: signal.Signals) -> None:
        assert self._child is not None
        self._child.process.send_signal(number)

    async def kill(self) -> None:
        assert self._child is not None
        self._child.process.kill()
        await self._child.process.wait()


@pytest.fixture(scope="module")
async def parts(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    async with running_parts(tmp_path_factory.mktemp("mail")) as parts:
        yield parts


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[Redis]:
    redis = Redis(tmp_path)
    await redis.start()
    yield redis
    await redis.kill()


@pytest.fixture
async def sink() -> AsyncIterator[ScriptedSink]:
    scripted = ScriptedSink(free_ports(1))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(scripted, hostname="localhost", loop=loop), "127.0.0.1", scripted.port
    )
    yield scripted
    server.close()


@pytest.fixture
def environment(parts: Parts, redis: Redis, sink: ScriptedSink, tmp_path: Path) -> dict[str, str]:
    """Of a worker."""
    return {
        **{name: parts.environment[name] for name in ("BANK_ENVIRONMENT", "DATABASE_URL", "TOKEN_KEYS_FILE")},
        "REDIS_URL": redis.url,
        "SMTP_PORT": str(sink.port),
        "METRICS_PORT": "0",
        "WORKER_READY_FILE": str(tmp_path / "worker.ready"),
    }


async def sign_up(parts: Parts) -> str:
    """Sign somebody up over JSON; the user name."""
    username = f"u{uuid4().hex[:16]}"
    fields = {"username": username, "password": PASSWORD, "full_name": "Somebody", "email": f"{username}@example.com"}
    answer = await JsonWire(parts.gateway).call("CreateUser", fields)
    assert answer.code == "OK", answer
    assert PASSWORD not in json.dumps(answer.reply)
    return username


async def median_sign_up_s(parts: Parts) -> float:
    times = []
    for _ in range(7):
        start = monotonic()
        await sign_up(parts)
        times.append(monotonic() - start)
    return statistics.median(times)


def written_to(sink: ScriptedSink, username: str) -> bool:
    return any(mail["To"] == f"{username}@example.com" for mail in sink.accepted)


async def use_link(parts: Parts, mail: EmailMessage, username: str) -> None:
    """Do what the mail's reader does: verify once, sign in, find the first account."""
    wire = JsonWire(parts.gateway)
    text = mail.get_body(("plain",))
    assert text is not None
    token = text.get_content().split("#token=")[1].split()[0]
    answers = [await wire.call("VerifyEmail", {"token": token}) for _ in range(2)]
    assert answers[0].reply["user"]["email_verified"] is True
    assert (answers[1].code, answers[1].reason) == ("FAILED_PRECONDITION", "TOKEN_INVALID")
    session = await wire.call("CreateSession", {"username": username, "password": PASSWORD})
    access_token = session.reply["access_token"]

    async def has_account() -> bool:
        listed = await wire.call("ListAccounts", {}, access_token)
        return [account["currency_code"] for account in listed.reply["accounts"]] == ["USD"]

    await eventually(has_account, 10)


async def ready(worker: WorkerProcess) -> None:
    await eventually(worker.is_ready)


class TestSignUp:
    async def test_without_redis_the_mail_goes_out_when_it_is_back(
        self, parts: Parts, redis: Redis, sink: ScriptedSink, environment: dict[str, str], tmp_path: Path
    ) -> None:
        async with worker_process(environment, tmp_path) as worker:
            await ready(worker)
            await redis.kill()
            username = await sign_up(parts)
            await asyncio.sleep(1)
            assert sink.offered == []
            await redis.start()
            await eventually(lambda: sink.accepted)
            await use_link(parts, sink.accepted[0], username)
        assert len(sink.offered) == 1

    async def test_frozen_redis_slows_no_call_and_mails_go_out_when_it_goes_on(
        self, parts: Parts, redis: Redis, sink: ScriptedSink, environment: dict[str, str], tmp_path: Path
    ) -> None:
        async with worker_process(environment, tmp_path) as worker:
            await ready(worker)
            # Three in a row: other programs take their time of this machine too.
            for _ in range(3):
                usual_s = await median_sign_up_s(parts)
                redis.signal(signal.SIGSTOP)
                frozen_s = await median_sign_up_s(parts)
                username = await sign_up(parts)
                redis.signal(signal.SIGCONT)
                await eventually(lambda: written_to(sink, username), 15)  # noqa: B023 - awaited here
                if frozen_s < usual_s + 0.05:
                    return
        pytest.fail(f"{frozen_s:.3f} s without Redis, {usual_s:.3f} s with it")

    async def test_worker_away_for_days_sends_what_was_asked_for_with_a_link_that_works(
        self, parts: Parts, redis: Redis, sink: ScriptedSink, environment: dict[str, str], tmp_path: Path
    ) -> None:
        username = await sign_up(parts)
        async with parts.owner() as owner:
            ages = "create_time = create_time - interval '3 d'"
            job = await owner.fetchval(
                f"UPDATE mail_tokens SET {ages}, expire_time = expire_time - interval '3 d'"
                " WHERE user_id = (SELECT id FROM users WHERE username = $1) RETURNING id",
                username,
            )
            await owner.execute(f"UPDATE outbox SET {ages}, enqueue_time = now() - interval '3 d'")
        # Redis still has the place in the queue; what was in it has expired, as it does after a day.
        async with ConnectedRedis.from_url(redis.url) as client:
            await client.zadd(MAIL.queue_name, {str(job): 1})
        async with worker_process(environment, tmp_path):
            await eventually(lambda: written_to(sink, username), 20)
            (mail,) = [mail for mail in sink.accepted if mail["To"] == f"{username}@example.com"]
            await use_link(parts, mail, username)

    @pytest.mark.long
    @pytest.mark.timeout(120)
    async def test_worker_killed_in_mid_mail_sends_the_same_mail_again(
        self, parts: Parts, sink: ScriptedSink, environment: dict[str, str], tmp_path: Path
    ) -> None:
        sink.answers = ["pause"]
        async with worker_process(environment, tmp_path) as worker:
            await ready(worker)
            username = await sign_up(parts)
            await eventually(lambda: sink.offered)
            await worker.kill()
        async with worker_process(environment, tmp_path):
            await eventually(lambda: len(sink.offered) > 1, HANDED_OUT_AGAIN_S)
            await eventually(lambda: sink.accepted)
            first, second = sink.offered[:2]
            assert first["Message-ID"] == second["Message-ID"]
            assert first.as_bytes() == second.as_bytes()
            await use_link(parts, second, username)
        assert len(sink.offered) == 2

    @pytest.mark.long
    @pytest.mark.timeout(180)
    async def test_every_one_of_many_is_written_to_whatever_dies(
        self, parts: Parts, redis: Redis, sink: ScriptedSink, environment: dict[str, str], tmp_path: Path
    ) -> None:
        usernames = []
        for victim in ("worker", "redis", "server", "worker", "redis"):
            async with worker_process(environment, tmp_path) as worker:
                await ready(worker)
                for number in range(8):
                    usernames.append(await sign_up(parts))
                    if number == 4 and victim == "redis":
                        await redis.kill()
                    elif number == 4 and victim == "server":
                        parts.servers[0].process.kill()
                        await asyncio.sleep(1.5)
                if victim == "redis":
                    await redis.start()
                elif victim == "server":
                    await parts.start_server(0)
                await worker.kill()

        async with worker_process(environment, tmp_path):
            await eventually(lambda: all(written_to(sink, username) for username in usernames), 90)
        ids: dict[str, set[str]] = {}
        for mail in sink.accepted:
            ids.setdefault(str(mail["To"]), set()).add(str(mail["Message-ID"]))
        assert ids.keys() == {f"{username}@example.com" for username in usernames}
        assert all(len(each) == 1 for each in ids.values())
