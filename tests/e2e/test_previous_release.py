"""A new release beside the previous one: the schema grows under it, both serve, and the way back is open.

tests/releases/ keeps what the newest release runs of; `make release-archive` replaces it when one is made.
"""

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from local.settings import ROOT
from migrate.runner import MIGRATIONS_DIR, migrate
from tests.e2e.conftest import transfer_fields
from tests.e2e.parts import Customer, Parts, running_parts
from tests.e2e.payments import assert_log_is_true, assert_order_is_real, paying
from tests.e2e.wire import GrpcWire

[ARCHIVE] = (ROOT / "tests" / "releases").glob("*.tar.xz")


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The previous release, unpacked."""
    folder = tmp_path / "previous"
    # Before Python 3.11.4 there is no filter to choose; the archive is our own.
    filtered = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, **filtered)  # type: ignore[arg-type]  # noqa: S202
    return folder


@pytest.fixture
async def parts(tmp_path: Path, previous: Path) -> AsyncIterator[Parts]:
    """The previous release on its own schema, behind this one's gateway."""
    async with running_parts(tmp_path, release=previous) as parts:
        yield parts


@asynccontextmanager
async def straight(parts: Parts, process: int) -> AsyncIterator[GrpcWire]:
    """A client of one server process."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{parts.server_ports[process]}") as channel:
        yield GrpcWire(channel)


async def replace(parts: Parts, process: int, release: Path | None) -> None:
    parts.servers[process].signal(parts.servers[process].service.stop_signal)
    assert await asyncio.wait_for(parts.servers[process].process.wait(), 15) == 0
    await parts.start_server(process, release=release)


async def assert_both_agree(parts: Parts, payer: Customer, payee: Customer) -> None:
    """What one did, the other knows: a call made again there, a hold captured there, its entry read here."""
    async with straight(parts, 0) as one, straight(parts, 1) as other:
        for first, second in ((one, other), (other, one)):
            fields = transfer_fields(payer.account_id, payee.account_id, 5)
            made = await first.call("CreateTransfer", fields, payer.token)
            again = await second.call("CreateTransfer", fields, payer.token)
            assert (made.code, again.code, again.reply["replayed"]) == ("OK", "OK", True)
            assert again.reply["transfer"]["id"] == made.reply["transfer"]["id"]
            held = await first.call("CreateHold", transfer_fields(payer.account_id, payee.account_id, 5), payer.token)
            capture = {"hold_id": held.reply["hold"]["id"], "full": True, "request_id": str(uuid4())}
            captured = await second.call("CaptureHold", capture, payee.token)
            assert captured.code == "OK", captured
            entries = await first.call("ListEntries", {"account_id": payer.account_id}, payer.token)
            assert entries.reply["entries"][0]["transfer_id"] == captured.reply["transfer"]["id"]


class TestPreviousRelease:
    @pytest.mark.timeout(120)
    async def test_upgrade_and_way_back_under_load_fail_no_call(self, parts: Parts, previous: Path) -> None:
        async with parts.channel() as wire:
            payer, payee, *customers = await parts.customers(wire, 10, 100_000)
        async with paying(parts, customers, 8) as log:
            await asyncio.sleep(0.5)
            await migrate("up", parts.owner_url, MIGRATIONS_DIR, print)
            await asyncio.sleep(0.5)
            await replace(parts, 0, None)
            await asyncio.sleep(0.5)
            await assert_both_agree(parts, payer, payee)
            await replace(parts, 1, None)
            await asyncio.sleep(0.5)
            await replace(parts, 0, previous)
            await asyncio.sleep(0.5)
        assert log.codes().keys() == {"OK"}, log.reasons()
        assert len(log.done()) > 200
        await replace(parts, 0, None)
        await assert_log_is_true(parts, log)
        assert_order_is_real(log)
        await parts.assert_ledger_adds_up()
