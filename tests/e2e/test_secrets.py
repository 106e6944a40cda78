"""No secret is told: not by a log, a metrics page, a process list, an audit event, the queue or an answer."""

import asyncio
import json
import os
import re
import secrets
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from uuid import uuid4

import grpc
import pytest
from aiosmtpd.smtp import SMTP
from google.api import annotations_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor

from local.ports import free_ports
from local.process import Child, start_service
from local.redis_server import redis_service, redis_url
from local.settings import ROOT
from tests.e2e.conftest import ABSENT
from tests.e2e.parts import Parts, below, once_served, running_parts, until_ready
from tests.e2e.wire import METHODS, Answer, Fields, GrpcWire, JsonWire, filled
from tests.worker.surroundings import ScriptedSink, WorkerProcess, eventually, worker_process
from worker.settings import METRICS_PORT_OFFSET

SECRET_FIELDS = {"password", "current_password", "new_password", "token", "refresh_token", "access_token"}
PASSWORD, NEW_PASSWORD = (f"canary {secrets.token_hex(8)} of the mine" for _ in range(2))
PRIVATE = f"private{secrets.token_hex(8)}"
"""Put into every field of text: nothing a client sends is written down anywhere but where it belongs."""


def text_of(mail: EmailMessage) -> str:
    text = mail.get_body(("plain",))
    assert text is not None
    content: str = text.get_content()
    return content


class Service:
    """All processes of a deployment, and every secret that went through them.

    Attributes:
        secrets: By what it is.
    """

    def __init__(self, parts: Parts, folder: Path, sink: ScriptedSink, redis: Child, redis_address: str) -> None:
        self.parts = parts
        self.folder = folder
        self.sink = sink
        self.redis = redis
        self.redis_address = redis_address
        self.json = JsonWire(parts.gateway)
        self.worker: WorkerProcess
        self.metrics_ports: list[int] = []
        keys = json.loads(parts.keys_file.read_text())
        self.secrets = {
            "database password": parts.secrets.bank_app,
            "owner's password": parts.secrets.bank_owner,
            "superuser's password": parts.secrets.postgres,
            "Redis password": parts.secrets.redis,
            "page token key": keys["page_token_key"],
            "mail token key": keys["mail_token_key"],
            "webhook key": keys["webhook_key"],
            "access token key": keys["access_token_keys"][0],
            "password": PASSWORD,
            "new password": NEW_PASSWORD,
        }

    def keep(self, answer: Answer) -> Answer:
        """Remember the tokens of an answer."""
        for name in ("access_token", "refresh_token", "secret"):
            if name in answer.reply:
                self.secrets[f"{name} {len(self.secrets)}"] = answer.reply[name]
        return answer

    async def done(self, rpc: str, fields: Fields, token: str = "") -> dict[str, Any]:
        answer = self.keep(await self.json.call(rpc, fields, token))
        assert answer.code == "OK", (rpc, answer)
        return answer.reply

    def mailed_token(self, number: int) -> str:
        token = text_of(self.sink.offered[number]).split("#token=")[1].split()[0]
        self.secrets[f"mailed token {number}"] = token
        return token

    def logs(self) -> dict[str, str]:
        return {
            path.name: path.read_text(errors="replace")
            for folder in (self.parts.folder, self.folder)
            for path in folder.glob("*.log")
        }

    def processes(self) -> list[int]:
        servers = [server.process.pid for server in self.parts.servers]
        roots = [*servers, self.parts.postgres.process.pid, self.redis.process.pid, self.worker.process.pid]
        return [*roots, *(child for root in roots for child in below(root))]

    def told_in(self, texts: dict[str, str]) -> list[tuple[str, str]]:
        """Which secret is told where."""
        found = {**self.secrets, "text of a client": PRIVATE}
        return [(where, what) for where, text in texts.items() for what, secret in found.items() if secret in text]


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    folder = tmp_path_factory.mktemp("worker")
    sink = ScriptedSink(free_ports(1))
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(running_parts(tmp_path_factory.mktemp("secrets")))
        server = await loop.create_server(lambda: SMTP(sink, hostname="localhost", loop=loop), "127.0.0.1", sink.port)
        stack.callback(server.close)
        port = free_ports(1)
        redis = await start_service(redis_service(folder, port, parts.secrets.redis, os.environ), folder)
        stack.push_async_callback(redis.stop)
        await asyncio.wait_for(redis.wait_ready(), 10)
        found = Service(parts, folder, sink, redis, redis_url(parts.secrets.redis, port))
        environment = {
            **{name: parts.environment[name] for name in ("BANK_ENVIRONMENT", "DATABASE_URL", "TOKEN_KEYS_FILE")},
            "REDIS_URL": found.redis_address,
            "SMTP_PORT": str(sink.port),
            "METRICS_PORT": str(free_ports(METRICS_PORT_OFFSET + 1)),
            "WORKER_READY_FILE": str(folder / "worker.ready"),
        }
        found.worker = await stack.enter_async_context(worker_process(environment, folder))
        await eventually(found.worker.is_ready)
        found.metrics_ports = [*parts.metrics_ports, int(environment["METRICS_PORT"]) + METRICS_PORT_OFFSET]
        await use_everything(found)
        yield found


async def use_everything(service: Service) -> None:
    """Send secrets through every call: granted, refused, malformed, and while parts are missing."""
    await live(service)
    await fill_every_field(service)
    await send_malformed(service)
    await lose_parts(service)


async def live(service: Service) -> None:
    """What a user does with passwords and tokens, and all they may write."""
    done, name = service.done, f"u{secrets.token_hex(6)}"
    await done(
        "CreateUser", {"username": name, "password": PASSWORD, "full_name": PRIVATE, "email": f"{name}@example.com"}
    )
    await eventually(lambda: service.sink.accepted)
    await done("VerifyEmail", {"token": service.mailed_token(0)})
    await service.json.call("VerifyEmail", {"token": service.mailed_token(0)})
    first = await done("CreateSession", {"username": name, "password": PASSWORD})
    await service.json.call("CreateSession", {"username": name, "password": NEW_PASSWORD})
    await done("RefreshSession", {"refresh_token": first["refresh_token"]})
    token = first["access_token"]
    account = await done(
        "CreateAccount", {"currency_code": "USD", "request_id": ABSENT, "display_name": PRIVATE}, token
    )
    named = {"id": account["account"]["id"], "metadata": {PRIVATE: PRIVATE}}
    await done("UpdateAccount", {"account": named, "update_mask": "metadata"}, token)
    await done("UpdateUser", {"user": {"id": "me", "full_name": PRIVATE}, "update_mask": "full_name"}, token)
    told = {"request_id": str(uuid4()), "url": "http://127.0.0.1:1024/"}
    webhook = (await done("CreateWebhook", told, token))["webhook"]
    await done("RotateWebhookSecret", {"webhook_id": webhook["id"]}, token)
    await done("CreateAccount", {"currency_code": "EUR", "request_id": str(uuid4())}, token)
    change = {"user_id": "me", "current_password": PASSWORD, "new_password": NEW_PASSWORD}
    await done("ChangePassword", change, token)
    await service.json.call("ChangePassword", change, token)
    moved = {"user_id": "me", "current_password": NEW_PASSWORD, "new_email": f"{name}@example.net"}
    await done("ChangeEmail", moved, token)
    await service.json.call("ChangeEmail", {**moved, "current_password": PASSWORD}, token)
    before = len(service.sink.offered)
    await done("RequestPasswordReset", {"email": f"{name}@example.com"})

    def links() -> list[int]:
        mails = list(enumerate(service.sink.offered))[before:]
        return [number for number, mail in mails if mail["To"] == f"{name}@example.com" and "#token=" in text_of(mail)]

    await eventually(links)
    number = links()[0]
    await service.json.call("ResetPassword", {"token": service.mailed_token(number), "new_password": "short"})
    await done("ResetPassword", {"token": service.mailed_token(number), "new_password": PASSWORD})
    await done("CreateSession", {"username": name, "password": PASSWORD})


def in_path(method: MethodDescriptor) -> list[str]:
    """Fields whose value is part of the URL's path."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    return re.findall(r"\{([a-z_.]+)\}", getattr(rule, rule.WhichOneof("pattern")))


async def fill_every_field(service: Service) -> None:
    token = next(value for name, value in reversed(service.secrets.items()) if name.startswith("access_token"))
    async with (
        service.parts.channel() as gateway,
        grpc.aio.insecure_channel(f"127.0.0.1:{service.parts.server_ports[0]}") as direct,
    ):
        for rpc, method in METHODS.items():
            for text in (PRIVATE, PASSWORD):
                fields = filled(method.input_type, text)
                for proof in ("", token, PASSWORD.replace(" ", "-")):
                    for wire in (gateway, GrpcWire(direct)):
                        masked = {**fields, "update_mask": PRIVATE} if "update_mask" in fields else fields
                        await wire.call(rpc, masked, proof)
                    for path in in_path(method):
                        holder, _, name = path.rpartition(".")
                        (fields[holder] if holder else fields)[name] = ABSENT
                    await service.json.call(rpc, fields, proof, [("idempotency-key", PRIVATE), ("cookie", PRIVATE)])
    service.secrets["bearer that is no token"] = PASSWORD.replace(" ", "-")


async def send_malformed(service: Service) -> None:
    gateway = service.parts.gateway
    for body in (f'{{"password": "{PASSWORD}"', f'"{PASSWORD}"', f'{{"password": ["{PASSWORD}"]}}', PASSWORD * 2000):
        for path in ("/v1/sessions", "/v1/users", "/v1/users/me:changePassword", "/v1/sessions:refresh"):
            assert (await gateway.post(path, body)).status in (400, 401, 413)
    for path in ("/v1/transfers", "/v1/nothing", "/verify-email.html", "/"):
        await gateway.get(f"{path}?token={PRIVATE}&reference={PRIVATE}", ("referer", f"http://x/?token={PRIVATE}"))
        # Refused for its size, by a part of the gateway that would log the whole target.
        large = await gateway.post(f"{path}?token={PRIVATE}", "x" * 70_000)
        assert large.status in (404, 405, 413), large.status
    await gateway.send_raw(f"GET / HTTP/1.1\r\nauthorization: Bearer {PRIVATE}\r\n\r\n".encode())
    await gateway.send_raw(f"{PRIVATE} {PRIVATE}\r\n\r\n".encode())
    async with service.parts.channel() as wire:
        for rpc in ("CreateSession", "ChangePassword", "CreateTransfer", "VerifyEmail"):
            for raw in (PASSWORD.encode(), b"\x0a\xff" + PASSWORD.encode(), b"\x12\x7f" + PASSWORD.encode()):
                await wire.send(rpc, raw)


async def lose_parts(service: Service) -> None:
    """The same secrets while the mail server refuses, then without database, then without Redis."""
    parts, name = service.parts, f"u{secrets.token_hex(6)}"
    service.sink.answers = ["550 no", "451 later", "550 no"]
    offered = len(service.sink.offered)
    sign_up = {"username": name, "password": PASSWORD, "full_name": PRIVATE, "email": f"{name}@example.com"}
    await service.done("CreateUser", sign_up)
    await eventually(lambda: len(service.sink.offered) > offered)
    service.mailed_token(offered)
    session = await service.done("CreateSession", {"username": name, "password": PASSWORD})
    await parts.kill_postgres()
    codes = set()
    for rpc, fields, token in (
        ("CreateUser", {**sign_up, "username": f"{name}x"}, ""),
        ("CreateSession", {"username": name, "password": PASSWORD}, ""),
        ("RefreshSession", {"refresh_token": session["refresh_token"]}, ""),
        ("VerifyEmail", {"token": service.mailed_token(offered)}, ""),
        ("ResetPassword", {"token": service.mailed_token(offered), "new_password": NEW_PASSWORD}, ""),
        (
            "CreateAccount",
            {"currency_code": "USD", "request_id": ABSENT, "display_name": PRIVATE},
            session["access_token"],
        ),
    ):
        codes.add((await service.json.call(rpc, fields, token)).code)
    assert codes <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}, codes
    await parts.start_postgres()
    await until_ready(parts)
    service.redis.process.kill()
    await service.redis.process.wait()
    # A repeat may find that it had been done.
    sign_up = {**sign_up, "username": f"{name}y"}
    signed_up = await once_served(lambda: service.json.call("CreateUser", sign_up))
    assert signed_up.code in ("OK", "ALREADY_EXISTS"), signed_up
    await asyncio.sleep(1)


class TestCanary:
    """Every secret of a deployment and its users, sent through every call; then looked for."""

    def test_no_log_tells_one(self, service: Service) -> None:
        logs = service.logs()
        assert {"server-0.log", "server-1.log", "gateway.log", "worker.log", "postgres.log", "redis.log"} <= logs.keys()
        assert all(text for name, text in logs.items() if name != "redis.log")
        assert service.told_in(logs) == []

    def test_no_command_line_tells_one(self, service: Service) -> None:
        lines = {}
        for pid in service.processes():
            path = Path(f"/proc/{pid}/cmdline")
            if path.exists():
                lines[f"process {pid}"] = path.read_text(errors="replace")
        assert len(lines) > 5
        assert service.told_in(lines) == []

    async def test_no_metrics_page_tells_one(self, service: Service) -> None:
        pages = {}
        for port in service.metrics_ports:
            with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
                pages[f"port {port}"] = page.read().decode()
        assert all("# HELP " in page for page in pages.values())
        assert service.told_in(pages) == []

    async def test_database_holds_no_secret_in_the_clear(self, service: Service) -> None:
        """Who reads every table learns none; audit events and jobs hold no text of clients either."""
        async with service.parts.owner() as owner:
            tables = await owner.fetch(
                "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
            texts = {}
            for (name,) in tables:
                texts[name] = str(await owner.fetchval(f"SELECT string_agg(t::text, ' ') FROM {name} AS t"))
        assert len(texts["users"]) > 100
        assert len(texts["audit_events"]) > 100
        told = service.told_in(texts)
        assert {what for _, what in told} <= {"text of a client"}
        assert {where for where, _ in told} <= {"users", "accounts"}

    async def test_no_answer_told_a_password(self, service: Service) -> None:
        for body in ({"username": "nobody", "password": PASSWORD}, {"username": PASSWORD, "password": PASSWORD}):
            reply = await service.parts.gateway.post("/v1/sessions", json.dumps(body))
            assert PASSWORD.encode() not in reply.body


class TestQueue:
    async def test_queue_holds_ids_only(self, service: Service, tmp_path: Path) -> None:
        """What Redis wrote to its disk is all that was ever queued."""
        written = {
            str(path): path.read_bytes().decode(errors="replace")
            for path in service.folder.rglob("*")
            if path.is_file() and path.suffix in {".aof", ".rdb"}
        }
        assert any("arq:" in text for text in written.values())
        assert service.told_in(written) == []


class TestContract:
    def test_no_secret_is_part_of_a_url(self) -> None:
        """A field that holds one goes in the body of a POST, never in a path or a query."""
        found = 0
        for rpc, method in METHODS.items():
            for field in method.input_type.fields:
                if field.name in SECRET_FIELDS:
                    rule = method.GetOptions().Extensions[annotations_pb2.http]
                    assert (rule.WhichOneof("pattern"), rule.body) == ("post", "*"), rpc
                    assert field.name not in in_path(method), rpc
                    found += 1
        assert found >= 9

    def test_no_answer_has_a_field_for_a_secret_but_those_that_hand_out_tokens(self) -> None:
        def names(message: Descriptor, seen: set[str]) -> set[str]:
            found = {field.name for field in message.fields}
            for field in message.fields:
                if field.message_type is not None and field.message_type.full_name not in seen:
                    found |= names(field.message_type, seen | {field.message_type.full_name})
            return found

        for rpc, method in METHODS.items():
            told = {
                name
                for name in names(method.output_type, set())
                if re.search(r"password|hash|token|secret|key$", name) and name != "next_page_token"
            }
            told -= {"hash"} if rpc == "VerifyLedger" else set()  # of the ledger, made to be told
            handed_out = {"access_token", "refresh_token", "access_token_expire_time", "refresh_token_expire_time"}
            expected = handed_out if rpc in ("CreateSession", "RefreshSession") else set()
            # Shown once, to be entered where it is needed.
            expected = {"secret"} if rpc in ("CreateWebhook", "RotateWebhookSecret") else expected
            assert told - {"key"} == expected, rpc


class TestFiles:
    def test_files_with_secrets_are_their_owner_s_alone(self, service: Service) -> None:
        assert service.parts.keys_file.stat().st_mode & 0o077 == 0

    def test_gateway_configuration_holds_none(self, service: Service) -> None:
        assert service.told_in({"envoy.yaml": (service.parts.folder / "envoy.yaml").read_text()}) == []

    def test_repository_and_its_history_hold_no_key(self) -> None:
        pattern = r"BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|_key[s]?\"?: \[?\"[A-Za-z0-9_-]{43}\""
        planted = '"mail_token_key": "' + "Ab1-" * 10 + 'Ab1"'
        assert re.search(pattern, planted)
        found = []
        for folder in (
            "server",
            "worker",
            "local",
            "client",
            "tools",
            "bench",
            "k8s",
            "envoy",
            "docs",
            "db",
            ".github",
        ):
            for path in (ROOT / folder).rglob("*"):
                if path.is_file() and re.search(pattern, path.read_text(errors="replace")):
                    found.append(str(path))
        if (ROOT / ".git").exists():
            command = ["git", "log", "--all", "--oneline", "-E", "-G", pattern, "--", ".", ":!tests", ":!docs/assets"]
            found += subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
        assert found == []
