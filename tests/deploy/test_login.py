"""The step of the release Job that gives the service its password, against a real PostgreSQL."""

import importlib.util
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType

import asyncpg
import pytest

from local.errors import StackError
from local.process import run_command
from local.settings import ROOT
from tests.conftest import PostgresServer

FILE = ROOT / "k8s" / "migration" / "login.py"
APPLICATION = "bank_app"


@pytest.fixture
def login() -> ModuleType:
    spec = importlib.util.spec_from_file_location("login", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def kept(postgres: PostgresServer) -> str:
    connection = await asyncpg.connect(postgres.superuser_url)
    try:
        return str(await connection.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = $1", APPLICATION))
    finally:
        await connection.close()


class TestSetPassword:
    async def test_service_signs_in_with_the_password(self, postgres: PostgresServer, login: ModuleType) -> None:
        before = await kept(postgres)
        set_password: Callable[[str, str], Awaitable[None]] = login.set_password
        # The password that all other tests use, with a verifier made anew.
        await set_password(postgres.superuser_url, postgres.secrets.bank_app)
        after = await kept(postgres)
        assert after != before
        assert after.startswith("SCRAM-SHA-256$4096:")
        connection = await asyncpg.connect(postgres.url(APPLICATION, "postgres"))
        assert await connection.fetchval("SELECT session_user") == APPLICATION
        await connection.close()

    async def test_other_password_is_refused(self, postgres: PostgresServer, login: ModuleType) -> None:
        await login.set_password(postgres.superuser_url, postgres.secrets.bank_app)
        wrong = postgres.url(APPLICATION, "postgres").replace(postgres.secrets.bank_app, "wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)


class TestCommand:
    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({"service_password": "a" * 64}, "migration_database_url cannot be read"),
            ({"migration_database_url": "postgresql://db"}, "service_password cannot be read"),
            ({"migration_database_url": "postgresql://db", "service_password": "a" * 31}, "at least 32"),
            ({"migration_database_url": "postgresql://db", "service_password": "'" * 64}, "letters and digits"),
        ],
    )
    async def test_missing_or_weak_secret_is_refused_without_repeating_it(
        self, tmp_path: Path, files: dict[str, str], said: str
    ) -> None:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        with pytest.raises(StackError, match=said) as refused:
            await run_command([sys.executable, str(FILE)], {"SECRETS_DIR": str(tmp_path)})
        assert not any(text in str(refused.value) for text in files.values())

    async def test_password_of_the_files_is_set(self, tmp_path: Path, postgres: PostgresServer) -> None:
        before = await kept(postgres)
        (tmp_path / "migration_database_url").write_text(postgres.superuser_url)
        (tmp_path / "service_password").write_text(f"{postgres.secrets.bank_app}\n")
        await run_command([sys.executable, str(FILE)], {"SECRETS_DIR": str(tmp_path)})
        assert await kept(postgres) != before
        await (await asyncpg.connect(postgres.url(APPLICATION, "postgres"))).close()
