"""The images, as far as can be known without an engine: their /app is laid out from the Dockerfile and run."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
import sysconfig
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from local.ports import free_ports
from server.keys import write_new
from tests.conftest import Database
from tests.deploy.image import chain, environment, lay_out, stages
from tools.generate import ROOT

PACKAGES = sysconfig.get_path("purelib")
RUN_WITHOUT = """
import json, runpy, sys
command, absent = sys.argv[1], set(json.loads(sys.argv[2]))

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv = [command, "--help"]
runpy.run_module(command, run_name="__main__", alter_sys=True)
"""


class Container:
    """A command of an image: its files under /app, its environment, nothing of the checkout."""

    def __init__(self, image: str, folder: Path) -> None:
        self.app = folder / "app"
        self.app.mkdir()
        lay_out(image, self.app)
        paths = environment(image)["PYTHONPATH"].replace("/app", str(self.app)).replace("/programs", PACKAGES)
        # The packages without the .pth file that adds the checkout.
        self.environment = {
            **environment(image),
            "PATH": f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}",
            "PYTHONPATH": f"{paths}:{PACKAGES}",
        }
        for path in [self.app, *self.app.rglob("*")]:
            path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))

    async def start(self, *command: str, **variables: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-S", *command),
            cwd=self.app,
            env={**self.environment, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *command: str, **variables: str) -> tuple[int | None, str]:
        process = await self.start(*command, **variables)
        printed, _ = await asyncio.wait_for(process.communicate(), 40)
        return process.returncode, printed.decode()


@pytest.fixture
def api(tmp_path: Path) -> Container:
    return Container("api", tmp_path)


@pytest.fixture
def service(database: Database, tmp_path: Path) -> dict[str, str]:
    """Settings of a production, all secrets in files."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    write_new(secrets / "token_keys.json")
    (secrets / "database_url").write_text(database.app_url)
    (secrets / "migration_database_url").write_text(database.owner_url)
    (secrets / "redis_url").write_text("redis://:secret@127.0.0.1:1/0")
    return {
        "SECRETS_DIR": str(secrets),
        "TOKEN_KEYS_FILE": str(secrets / "token_keys.json"),
        "PUBLIC_URL": "https://bank.example",
        "SERVER_PORT": str(free_ports(1)),
        "METRICS_PORT": "0",
    }


class TestApi:
    async def test_server_starts_is_healthy_and_ends_on_sigterm(self, api: Container, service: dict[str, str]) -> None:
        process = await api.start("-m", "server", **service)
        try:
            async with asyncio.timeout(40):
                while (await api.run("-m", "server.health_check", **service))[0] != 0:
                    assert process.returncode is None, await process.communicate()
        finally:
            process.terminate()
        printed, _ = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, printed
        assert not list(api.app.rglob("__pycache__"))

    async def test_migrations_run_from_their_files(self, api: Container, service: dict[str, str]) -> None:
        status, printed = await api.run("-m", "migrate", "status", **service)
        assert (status, "Pending: 0" in printed) == (0, True), printed

    async def test_worker_starts_as_far_as_its_mail_server(self, api: Container, service: dict[str, str]) -> None:
        """A remote mail server without TLS is the last thing its settings can be refused for."""
        status, printed = await api.run("-m", "worker", **service, SMTP_HOST="mail.example")
        assert (status, printed) == (
            2,
            "refusing to start: SMTP_TLS must be starttls or tls for a remote mail server\n",
        )

    @pytest.mark.parametrize("command", ["server", "worker", "migrate", "server.administrator", "worker.dead_letters"])
    async def test_commands_do_with_what_base_txt_installs(
        self, api: Container, service: dict[str, str], command: str
    ) -> None:
        lock = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "requirements" / "base.txt").read_text(), re.MULTILINE))
        absent = [
            module
            for module, names in packages_distributions().items()
            if not any(re.sub(r"[-_.]+", "-", name).lower() in lock for name in names)
        ]
        assert {"pytest", "aiosmtpd"} <= set(absent)
        service["SERVER_PORT"] = "x"
        status, printed = await api.run("-c", RUN_WITHOUT, command, json.dumps(absent), **service)
        # The worker has no options: it gets as far as its settings.
        expected = (2, "refusing to start: SERVER_PORT") if command == "worker" else (0, "usage: python -m")
        assert (status, printed[: len(expected[1])]) == expected, printed


class TestEnvoy:
    async def test_configuration_is_accepted(self, tmp_path: Path) -> None:
        container = Container("envoy", tmp_path)
        status, printed = await container.run("-m", "gateway", "validate", SERVER_ENDPOINTS="server:50051")
        assert status == 0, printed

    def test_pages_are_where_the_configuration_looks(self, tmp_path: Path) -> None:
        container = Container("envoy", tmp_path)
        assert (container.app / "envoy" / "www" / "docs" / "index.html").exists()
        assert not (container.app / "server").exists()


class TestDockerfile:
    @pytest.mark.parametrize("image", ["api", "envoy"])
    def test_image_runs_as_a_number_that_is_not_root(self, image: str) -> None:
        users = [line for stage in chain(image) for line in stage.all("USER")]
        assert users == ["10001:10001"]

    @pytest.mark.parametrize("image", ["api", "envoy"])
    def test_image_checks_its_health_and_takes_signals_itself(self, image: str) -> None:
        own = stages()[image]
        assert own.all("HEALTHCHECK")
        # As a list: a shell in between would not pass SIGTERM on.
        assert all(line.startswith("[") for line in own.all("ENTRYPOINT") + own.all("CMD"))

    def test_every_package_comes_by_its_hash(self) -> None:
        installs = [line for stage in stages().values() for line in stage.all("RUN") if " install" in line]
        assert len(installs) == 2
        assert all("--require-hashes" in line and "--no-deps" in line for line in installs)

    def test_context_holds_nothing_but_what_is_copied(self) -> None:
        lines = (ROOT / ".dockerignore").read_text().splitlines()
        patterns = [line for line in lines if line and not line.startswith("#")]
        assert patterns[0] == "*"
        included = {line.removeprefix("!") for line in patterns if line.startswith("!")}
        copied = {
            source.rstrip("/")
            for stage in stages().values()
            for line in stage.all("COPY")
            if not line.startswith("--from=")
            for source in line.split()[:-1]
        }
        assert {source for source in copied if not any(Path(source).is_relative_to(path) for path in included)} == set()
        assert {path for path in included if not any(Path(source).is_relative_to(path) for source in copied)} == set()
        tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        shipped = [line for line in tracked.splitlines() if any(Path(line).is_relative_to(path) for path in included)]
        assert not [line for line in shipped if "test" in Path(line).parts[0] or line.endswith((".pem", ".key"))]
