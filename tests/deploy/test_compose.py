"""compose.yaml, as far as can be known without an engine: its secrets are made, and its settings start the programs."""

import os
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import Certificate
from gateway.settings import read_settings as read_gateway_settings
from local.compose import make_secrets
from server.config import Settings, read_settings
from server.keys import load
from tools.generate import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The volume of secrets, made as the service of that name makes it."""
    folder = tmp_path_factory.mktemp("compose") / "secrets"
    command = (sys.executable, "-m", *SERVICES["secrets"]["command"][:-1], str(folder))
    subprocess.run(command, cwd=ROOT, check=True)
    return folder


def mounted(service: str, secrets: Path) -> Path:
    """What a service sees under /run/secrets."""
    volumes = [volume for volume in SERVICES[service]["volumes"] if isinstance(volume, dict)]
    (volume,) = [volume for volume in volumes if volume["source"] == "secrets"]
    assert volume["read_only"]
    assert volume["target"] == "/run/secrets"
    return secrets / str(volume["volume"]["subpath"])


def environment(service: str, secrets: Path) -> dict[str, str]:
    """The variables of a service, with the folder of this test for its mount."""
    folder = str(mounted(service, secrets))
    return {name: value.replace("/run/secrets", folder) for name, value in SERVICES[service]["environment"].items()}


class TestSecrets:
    def test_nobody_but_owner_and_group_can_read_them(self, secrets: Path) -> None:
        paths = [path for path in secrets.rglob("*") if path.is_file()]
        assert len(paths) > 12
        assert [path for path in paths if path.stat().st_mode & stat.S_IRWXO] == []

    def test_what_exists_stays(self, secrets: Path) -> None:
        before = {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()}
        mask = os.umask(0)
        try:
            make_secrets(secrets)
        finally:
            os.umask(mask)
        assert {path: path.read_bytes() for path in secrets.rglob("*") if path.is_file()} == before

    def test_service_sees_its_own_only(self, secrets: Path) -> None:
        users = {name: mounted(name, secrets).name for name in ("server", "worker", "migrations", "postgres", "redis")}
        assert users == {
            "server": "server",
            "worker": "server",
            "migrations": "migrations",
            "postgres": "postgres",
            "redis": "redis",
        }
        owner = (secrets / "migrations" / "migration_database_url").read_text()
        assert not [path for path in (secrets / "server").iterdir() if owner in path.read_text()]

    @pytest.mark.parametrize(("service", "name"), [("envoy", "localhost"), ("mailpit", "mailpit")])
    def test_certificates_are_believed_by_those_who_get_the_authority(
        self, secrets: Path, service: str, name: str
    ) -> None:
        folder = mounted(service, secrets)
        serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        serving.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        calling = ssl.create_default_context(cafile=mounted("server", secrets) / "ca.crt")
        calling.verify_flags |= ssl.VERIFY_X509_STRICT
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = calling.wrap_bio(back, there, server_hostname=name)
        server = serving.wrap_bio(there, back, server_side=True)
        done: set[ssl.SSLObject] = set()
        while len(done) < 2:
            for side in (client, server):
                try:
                    side.do_handshake()
                    done.add(side)
                except ssl.SSLWantReadError:
                    pass
        assert client.getpeercert()


class TestSettings:
    @pytest.mark.parametrize("service", ["server", "worker"])
    def test_server_and_worker_accept_theirs_as_those_of_a_production(
        self, service: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in (field.upper() for field in Settings.model_fields):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment(service, secrets).items():
            monkeypatch.setenv(name, value)
        settings = read_settings()
        assert settings.is_production
        assert load(settings).access_token_keys
        assert settings.database_url.get_secret_value().endswith("@postgres:5432/bank")

    def test_gateway_accepts_its_own_and_knows_every_server_process(self, secrets: Path) -> None:
        settings = read_gateway_settings(environment("envoy", secrets))
        processes = int(SERVICES["server"]["environment"]["SERVER_PROCESSES"])
        assert settings.server_endpoints == tuple(("server", 50051 + process) for process in range(processes))
        assert settings.certificate == Certificate(secrets / "envoy")
        published = {int(port.split(":")[2]) for port in SERVICES["envoy"]["ports"]}
        assert published == {settings.gateway_port, settings.grpc_port}
        assert settings.drain_s + settings.grace_s < int(SERVICES["envoy"]["stop_grace_period"].rstrip("s"))


class TestOrder:
    @pytest.mark.parametrize(
        ("service", "order"),
        [
            ("server", ["migrations", "createdb", "postgres", "secrets"]),
            ("worker", ["migrations", "createdb", "postgres", "secrets"]),
            ("envoy", ["server", "migrations", "createdb", "postgres", "secrets"]),
        ],
    )
    def test_each_waits_for_what_it_needs(self, service: str, order: list[str]) -> None:
        for needed in order:
            condition = SERVICES[service]["depends_on"][needed]["condition"]
            ends = SERVICES[needed].get("restart") == "no"
            assert condition == ("service_completed_successfully" if ends else "service_healthy")
            service = needed

    def test_whoever_is_waited_for_says_how_it_is(self) -> None:
        waited_for = {
            needed
            for service in SERVICES.values()
            for needed, how in service.get("depends_on", {}).items()
            if how["condition"] == "service_healthy"
        }
        # The images of this repository have a check of their own.
        assert waited_for - {name for name, service in SERVICES.items() if "healthcheck" in service} == {"server"}

    def test_mounted_files_of_the_repository_are_there(self) -> None:
        sources = {
            volume.partition(":")[0].removeprefix("./")
            for service in SERVICES.values()
            for volume in service.get("volumes", [])
            if isinstance(volume, str) and volume.startswith("./")
        }
        here = {source for source in sources if (ROOT / source.partition("/")[0]).exists()}
        assert "local" in here
        assert {source for source in here if not (ROOT / source).is_dir()} == set()
