import asyncio
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import asyncpg
import pytest

from local.demo import DEMO_PASSWORD
from local.postgres import APPLICATION_ROLE, OWNER_ROLE, prepare_database
from local.process import TAG
from tests.conftest import PostgresServer, Stack, stack_environment

OPEN = "The bank is open"


class Launcher:
    """A started launcher and everything it printed."""

    def __init__(self, process: asyncio.subprocess.Process, environment: dict[str, str]) -> None:
        self.process = process
        self.environment = environment
        self.printed = ""

    async def wait_for(self, text: str) -> None:
        """Wait until this is printed; fail with all that was if the launcher ends before."""
        assert self.process.stdout is not None
        async with asyncio.timeout(50):
            while text not in self.printed:
                line = await self.process.stdout.readline()
                assert line, f"ended before it printed {text!r}:\n{self.printed}"
                self.printed += line.decode()

    async def wait_ended(self) -> int:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            self.printed += (await self.process.stdout.read()).decode()
            return await self.process.wait()


@asynccontextmanager
async def launch(environment: dict[str, str], *prefix: str, action: str = "run") -> AsyncIterator[Launcher]:
    """Start a launcher; at the end it is stopped, and nothing of it may be left."""
    process = await asyncio.create_subprocess_exec(
        *prefix,
        sys.executable,
        "-m",
        "local",
        action,
        env=environment,
        cwd="/",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    launcher = Launcher(process, environment)
    try:
        yield launcher
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await launcher.wait_ended()


async def outcome(environment: dict[str, str], action: str = "run") -> tuple[int, str]:
    """Status and output of a launcher that is expected to end by itself."""
    async with launch(environment, action=action) as launcher:
        return await launcher.wait_ended(), launcher.printed


def living(state_dir: str) -> dict[int, str]:
    """Command lines of all processes of this stack: tagged with its state folder, working in it, or naming it."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            tagged = f"{TAG}={state_dir}".encode() in (entry / "environ").read_bytes().split(b"\0")
            inside = os.readlink(entry / "cwd").startswith(state_dir)
        except OSError:
            continue
        if state != "Z" and (tagged or inside or state_dir in command):
            found[int(entry.name)] = command
    return found


def pid_of(environment: dict[str, str], command: str) -> int:
    """The process with this in its command line that was started first."""
    found = living(environment["BANK_STATE_DIR"])
    return min(pid for pid, text in found.items() if command in text)


def assert_nothing_left(environment: dict[str, str]) -> None:
    assert living(environment["BANK_STATE_DIR"]) == {}
    for name, port in environment.items():
        if name.endswith("_PORT") and port != "0":
            with socket.socket() as probe:
                assert probe.connect_ex(("127.0.0.1", int(port))) != 0, name


def alices_balances(environment: dict[str, str]) -> list[str]:
    """What alice's accounts hold, asked over JSON."""
    at = f"http://127.0.0.1:{environment['GATEWAY_PORT']}/v1"
    credentials = json.dumps({"username": "alice", "password": DEMO_PASSWORD}).encode()
    with urlopen(Request(f"{at}/sessions", credentials), timeout=10) as answer:  # noqa: S310 - loopback
        token = json.load(answer)["access_token"]
    asked = Request(f"{at}/accounts", headers={"Authorization": f"Bearer {token}"})  # noqa: S310
    with urlopen(asked, timeout=10) as answer:  # noqa: S310
        return [account["posted_minor"] for account in json.load(answer)["accounts"]]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Ports and a state folder that the tests here start one after the other."""
    environment = stack_environment(tmp_path_factory.mktemp("launcher") / "state") | {"SERVER_PROCESSES": "1"}
    yield environment
    assert_nothing_left(environment)


class TestRun:
    async def test_ctrl_c_leaves_data_only_and_next_start_adds_nothing(self, environment: dict[str, str]) -> None:
        for _ in range(2):
            async with launch(environment) as launcher:
                await launcher.wait_for("grpcurl -plaintext")
                console = f"http://localhost:{environment['GATEWAY_PORT']}/"
                assert launcher.printed.index(f"Console         {console}\n") < launcher.printed.index(
                    f"{console}docs/"
                )
                assert DEMO_PASSWORD in launcher.printed
                assert await asyncio.to_thread(alices_balances, environment) == ["100000"]
                launcher.process.send_signal(signal.SIGINT)
                assert await launcher.wait_ended() == 0
            assert_nothing_left(environment)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    async def test_signal_during_start_stops_it(self, environment: dict[str, str], number: signal.Signals) -> None:
        async with launch(environment) as launcher:
            async with asyncio.timeout(20):
                while len(living(environment["BANK_STATE_DIR"])) < 3:
                    await asyncio.sleep(0.02)
            launcher.process.send_signal(number)
            assert await launcher.wait_ended() == 0
            assert OPEN not in launcher.printed
        assert_nothing_left(environment)

    async def test_second_signal_does_not_wait_for_a_frozen_child(self, environment: dict[str, str]) -> None:
        async with launch(environment) as launcher:
            await launcher.wait_for(OPEN)
            os.kill(pid_of(environment, "-m server"), signal.SIGSTOP)
            launcher.process.send_signal(signal.SIGINT)
            await launcher.wait_for("Stopping")
            begin = time.monotonic()
            launcher.process.send_signal(signal.SIGINT)
            assert await launcher.wait_ended() == 0
            assert time.monotonic() - begin < 5
        assert_nothing_left(environment)

    async def test_sigkill_blocks_no_restart_even_with_a_frozen_child(self, environment: dict[str, str]) -> None:
        async with launch(environment) as launcher:
            await launcher.wait_for(OPEN)
            os.kill(pid_of(environment, "-m server"), signal.SIGSTOP)
            launcher.process.kill()
            # The frozen child keeps the pipe open: what it printed is of no interest here.
            await launcher.process.wait()
            async with launch(environment) as second:
                await second.wait_for(OPEN)
                assert "that an earlier run left behind" in second.printed
                assert await asyncio.to_thread(alices_balances, environment) == ["100000"]
        assert_nothing_left(environment)

    async def test_dead_worker_is_started_again(self, environment: dict[str, str]) -> None:
        async with launch(environment) as launcher:
            await launcher.wait_for(OPEN)
            killed = pid_of(environment, "-m worker")
            os.kill(killed, signal.SIGKILL)
            await launcher.wait_for("worker died and is started again")
            async with asyncio.timeout(10):
                while not any("-m worker" in text for text in living(environment["BANK_STATE_DIR"]).values()):
                    await asyncio.sleep(0.05)
        assert_nothing_left(environment)

    @pytest.mark.parametrize("command", ["-m server", "envoy -c"])
    async def test_other_death_ends_the_stack(self, environment: dict[str, str], command: str) -> None:
        async with launch(environment) as launcher:
            await launcher.wait_for(OPEN)
            os.kill(pid_of(environment, command), signal.SIGKILL)
            assert await launcher.wait_ended() == 1
            assert "was ended by SIGKILL; " in launcher.printed
        assert_nothing_left(environment)

    async def test_killed_make_takes_the_stack_along(self, environment: dict[str, str]) -> None:
        shell = ["sh", "-c", '"$@" & wait', "make"]
        async with launch(environment | {"MAKELEVEL": "1"}, *shell) as launcher:
            await launcher.wait_for(OPEN)
            launcher.process.kill()
            await launcher.wait_ended()
        assert_nothing_left(environment)

    async def test_vanished_terminal_ends_the_stack(self, environment: dict[str, str]) -> None:
        async with launch(environment) as launcher:
            await launcher.wait_for(OPEN)
            transport = launcher.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
            transport.close()
            launcher.process.send_signal(signal.SIGHUP)
            assert await asyncio.wait_for(launcher.process.wait(), 20) == 0
        assert_nothing_left(environment)

    async def test_valkey_stands_in_where_redis_server_is_missing(
        self, environment: dict[str, str], tmp_path: Path
    ) -> None:
        for program in ("setpriv", "unshare", "true"):
            found = shutil.which(program)
            assert found is not None
            (tmp_path / program).symlink_to(found)
        async with launch(environment | {"PATH": str(tmp_path)}) as launcher:
            await launcher.wait_for(OPEN)
            assert pid_of(environment, "valkey-server") > 0
        assert_nothing_left(environment)


class TestRefusals:
    async def test_second_start_tells_where_the_first_one_is(self, stack: Stack) -> None:
        status, printed = await outcome(stack.environment)
        assert status == 1
        where = f"http://localhost:{stack.environment['GATEWAY_PORT']}"
        assert printed.startswith(f"the stack in {stack.state_dir} is already running: pid ")
        assert printed.endswith(f", {where}\n")
        assert printed.count("\n") == 1

    async def test_reset_of_a_running_stack_is_refused(self, stack: Stack) -> None:
        status, printed = await outcome(stack.environment, action="reset")
        assert (status, printed.count("\n")) == (1, 1)
        assert "is already running" in printed
        assert (stack.state_dir / "postgres" / "PG_VERSION").exists()

    async def test_busy_port_is_named_with_its_variable(self, tmp_path: Path) -> None:
        environment = stack_environment(tmp_path / "state")
        with socket.create_server(("127.0.0.1", int(environment["POSTGRES_PORT"]))):
            status, printed = await outcome(environment)
        port = environment["POSTGRES_PORT"]
        assert (status, printed) == (1, f"port {port} is in use: set POSTGRES_PORT to another one\n")
        assert not (tmp_path / "state" / "postgres").exists()

    @pytest.mark.parametrize("action", ["run", "seed"])
    async def test_other_environment_than_local_is_refused(self, stack: Stack, action: str) -> None:
        status, printed = await outcome(stack.environment | {"BANK_ENVIRONMENT": "production"}, action=action)
        assert (status, printed.count("\n")) == (1, 1)
        assert printed.startswith("BANK_ENVIRONMENT is production: ")


class TestReset:
    async def test_data_is_gone_afterwards(self, tmp_path: Path) -> None:
        environment = stack_environment(tmp_path)
        (tmp_path / "postgres").mkdir()
        (tmp_path / "secrets.json").write_text("{}")
        assert await outcome(environment, action="reset") == (0, "")
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]

    async def test_lost_passwords_are_told_before_anything_starts(self, tmp_path: Path) -> None:
        (tmp_path / "postgres").mkdir()
        status, printed = await outcome(stack_environment(tmp_path))
        assert (status, printed) == (1, f"the passwords in {tmp_path} are gone: make reset clears the data too\n")


class TestExternalDatabase:
    async def test_given_database_is_used_and_none_is_started(self, tmp_path: Path, postgres: PostgresServer) -> None:
        name = f"bank_test_external_{os.getpid()}"
        await prepare_database(postgres.superuser_url, name)
        environment = stack_environment(tmp_path) | {
            "DATABASE_URL": postgres.url(APPLICATION_ROLE, name),
            "MIGRATION_DATABASE_URL": postgres.url(OWNER_ROLE, name),
            "SERVER_PROCESSES": "1",
        }
        async with launch(environment) as launcher:
            await launcher.wait_for(OPEN)
            assert await asyncio.to_thread(alices_balances, environment) == ["100000"]
            assert not (tmp_path / "postgres").exists()
        connection = await asyncpg.connect(postgres.superuser_url)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()
