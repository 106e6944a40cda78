import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import asyncpg
import pytest

from local.errors import StackError
from local.ports import free_ports
from local.postgres import (
    APPLICATION_ROLE,
    OWNER_ROLE,
    SUPERUSER,
    create_cluster,
    database_url,
    postgres_service,
    prepare_database,
    prepare_roles,
)
from local.process import Service
from local.secrets import Secrets, new_secrets
from local.supervisor import Supervisor


class Cluster:
    """A data folder of the test's own, started as often as it likes."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_ports(1)
        self.secrets: Secrets = new_secrets()
        self._supervisors: list[Supervisor] = []

    def service(self) -> Service:
        return postgres_service(self.data, self.port, self.secrets, dict(os.environ))

    def url(self, role: str = SUPERUSER, password: str | None = None, database: str = "postgres") -> str:
        return database_url(role, password or self.secrets.postgres, self.port, database)

    async def start(self) -> Supervisor:
        supervisor = Supervisor(self.data.parent, print)
        self._supervisors.append(supervisor)
        await supervisor.start(self.service())
        return supervisor

    async def stop(self) -> None:
        for supervisor in self._supervisors:
            await supervisor.stop()

    def postmaster(self) -> int:
        return int((self.data / "postmaster.pid").read_text().splitlines()[0])


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """Its folder may be entered by its owner alone, as a home folder may."""
    tmp_path.chmod(0o700)
    cluster = Cluster(tmp_path / "data")
    await create_cluster(cluster.data, cluster.secrets, dict(os.environ))
    yield cluster
    await cluster.stop()
    assert tmp_path.stat().st_mode & 0o777 == 0o700


async def refusal(url: str) -> str:
    with pytest.raises((asyncpg.PostgresError, OSError)) as caught:
        await asyncpg.connect(url)
    return str(caught.value)


class TestCluster:
    async def test_unfinished_data_folder_is_made_again(self, tmp_path: Path) -> None:
        (tmp_path / "data.new").mkdir()
        (tmp_path / "data.new" / "PG_VERSION").write_text("left by a killed start")
        await create_cluster(tmp_path / "data", new_secrets(), dict(os.environ))
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]

    async def test_no_password_is_in_a_command_line(self, cluster: Cluster) -> None:
        await cluster.start()
        commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not any(cluster.secrets.postgres.encode() in command for command in commands)

    async def test_restart_after_sigkill_keeps_data(self, cluster: Cluster) -> None:
        supervisor = await cluster.start()
        connection = await asyncpg.connect(cluster.url())
        await connection.execute("CREATE TABLE kept (id int); INSERT INTO kept VALUES (1)")
        os.kill(cluster.postmaster(), signal.SIGKILL)
        assert "SIGKILL" in str(await asyncio.wait_for(supervisor.failure, 5))
        await cluster.start()
        connection = await asyncpg.connect(cluster.url())
        assert await connection.fetchval("SELECT id FROM kept") == 1
        await connection.close()

    async def test_pid_file_naming_a_stranger_does_not_hinder_the_start(self, cluster: Cluster) -> None:
        stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], cwd="/")
        try:
            (cluster.data / "postmaster.pid").write_text(
                f"{stranger.pid}\n{cluster.data}\n1700000000\n1\n\n127.0.0.1\n"
            )
            await cluster.start()
        finally:
            stranger.kill()
            stranger.wait()

    async def test_second_server_on_the_folder_is_refused(self, cluster: Cluster) -> None:
        await cluster.start()
        cluster.port = free_ports(1)
        with pytest.raises(StackError, match="lock file"):
            await cluster.start()


class TestRoles:
    @pytest.fixture
    async def roles(self, cluster: Cluster) -> Callable[[str, str], str]:
        await cluster.start()
        for _ in range(2):  # safe to run again
            await prepare_roles(cluster.url(), cluster.secrets)
            await prepare_database(cluster.url())
        passwords = {OWNER_ROLE: cluster.secrets.bank_owner, APPLICATION_ROLE: cluster.secrets.bank_app}
        return lambda role, database: cluster.url(role, passwords[role], database)

    async def test_owner_may_create_and_application_may_not(self, roles: Callable[[str, str], str]) -> None:
        owner = await asyncpg.connect(roles(OWNER_ROLE, "bank"))
        await owner.execute("CREATE TABLE things (id int)")
        application = await asyncpg.connect(roles(APPLICATION_ROLE, "bank"))
        for statement in ("CREATE TABLE others (id int)", "SELECT * FROM things", "CREATE TEMPORARY TABLE t (id int)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await application.execute(statement)
        await application.close()
        await owner.close()

    async def test_wrong_password_and_strange_role_are_refused(
        self, cluster: Cluster, roles: Callable[[str, str], str]
    ) -> None:
        assert roles(OWNER_ROLE, "bank")
        assert "password authentication failed" in await refusal(cluster.url(OWNER_ROLE, "wrong", "bank"))
        connection = await asyncpg.connect(cluster.url())
        await connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'known'")
        await connection.close()
        assert "permission denied for database" in await refusal(cluster.url("stranger", "known", "bank"))
