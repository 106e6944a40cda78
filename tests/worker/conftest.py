"""A bank of each test's own, as the worker sees it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from local.ports import free_ports
from server.database import Database, open_pool
from server.keys import load, write_new
from server.tokens import MailTokens
from tests.conftest import Database as TestDatabase
from tests.worker.surroundings import Bank, ScriptedSink, read_settings
from worker.settings import open_redis


@pytest.fixture
async def bank(database: TestDatabase, redis_url: str, sink: ScriptedSink, tmp_path: Path) -> AsyncIterator[Bank]:
    write_new(tmp_path / "keys.json")
    environment = {
        "BANK_ENVIRONMENT": "test",
        "DATABASE_URL": database.app_url,
        "REDIS_URL": redis_url,
        "TOKEN_KEYS_FILE": str(tmp_path / "keys.json"),
        "METRICS_PORT": "0",
        "SMTP_PORT": str(sink.port),
        "PUBLIC_URL": "http://bank.example:8080/",
        "MAIL_FROM": "The Bank <no-reply@bank.example>",
        "WORKER_READY_FILE": str(tmp_path / "worker.ready"),
    }
    settings = read_settings(environment)
    pool = await open_pool(database.app_url, size=8)
    redis = open_redis(redis_url)
    yield Bank(database, settings, Database(pool), redis, MailTokens(load(settings).mail_token_key), sink, environment)
    await redis.aclose(close_connection_pool=True)
    await pool.close()


@pytest.fixture
async def sink() -> AsyncIterator[ScriptedSink]:
    scripted = ScriptedSink(free_ports(1))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(scripted, hostname="localhost", loop=loop), "127.0.0.1", scripted.port
    )
    yield scripted
    server.close()
