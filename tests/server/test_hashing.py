"""The process that hashes passwords: its priority, its end, and what happens when it dies."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import argon2
import pytest

from server.errors import PasswordsUnavailable
from server.hashing import HashingProcess
from server.hashing_program import MEMORY_COST_KIB, NICENESS, TIME_COST, answer, new_hasher

PASSWORD = "seven blue herons at dusk"
PARENT = """
import asyncio
from server.hashing import HashingProcess

async def main():
    hashing = HashingProcess()
    print((await hashing.start()).pid, flush=True)
    await hashing.ask(["hash", "x"])
    print("hashed", flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


@pytest.fixture
async def hashing() -> AsyncIterator[HashingProcess]:
    process = HashingProcess()
    yield process
    await process.close()


async def pid_of(hashing: HashingProcess) -> int:
    return (await hashing.start()).pid


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestAnswer:
    @pytest.mark.parametrize(("memory_cost", "time_cost"), [(8192, 1), (8, 1), (MEMORY_COST_KIB, 1), (9728, 2)])
    def test_cheaper_hash_takes_as_long_as_one_of_today(self, memory_cost: int, time_cost: int) -> None:
        hasher = new_hasher()
        today = hasher.hash(PASSWORD)
        old = argon2.PasswordHasher(time_cost=time_cost, memory_cost=memory_cost, parallelism=1).hash(PASSWORD)
        assert answer(hasher, ["verify", old, PASSWORD]) is True
        seconds: dict[str, list[float]] = {today: [], old: []}
        for _ in range(15):
            for password_hash, samples in seconds.items():
                started = time.process_time()
                assert answer(hasher, ["verify", password_hash, "another pass phrase"]) is False
                samples.append(time.process_time() - started)
        assert min(seconds[old]) == pytest.approx(min(seconds[today]), rel=0.3)

    def test_what_is_no_hash_is_no_answer(self) -> None:
        for stored in ("", "x", "$argon2id$", "$2b$12$" + "x" * 53):
            assert answer(new_hasher(), ["verify", stored, PASSWORD]) is None

    def test_cost_is_the_documented_one(self) -> None:
        assert (MEMORY_COST_KIB, TIME_COST) == (19456, 2)


class TestAsk:
    async def test_stored_text_that_is_no_hash_is_a_defect_and_the_next_question_is_answered(
        self, hashing: HashingProcess
    ) -> None:
        with pytest.raises(ValueError, match="none of argon2id"):
            await hashing.ask(["verify", "x", PASSWORD])
        assert str(await hashing.ask(["hash", PASSWORD])).startswith("$argon2id$")

    @pytest.mark.parametrize("password", ["line\nend\r\n", "\u2028", "🦉" * 256, '"\\', "\0"])
    async def test_any_text_is_one_question(self, hashing: HashingProcess, password: str) -> None:
        password_hash = str(await hashing.ask(["hash", password]))
        assert new_hasher().verify(password_hash, password)
        assert await hashing.ask(["verify", password_hash, password]) is True

    async def test_it_has_little_of_a_core_that_others_want_too(self, hashing: HashingProcess) -> None:
        await hashing.ask(["hash", PASSWORD])
        pid = await pid_of(hashing)
        assert os.getpriority(os.PRIO_PROCESS, pid) == NICENESS
        assert os.getsid(pid) == pid
        autogroup = Path(f"/proc/{pid}/autogroup")
        if autogroup.exists() and autogroup.read_text().strip():
            assert autogroup.read_text().split()[-1] == str(NICENESS)

    async def test_password_is_in_no_command_line_or_environment(self, hashing: HashingProcess) -> None:
        await hashing.ask(["hash", PASSWORD])
        folder = Path(f"/proc/{await pid_of(hashing)}")
        assert PASSWORD.encode() not in folder.joinpath("cmdline").read_bytes()
        assert PASSWORD.encode() not in folder.joinpath("environ").read_bytes()

    async def test_dead_process_is_replaced_without_a_word(self, hashing: HashingProcess) -> None:
        first = await pid_of(hashing)
        os.kill(first, signal.SIGKILL)
        assert str(await hashing.ask(["hash", PASSWORD])).startswith("$argon2id$")
        assert await pid_of(hashing) != first

    async def test_process_that_dies_while_it_hashes_is_asked_again(self, hashing: HashingProcess) -> None:
        first = await pid_of(hashing)
        os.kill(first, signal.SIGSTOP)
        asking = asyncio.create_task(hashing.ask(["hash", PASSWORD]))
        await asyncio.sleep(0.1)
        os.kill(first, signal.SIGKILL)
        assert str(await asking).startswith("$argon2id$")

    async def test_what_cannot_be_started_is_unavailable_until_it_can(
        self, hashing: HashingProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for broken in ("/nowhere/python", "/bin/false"):
            with monkeypatch.context() as without_python:
                without_python.setattr(sys, "executable", broken)
                with pytest.raises(PasswordsUnavailable):
                    await hashing.ask(["hash", PASSWORD])
        assert str(await hashing.ask(["hash", PASSWORD])).startswith("$argon2id$")


class TestEnd:
    async def test_closed_process_is_gone(self) -> None:
        hashing = HashingProcess()
        pid = await pid_of(hashing)
        await hashing.close()
        assert not is_running(pid)
        await hashing.close()

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
    async def test_it_does_not_outlive_its_parent(self, number: signal.Signals) -> None:
        with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout is not None
            pid = int(parent.stdout.readline())
            assert parent.stdout.readline() == "hashed\n"
            parent.send_signal(number)
        async with asyncio.timeout(10):
            while is_running(pid):
                await asyncio.sleep(0.01)
