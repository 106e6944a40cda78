import asyncio
import os
import stat
import sys
from pathlib import Path

import pytest

from local.demo import DEMO_PASSWORD
from local.settings import ROOT
from tests.conftest import Stack

NEW_PASSWORD = "eleven grey seals on a rock"


class Terminal:
    """Runs `python -m client` as people do."""

    def __init__(self, target: str, folder: Path) -> None:
        self.file = folder / "kept" / "session"
        self._environment = {
            **os.environ,
            "BANK_TARGET": target,
            "BANK_SESSION_FILE": str(self.file),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        }

    async def run(self, *arguments: str, typed: str = "") -> tuple[int, str]:
        """Exit status and everything printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "client",
            *arguments,
            cwd=ROOT,
            env=self._environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await process.communicate(typed.encode())
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def sign_in(self, username: str) -> None:
        assert await self.run("sign-in", username, typed=f"{DEMO_PASSWORD}\n") == (0, "")


@pytest.fixture
def terminal(stack: Stack, tmp_path: Path) -> Terminal:
    return Terminal(stack.grpc_target, tmp_path)


class TestCommands:
    async def test_session_is_kept_for_its_owner_alone_and_removed_at_sign_out(self, terminal: Terminal) -> None:
        await terminal.sign_in("alice")
        assert stat.S_IMODE(terminal.file.stat().st_mode) == 0o600
        assert await terminal.run("sign-out") == (0, "")
        assert not terminal.file.exists()
        status, printed = await terminal.run("accounts")
        assert (status, printed) == (1, "you are not signed in: python -m client sign-in NAME\n")

    async def test_password_is_changed_and_the_current_one_is_asked_for(self, terminal: Terminal) -> None:
        await terminal.sign_in("merchant")
        refused = "BAD_CREDENTIALS: user name or password is wrong\n"
        assert await terminal.run("change-password", typed=f"{DEMO_PASSWORD}x\n{NEW_PASSWORD}\n") == (1, refused)
        changed = (0, "changed, and your other sessions ended\n")
        assert await terminal.run("change-password", typed=f"{DEMO_PASSWORD}\n{NEW_PASSWORD}\n") == changed
        assert await terminal.run("change-password", typed=f"{NEW_PASSWORD}\n{DEMO_PASSWORD}\n") == changed
        assert await terminal.run("sign-out-everywhere") == (0, "sessions ended: 1\n")
        assert not terminal.file.exists()

    async def test_transfer_is_shown_and_its_repeat_says_so(self, terminal: Terminal) -> None:
        await terminal.sign_in("bob")
        destination = (await terminal.run("accounts"))[1].split()[0]
        await terminal.sign_in("alice")
        source = (await terminal.run("accounts"))[1].splitlines()[-1].split()[0]
        order = ["transfer", source, destination, "0.02", "USD"]
        status, printed = await terminal.run(*order)
        assert status == 0
        words = printed.split()
        request_id, transfer_id = words[2], words[-1]
        assert await terminal.run(*order, "--request-id", request_id) == (
            0,
            f"request id {request_id}\nposted before as {transfer_id}\n",
        )
        newest = (await terminal.run("entries", source))[1].splitlines()[0].split()
        assert (newest[2], newest[4]) == ("-2", transfer_id)

    async def test_refusal_is_one_line_and_a_status(self, terminal: Terminal) -> None:
        await terminal.sign_in("alice")
        status, printed = await terminal.run("verify")
        assert (status, printed) == (1, "PERMISSION_DENIED: your roles do not allow this call\n")

    @pytest.mark.parametrize(
        ("amount", "currency", "told"),
        [
            ("1.234", "USD", "1.234 has more than the 2 decimals of its currency\n"),
            ("all", "USD", "'all' is no amount: write it like 12.34\n"),
            ("1", "usd", "usd is no currency of this bank\n"),
        ],
    )
    async def test_amount_that_cannot_be_meant_is_not_sent(
        self, terminal: Terminal, amount: str, currency: str, told: str
    ) -> None:
        await terminal.sign_in("alice")
        assert await terminal.run("transfer", "a", "b", amount, currency) == (1, told)

    async def test_admin_verifies(self, terminal: Terminal) -> None:
        await terminal.sign_in("admin")
        status, printed = await terminal.run("verify")
        assert status == 0
        assert "transfers" in printed
