"""A lost database comes back from a base backup and the archived log, to its last moment or to an earlier one."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from local.backups import base_backup
from local.postgres import SUPERUSER, database_url
from tests.e2e.conftest import transfer_fields
from tests.e2e.parts import Customer, Parts, once_served, running_parts, until_ready
from tests.e2e.payments import Log, assert_log_is_true, paying, resolve


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
async def parts(tmp_path: Path, archive: Path) -> AsyncIterator[Parts]:
    """A bank whose database archives its log."""
    options = {"archive_mode": "on", "archive_command": f"cp %p {archive}/%f.new && mv {archive}/%f.new {archive}/%f"}
    async with running_parts(tmp_path, postgres_options=options) as parts:
        yield parts


@pytest.fixture
async def customers(parts: Parts) -> list[Customer]:
    async with parts.channel() as wire:
        return await parts.customers(wire, 8, 100_000)


async def clock(parts: Parts) -> datetime:
    async with parts.owner() as owner:
        now: datetime = await owner.fetchval("SELECT clock_timestamp()")
        return now


async def archive_all(parts: Parts, archive: Path) -> None:
    """Have the segment that is being written archived too."""
    async with parts.owner() as owner:
        name = await owner.fetchval("SELECT pg_walfile_name(pg_switch_wal())")
    async with asyncio.timeout(20):
        while not (archive / name).exists():
            await asyncio.sleep(0.05)


async def lose_and_restore(parts: Parts, archive: Path, backup: Path, **target: str) -> None:
    """Kill PostgreSQL, delete its files, and recover from the backup and the archive."""
    await parts.kill_postgres()
    shutil.rmtree(parts.data)
    shutil.copytree(backup, parts.data, copy_function=shutil.copy2)
    parts.data.chmod(0o700)
    (parts.data / "recovery.signal").touch()
    restore = {"restore_command": f"cp {archive}/%f %p", "recovery_target_action": "promote", **target}
    parts.postgres_options = {**parts.postgres_options, "archive_mode": "off", **restore}
    await parts.start_postgres()
    async with parts.owner() as owner, asyncio.timeout(20):
        while await owner.fetchval("SELECT pg_is_in_recovery()"):
            await asyncio.sleep(0.05)
    await until_ready(parts)


async def until_paid(log: Log, count: int) -> None:
    """Wait until so many payments were made."""
    async with asyncio.timeout(30):
        while len(log.done()) < count:
            await asyncio.sleep(0.05)


async def assert_serves(parts: Parts, customers: list[Customer]) -> None:
    await parts.assert_ledger_adds_up()
    async with parts.channel() as wire:
        fields = transfer_fields(customers[0].account_id, customers[1].account_id)
        answer = await once_served(lambda: wire.call("CreateTransfer", fields, customers[0].token))
    assert answer.code == "OK", answer
    await parts.assert_ledger_adds_up()


class TestRestore:
    @pytest.mark.timeout(120)
    async def test_to_the_last_moment_has_every_transfer_that_was_answered(
        self, parts: Parts, customers: list[Customer], archive: Path, tmp_path: Path
    ) -> None:
        async with paying(parts, customers, 8) as log:
            await take_backup(parts, tmp_path / "backup")
            await until_paid(log, len(log.done()) + 100)
        await archive_all(parts, archive)
        await lose_and_restore(parts, archive, tmp_path / "backup")
        assert await resolve(parts, log) == 0
        await assert_log_is_true(parts, log)
        await assert_serves(parts, customers)

    @pytest.mark.timeout(120)
    async def test_to_an_earlier_moment_has_what_was_answered_until_then_and_nothing_later(
        self, parts: Parts, customers: list[Customer], archive: Path, tmp_path: Path
    ) -> None:
        await take_backup(parts, tmp_path / "backup")
        async with paying(parts, customers, 8) as before:
            await until_paid(before, 50)
        moment = await clock(parts)
        async with paying(parts, customers, 8) as later:
            await until_paid(later, 50)
        await archive_all(parts, archive)
        await lose_and_restore(parts, archive, tmp_path / "backup", recovery_target_time=moment.isoformat())
        await assert_log_is_true(parts, before)
        await assert_gone(parts, later)
        await assert_serves(parts, customers)


async def take_backup(parts: Parts, folder: Path) -> None:
    url = database_url(SUPERUSER, parts.secrets.postgres, parts.postgres_port, "postgres")
    await base_backup(url, folder, parts.environment)


async def assert_gone(parts: Parts, log: Log) -> None:
    async with parts.owner() as owner:
        request_ids = [payment.fields["request_id"] for payment in log.payments]
        found = await owner.fetchval("SELECT count(*) FROM transfers WHERE request_id = ANY($1::uuid[])", request_ids)
    assert found == 0
