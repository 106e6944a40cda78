"""Backups of a running stack, restored."""

import os
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from local.settings import ROOT
from tests.conftest import Stack


async def drill(environment: dict[str, str]) -> tuple[int | None, str]:
    command = [sys.executable, "-m", "local.restore_drill"]
    process = await create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=PIPE, stderr=STDOUT)
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


class TestRestoreDrill:
    @pytest.mark.timeout(120)
    async def test_both_backups_of_a_running_stack_verify(self, stack: Stack) -> None:
        status, printed = await drill(stack.environment)
        assert status == 0, printed
        lines = printed.splitlines()
        assert [line.partition(",")[0] for line in lines[1:]] == ["Base backup", "Dump of bank"]
        assert all("no difference" in line for line in lines[1:]), printed
        assert not (stack.state_dir / "restore-drill").exists()

    async def test_without_a_stack_it_says_what_to_do(self, tmp_path: Path) -> None:
        status, printed = await drill({**os.environ, "BANK_STATE_DIR": str(tmp_path)})
        assert (status, printed) == (1, "the drill restores the embedded PostgreSQL of a local stack: make run\n")
