"""A bank for a test, or for a module by a served one."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from local.settings import ROOT
from server.database import Database, open_pool
from server.keys import write_new
from server.reference_data import ReferenceData
from tests.conftest import CloneDatabase
from tests.conftest import Database as TestDatabase
from tests.server.bank import Bank, running_ledger
from tests.server.bank_server import ServedBank, serving_bank


@pytest.fixture
async def bank(database: TestDatabase) -> AsyncIterator[Bank]:
    """An empty bank."""
    reads = Database(await open_pool(database.app_url, size=8))
    async with running_ledger(database.app_url) as ledger:
        bank = Bank(database.app_url, database, reads, ledger)
        await bank.reference.load(reads)
        yield bank
    await reads.close()


@pytest.fixture(scope="module")
async def served(clone_database: CloneDatabase) -> AsyncIterator[ServedBank]:
    """A bank of the module that is called over a channel."""
    async with clone_database() as database, serving_bank(database) as served:
        yield served


@pytest.fixture(scope="module")
async def reference(clone_database: CloneDatabase) -> AsyncIterator[ReferenceData]:
    """As a server has it that has just started."""
    loaded = ReferenceData()
    async with clone_database() as database:
        await loaded.load(Database(database.pool))
        yield loaded


@pytest.fixture
def environment(database: TestDatabase, tmp_path: Path) -> dict[str, str]:
    """Of a process of the service."""
    write_new(tmp_path / "keys.json")
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}",
        "BANK_ENVIRONMENT": "test",
        "DATABASE_URL": database.app_url,
        "REDIS_URL": "redis://:redis-secret@127.0.0.1/0",
        "TOKEN_KEYS_FILE": str(tmp_path / "keys.json"),
    }
