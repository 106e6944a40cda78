import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.errors import StackError
from local.process import TAG, Service, start_service, sweep
from local.supervisor import Supervisor

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
FAILS = "import sys; print('what went wrong'); sys.exit(3)"


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(tmp_path, print)
    yield supervisor
    await supervisor.stop()


def service(logs_dir: Path, name: str, script: str, *, restarts: bool = False, grace_s: float = 5) -> Service:
    async def ready() -> bool:
        return "up" in (logs_dir / f"{name}.log").read_text()

    environment = {**os.environ, TAG: str(logs_dir)}
    return Service(name, [sys.executable, "-c", script], ready, environment, restarts=restarts, grace_s=grace_s)


def pids(state_dir: Path) -> list[int]:
    """Living processes with this tag."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                if alive and f"{TAG}={state_dir}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


class TestStart:
    async def test_service_that_dies_is_named_with_the_end_of_its_log(
        self, supervisor: Supervisor, tmp_path: Path
    ) -> None:
        with pytest.raises(StackError) as caught:
            await supervisor.start(service(tmp_path, "good", SLEEPS), service(tmp_path, "bad", FAILS))
        log = tmp_path / "bad.log"
        assert str(caught.value) == f"bad ended with status 3; {log} ends with:\n  what went wrong"

    async def test_restarted_service_that_never_was_ready_fails_too(
        self, supervisor: Supervisor, tmp_path: Path
    ) -> None:
        with pytest.raises(StackError, match=r"^bad ended with status 3"):
            await supervisor.start(service(tmp_path, "bad", FAILS, restarts=True))

    async def test_service_that_is_never_ready_is_named(self, supervisor: Supervisor, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"^slow: not ready after 1 s; see .*slow\.log$"):
            await supervisor.start(service(tmp_path, "slow", "import time; time.sleep(60)"), timeout_s=1)


class TestDeath:
    async def test_dead_service_is_reported(self, supervisor: Supervisor, tmp_path: Path) -> None:
        await supervisor.start(service(tmp_path, "sleeps", SLEEPS))
        os.kill(pids(tmp_path)[0], signal.SIGKILL)
        failure = await asyncio.wait_for(supervisor.failure, 5)
        assert str(failure).startswith("sleeps was ended by SIGKILL; ")

    async def test_restarting_service_comes_back_and_is_stopped(self, supervisor: Supervisor, tmp_path: Path) -> None:
        await supervisor.start(service(tmp_path, "sleeps", SLEEPS, restarts=True))
        (killed,) = pids(tmp_path)
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(5):
            while pids(tmp_path) in ([], [killed]):
                await asyncio.sleep(0.05)
        await supervisor.stop()
        assert pids(tmp_path) == []
        assert not supervisor.failure.done()


class TestStop:
    async def test_frozen_and_stubborn_children_are_killed_after_their_grace(
        self, supervisor: Supervisor, tmp_path: Path
    ) -> None:
        await supervisor.start(service(tmp_path, "stubborn", STUBBORN, grace_s=0.3))
        await supervisor.start(service(tmp_path, "frozen", SLEEPS, grace_s=0.3))
        os.kill(max(pids(tmp_path)), signal.SIGSTOP)
        await asyncio.wait_for(supervisor.stop(), 3)
        assert pids(tmp_path) == []


class TestSweep:
    async def test_leftovers_end_and_others_live(self, tmp_path: Path) -> None:
        ours, theirs = tmp_path / "ours", tmp_path / "theirs"
        children = []
        for folder in (ours, theirs):
            folder.mkdir()
            children.append(await start_service(service(folder, "stubborn", STUBBORN), folder))
        await asyncio.gather(*(child.wait_ready() for child in children))
        os.kill(children[0].process.pid, signal.SIGSTOP)
        assert sweep(ours, grace_s=0.2) == 1
        assert pids(ours) == []
        assert pids(theirs) == [children[1].process.pid]
        assert sweep(theirs, grace_s=5) == 1
        await asyncio.gather(*(child.process.wait() for child in children))
