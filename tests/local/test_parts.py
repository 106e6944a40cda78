"""The stack started part by part, as by `make postgres`, `make server` and so on, each in a terminal of its own."""

import asyncio
import json
import signal
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from local.probes import accepts_connections, answers_http, serves_grpc
from local.process import Child, Service, start_service
from local.settings import ROOT, Settings, read_settings
from tests.conftest import stack_environment

# On a machine that is busy with other tests each start may take half a minute.
pytestmark = pytest.mark.timeout(240)
PATIENCE_S = 60


def made(target: str) -> list[str]:
    """What make would run for a target after it has looked after .venv."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "-n", target], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return ["sh", "-c", printed.splitlines()[-1]]


class Terminals:
    """Starts parts; ends those that are left, in reverse."""

    def __init__(self, state_dir: Path) -> None:
        self.environment = stack_environment(state_dir)
        self.settings: Settings = read_settings(self.environment)
        self._logs = state_dir.with_name("terminals")
        self._logs.mkdir()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Terminals":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def start(self, target: str, ready: Callable[[], Awaitable[bool]]) -> Child:
        child = await start_service(Service(target, made(target), ready, self.environment), self._logs)
        self._stack.push_async_callback(child.stop)
        await asyncio.wait_for(child.wait_ready(), PATIENCE_S)
        return child

    async def run(self, *command: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env=self.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode or 0, printed.decode()

    def sign_up(self, username: str) -> int:
        user = {
            "username": username,
            "password": "a long enough passphrase",
            "full_name": "Carol",
            "email": f"{username}@example.org",
        }
        request = Request(f"{self.settings.public_url}/v1/users", json.dumps(user).encode())  # noqa: S310 - loopback
        with urlopen(request, timeout=20) as response:  # noqa: S310
            return int(response.status)

    async def start_postgres(self) -> Child:
        return await self.start("postgres", partial(accepts_connections, self.settings.postgres_port))


async def is_ready(settings: Settings) -> bool:
    return settings.worker_ready_file.exists()


async def has_mail(settings: Settings) -> bool:
    return any(settings.mail_dir.glob("[0-9]*.eml"))


class TestPartByPart:
    async def test_empty_state_folder_becomes_a_service_that_mails(self, tmp_path: Path) -> None:
        async with Terminals(tmp_path / "state") as terminals:
            settings = terminals.settings
            parts = [await terminals.start_postgres()]
            assert await terminals.run(*made("createdb")) == (0, "")
            assert (await terminals.run(*made("migrate-up")))[0] == 0
            parts += [
                await terminals.start("redis", partial(accepts_connections, settings.redis_port)),
                await terminals.start("mail", partial(accepts_connections, settings.smtp_port)),
                await terminals.start("server", partial(serves_grpc, settings.server_port)),
                await terminals.start("worker", partial(is_ready, settings)),
                await terminals.start("gateway", partial(answers_http, settings.gateway_port, "/readyz")),
            ]

            assert await asyncio.to_thread(terminals.sign_up, "carol") == 200
            async with asyncio.timeout(PATIENCE_S):
                while not await has_mail(settings):
                    await asyncio.sleep(0.05)

            for part in reversed(parts):
                part.process.send_signal(signal.SIGINT)
                assert await asyncio.wait_for(part.process.wait(), 20) == 0, part.log.read_text()

            # Everything again: what exists stays.
            await terminals.start_postgres()
            assert await terminals.run(*made("createdb")) == (0, "")
            assert (await terminals.run(*made("migrate-up")))[0] == 0

    async def test_whole_stack_is_refused_while_a_part_runs(self, tmp_path: Path) -> None:
        async with Terminals(tmp_path / "state") as terminals:
            part = await terminals.start_postgres()
            status, printed = await terminals.run(*made("run"))
            assert status == 1
            assert "is already running: one by one" in printed
            assert part.process.returncode is None
            part.process.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(part.process.wait(), 20) == 0

    @pytest.mark.parametrize("state", ["absent", "stopped"])
    async def test_database_is_created_only_where_postgres_answers(self, tmp_path: Path, state: str) -> None:
        async with Terminals(tmp_path / "state") as terminals:
            if state == "stopped":
                await (await terminals.start_postgres()).stop()
            status, printed = await terminals.run(*made("createdb"))
            assert status == 1
            port = terminals.settings.postgres_port
            assert printed == f"no PostgreSQL answers on port {port}: start it with make postgres in another terminal\n"

    async def test_environment_wins_over_the_stack(self, tmp_path: Path) -> None:
        async with Terminals(tmp_path / "state") as terminals:
            terminals.environment |= {"BANK_ENVIRONMENT": "production", "PUBLIC_URL": "http://bank.example"}
            status, printed = await terminals.run(*made("server"))
            assert status == 2
            assert "PUBLIC_URL must begin with https://" in printed


class TestShareLock:
    async def test_part_is_refused_while_the_whole_stack_runs(self, tmp_path: Path) -> None:
        async with Terminals(tmp_path / "state") as terminals:
            await terminals.start("run", partial(answers_http, terminals.settings.gateway_port, "/readyz"))
            status, printed = await terminals.run(*made("worker"))
            assert status == 1
            assert "is already running: pid " in printed
