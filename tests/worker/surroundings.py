"""What the worker is tested with: users, a mail server with moods, links that fail, the worker as a process."""

import asyncio
import email
import email.policy
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from aiosmtpd.smtp import SMTP, Envelope, Session
from arq.connections import ArqRedis
from bankdb import audit_events, mail_tokens, outbox, users
from bankdb.models import User
from uuid_utils.compat import uuid7

from local.ports import free_ports
from server.config import Settings
from server.database import CONNECTION_ERRORS, Connection, Database, open_pool
from server.jobs import Job, payload
from server.tokens import MAIL_TOKEN_TTL_S, RESET_PASSWORD, VERIFY_EMAIL, MailTokens, digest
from tests.conftest import Database as TestDatabase
from worker.job_queue import JobQueue, Work
from worker.lanes import LANES, work_in
from worker.mail_server import MailServer
from worker.sequencer import CONNECTION_SETTINGS, Sequencer
from worker.settings import Lane

ROOT = Path(__file__).parents[2]


@dataclass
class ScriptedSink:
    """A mail server that answers DATA as it is told to and keeps what it accepts."""

    port: int
    answers: list[str] = field(default_factory=list)
    """Replies to the next messages, then `250 kept`. `hang` keeps the client waiting, `pause` keeps it for a second."""
    usual: str = "250 kept"
    """Reply to all further messages."""
    envelope_answers: list[str] = field(default_factory=list)
    """Replies to the next recipients."""
    silent_at_quit: bool = False
    offered: list[EmailMessage] = field(default_factory=list)
    """All messages that were offered."""
    accepted: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    """Of the envelopes, as they were accepted."""

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        answer = self.envelope_answers.pop(0) if self.envelope_answers else "250 ok"
        if answer.startswith("250"):
            envelope.rcpt_tos.append(address)
            self.recipients.append(address)
        return answer

    async def handle_QUIT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.silent_at_quit:
            await asyncio.sleep(60)
        return "221 bye"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        message = email.message_from_bytes(envelope.original_content or b"", policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.offered.append(message)
        answer = self.answers.pop(0) if self.answers else self.usual
        if answer == "hang":
            await asyncio.sleep(60)
        if answer == "pause":
            await asyncio.sleep(1)
            answer = "250 kept"
        if answer.startswith("250"):
            self.accepted.append(message)
        return answer


class Link:
    """A way to a server that can be cut, and frozen like a server that was stopped.

    Attributes:
        sent: What clients sent so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._pairs: set[asyncio.StreamWriter] = set()
        self._flowing = asyncio.Event()
        self.port = free_ports(1)
        self.sent = bytearray()

    async def open(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Refuse new connections and reset those there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._pairs:
            writer.transport.abort()
        self._flowing.set()

    def freeze(self) -> None:
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._pairs |= {writer, far_writer}
        with suppress(OSError):
            await asyncio.gather(self._pump(reader, far_writer, self.sent), self._pump(far_reader, writer, bytearray()))
        self._pairs -= {writer, far_writer}
        writer.transport.abort()
        far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: bytearray) -> None:
        while chunk := await reader.read(65536):
            seen += chunk
            await self._flowing.wait()
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError


@dataclass
class Bank:
    """What a test of the worker needs, on one database and one Redis."""

    stored: TestDatabase
    settings: Settings
    database: Database
    redis: ArqRedis
    tokens: MailTokens
    sink: ScriptedSink
    environment: dict[str, str]

    def work(self, lane: Lane) -> dict[str, Work]:
        """What the jobs of a lane do, by their names."""
        return work_in(lane, self.database, MailServer(self.settings), self.tokens, self.settings)

    def queue(self, lane: Lane, work: dict[str, Work] | None = None) -> JobQueue:
        return JobQueue(self.database, self.redis, lane, self.work(lane) if work is None else work, None, grace_s=1)

    async def attempt(self, job: Job, outbox_id: UUID, tries: int = 1) -> None:
        """Try a job as the queue would."""
        lane = LANES[job]
        await self.queue(lane).attempt(job, self.work(lane)[job], outbox_id, tries)

    async def sign_up(self, username: str = "alice", address: str | None = None) -> tuple[User, UUID, UUID]:
        """Store a user as the service does; with the ids of the two jobs: first account, verification mail."""
        user_id, account_job, mail_job = uuid7(), uuid7(), uuid7()
        async with self.stored.pool.acquire() as connection, connection.transaction():
            user = await users.insert_user(
                connection,
                id=user_id,
                username=username,
                password_hash="-",
                full_name="Alice Example",
                email=address or f"{username}@example.org",
            )
            assert user is not None
            await outbox.insert_outbox_job(
                connection, id=account_job, job=Job.OPEN_FIRST_ACCOUNT, payload=payload(user_id=user_id)
            )
            await self._ask_for_link(connection, user, VERIFY_EMAIL, mail_job, Job.SEND_VERIFICATION_EMAIL)
        return user, account_job, mail_job

    async def forget_password(self, user: User) -> UUID:
        """Ask for a new password as the service does; the id of the job."""
        job_id = uuid7()
        async with self.stored.pool.acquire() as connection, connection.transaction():
            await self._ask_for_link(connection, user, RESET_PASSWORD, job_id, Job.SEND_PASSWORD_RESET_EMAIL)
        return job_id

    async def notify(
        self,
        user: User,
        type_: str = "SIGNED_IN",
        address: str = "192.0.2.7",
        program: str = "curl/8.5.0",
        **details: str,
    ) -> UUID:
        """Record what happened to a user as the service does; the id of the job that tells them."""
        job_id, event_id = uuid7(), uuid7()
        async with self.stored.pool.acquire() as connection, connection.transaction():
            await audit_events.insert_audit_event(
                connection,
                id=event_id,
                type=type_,
                user_id=user.id,
                actor_user_id=None,
                session_id=None,
                account_id=None,
                client_address=address,
                user_agent=program,
                trace_id="",
                details=json.dumps(details),
            )
            await outbox.insert_outbox_job(
                connection, id=job_id, job=Job.SEND_SECURITY_NOTICE, payload=payload(audit_event_id=event_id)
            )
        return job_id

    async def _ask_for_link(self, connection: Connection, user: User, purpose: str, job_id: UUID, job: Job) -> None:
        await mail_tokens.insert_mail_token(
            connection,
            id=job_id,
            user_id=user.id,
            purpose=purpose,
            email=user.email,
            token_hash=digest(self.tokens.make(purpose, job_id, user.id)),
            ttl_s=MAIL_TOKEN_TTL_S[purpose],
        )
        await outbox.insert_outbox_job(connection, id=job_id, job=job, payload=payload(user_id=user.id))

    async def alter(self, statement: str) -> None:
        """Do as the owner of the tables what the service may not."""
        connection = await asyncpg.connect(self.stored.owner_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def value(self, query: str, *arguments: object) -> Any:
        return await self.stored.pool.fetchval(query, *arguments)

    async def state(self, outbox_id: UUID) -> str:
        """Of a job: open, done or dead."""
        row = await self.stored.pool.fetchrow("SELECT done_time, dead_time FROM outbox WHERE id = $1", outbox_id)
        return "done" if row["done_time"] else "dead" if row["dead_time"] else "open"


def read_settings(environment: dict[str, str]) -> Settings:
    """Settings as a process with this environment would read them."""
    names = {"BANK_ENVIRONMENT": "BANK_ENVIRONMENT"}
    return Settings(**{names.get(name, name.lower()): value for name, value in environment.items()})


@asynccontextmanager
async def link_to(url: str) -> AsyncIterator[tuple[Link, str]]:
    """An open link to the server of a URL, and the URL that leads over it."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    link = Link(parts.hostname, parts.port)
    await link.open()
    try:
        yield link, url.replace(f":{parts.port}/", f":{link.port}/")
    finally:
        await link.cut()


class WorkerProcess:
    """`python -m worker`."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, ready_file: Path) -> None:
        self.process = process
        self._log = log
        self._ready_file = ready_file

    def is_ready(self) -> bool:
        return self._ready_file.exists()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def worker_process(environment: dict[str, str], folder: Path) -> AsyncIterator[WorkerProcess]:
    log = folder / "worker.log"
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "VIRTUAL_ENV")}
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "worker"),
            cwd=ROOT,
            env={**inherited, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", **environment},
            stdout=file,
            stderr=file,
        )
    try:
        yield WorkerProcess(process, log, Path(environment["WORKER_READY_FILE"]))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def dead_letters(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Exit status and output of `python -m worker.dead_letters`."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "worker.dead_letters", *arguments),
        cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@asynccontextmanager
async def working(url: str, work: Callable[[Database], Awaitable[None]]) -> AsyncIterator[None]:
    """A part of the worker at work, on a connection of its own to the database."""
    pool = await open_pool(url, size=1, settings=CONNECTION_SETTINGS)
    task = asyncio.create_task(work(Database(pool)))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, asyncpg.PostgresError, *CONNECTION_ERRORS):
            await task
        await pool.close()


def sequencing(url: str) -> AbstractAsyncContextManager[None]:
    """A sequencer at work."""
    return working(url, lambda database: Sequencer(database).run())


async def eventually(condition: Callable[[], object], within_s: float = 15) -> None:
    """Wait until it holds; a condition may be a coroutine function."""
    async with asyncio.timeout(within_s):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)
