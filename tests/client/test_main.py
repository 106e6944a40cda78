import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from local.demo import DEMO_PASSWORD
from local.settings import ROOT
from tests.client.test_bank import offer
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
        process = await self._started(*arguments)
        printed, _ = await process.communicate(typed.encode())
        assert process.returncode is not None
        return process.returncode, printed.decode()

    @asynccontextmanager
    async def watching(self, *arguments: str) -> AsyncIterator[AsyncIterator[str]]:
        """The lines of a watch, which ends with the context as by Ctrl-C."""
        process = await self._started("watch", *arguments)
        assert process.stdout is not None
        output = process.stdout

        async def lines() -> AsyncIterator[str]:
            while True:
                async with asyncio.timeout(10):
                    line = await output.readline()
                assert line, "the watch has ended"
                yield line.decode()

        yield lines()
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130

    async def _started(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
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

    async def test_somebody_is_paid_by_name(self, terminal: Terminal) -> None:
        await terminal.sign_in("bob")
        assert await terminal.run("payable-by-name", "yes") == (0, "others find you by bob\n")
        destination = (await terminal.run("accounts"))[1].splitlines()[-1].split()[0]
        await terminal.sign_in("alice")
        status, printed = await terminal.run("pay", "bob", "0.03", "--description", "Lunch")
        assert status == 0
        shown, asked, posted = printed.splitlines()
        assert shown == "to bob, B… D…"
        again = await terminal.run("pay", "bob", "0.03", "--description", "Lunch", "--request-id", asked.split()[-1])
        assert again == (0, f"{shown}\n{asked}\nposted before as {posted.split()[-1]}\n")
        await terminal.sign_in("bob")
        newest = (await terminal.run("entries", destination))[1].splitlines()[0].split()
        assert (newest[2], newest[4]) == ("+3", posted.split()[-1])

    async def test_nobody_is_paid_whom_the_name_does_not_find(self, terminal: Terminal) -> None:
        await terminal.sign_in("alice")
        accounts = await terminal.run("accounts")
        status, printed = await terminal.run("pay", "banker", "0.03", "USD")
        assert (status, printed.split(":")[0]) == (1, "NOT_FOUND")
        assert await terminal.run("pay", "bob", "0.03", "XXX") == (1, "XXX is no currency of this bank\n")
        assert await terminal.run("pay", "bob", "0.03", "SEK") == (
            1,
            "NOT_FOUND: payee bob does not exist or is not yours to see\n",
        )
        assert await terminal.run("accounts") == accounts

    async def test_product_is_found_ordered_and_called_off(self, terminal: Terminal, stack: Stack) -> None:
        name = f"Kite {uuid4().hex}"
        product = await offer(stack, name, 3)
        await terminal.sign_in("alice")
        found = await terminal.run("products", name)
        assert found == (0, f"{product.id} 0.05 USD 3 {name}\n")
        status, printed = await terminal.run("order", product.id, f"{product.id}:2")
        assert status == 0
        asked, placed = printed.splitlines()
        order_id = placed.split()[-1]
        again = await terminal.run("order", f"{product.id}:3", "--request-id", asked.split()[-1])
        assert again == (0, f"{asked}\nordered before as {order_id}\n")
        lines = (await terminal.run("orders"))[1].splitlines()
        assert lines[:2] == [f"{order_id} 0.15 USD PLACED HELD RESERVED", f"    3 {name}"]
        called_off = await terminal.run("cancel-order", order_id)
        assert called_off == (0, f"{order_id} 0.15 USD CANCELED RELEASED RELEASED\n")
        assert await terminal.run("products", name) == found
        refused = await terminal.run("order", f"{product.id}:many")
        assert refused == (1, f"'{product.id}:many' is no product: write its id, or id:pieces\n")

    async def test_watch_shows_what_happens_and_goes_on_where_it_ended(self, terminal: Terminal) -> None:
        await terminal.sign_in("alice")
        async with terminal.watching("--after", "", "--type", "transfer.posted") as lines:
            cursor = (await anext(lines)).split()[0]
        async with terminal.watching("--after", cursor, "--type", "transfer.posted") as lines:
            transfer_id = (await terminal.run("pay", "merchant", "0.01"))[1].split()[-1]
            seen: list[list[str]] = []
            while not seen or seen[-1][3] != transfer_id:
                seen.append((await anext(lines)).split())
        cursors = [int(line[0]) for line in seen]
        assert cursors == sorted(cursors)
        assert cursors[0] > int(cursor)
        assert {line[2] for line in seen} == {"transfer.posted"}

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
