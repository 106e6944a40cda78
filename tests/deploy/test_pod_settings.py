"""What pods are configured with, compared with what the processes read, and how long they may take to end."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway import process as gateway_process
from gateway.config import Certificate
from gateway.settings import read_settings as read_gateway_settings
from server import app
from server.config import Settings, read_settings
from server.database import STATEMENT_TIMEOUT_S
from server.keys import load, write_new
from tests.deploy.manifests import (
    ENVIRONMENTS,
    containers,
    environment,
    of_kind,
    pods,
    secret_files,
    secret_sources,
    secret_value,
    variables,
)
from worker.lanes import LANES
from worker.settings import METRICS_PORT_OFFSET

SERVICE = ("server", "worker")
PODS = ("server", "worker", "gateway", "migration")

pytestmark = pytest.mark.parametrize("name", ENVIRONMENTS)


def variable_of(field: str) -> str:
    return str(Settings.model_fields[field].validation_alias or field).upper()


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> Callable[[str], Settings]:
    """The settings a pod would start with, by its component."""

    def read(component: str) -> Settings:
        everything = environment(name)
        pod = pods(everything)[component]
        container = containers(pod)[0]
        for field in Settings.model_fields:
            monkeypatch.delenv(variable_of(field), raising=False)
        for variable, value in variables(everything, container).items():
            monkeypatch.setenv(variable, value)
        for file, text in secret_files(everything, pod, container).items():
            (tmp_path / file).write_text(text)
        monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
        return read_settings()

    return read


class TestSettings:
    @pytest.mark.parametrize("component", SERVICE)
    def test_every_variable_and_secret_is_a_setting_and_none_is_missing(self, name: str, component: str) -> None:
        everything = environment(name)
        pod = pods(everything)[component]
        container = containers(pod)[0]
        files = {file.upper() for file in secret_files(everything, pod, container) if "." not in file}
        given = (variables(everything, container).keys() - {"SECRETS_DIR"}) | files
        assert given <= {variable_of(field) for field in Settings.model_fields}
        required = {name for name, field in Settings.model_fields.items() if field.is_required()}
        assert {variable_of(field) for field in required} <= given

    @pytest.mark.parametrize("component", PODS)
    def test_no_secret_is_in_the_environment(self, name: str, component: str) -> None:
        for container in containers(pods(environment(name))[component]):
            assert all(set(variable) == {"name", "value"} for variable in container.get("env", []))
            assert all(set(source) == {"configMapRef"} for source in container.get("envFrom", []))
            secret = {"DATABASE_URL", "REDIS_URL", "SMTP_PASSWORD", "MIGRATION_DATABASE_URL"}
            assert not secret & variables(environment(name), container).keys()

    @pytest.mark.parametrize("component", SERVICE)
    def test_settings_are_accepted_as_those_of_a_production(
        self, settings_of: Callable[[str], Settings], name: str, component: str
    ) -> None:
        settings = settings_of(component)
        assert settings.is_production
        assert settings.server_processes == 1
        assert settings.server_host == "0.0.0.0"
        database, redis = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
        assert "sslmode=verify-full" in database
        assert redis.startswith("rediss://")
        assert redis.endswith("ssl_check_hostname=true")

    @pytest.mark.parametrize("component", SERVICE)
    def test_ports_are_those_of_the_settings(
        self, settings_of: Callable[[str], Settings], name: str, component: str
    ) -> None:
        settings = settings_of(component)
        ports = {
            port["name"]: port["containerPort"] for port in containers(pods(environment(name))[component])[0]["ports"]
        }
        offset = METRICS_PORT_OFFSET if component == "worker" else 0
        assert ports.pop("metrics") == settings.metrics_port + offset
        assert ports == ({"grpc": settings.server_port} if component == "server" else {})

    def test_mounted_certificate_of_the_database_is_the_one_that_is_named(self, name: str) -> None:
        for component, secret, key in (
            ("server", "service", "database_url"),
            ("worker", "service", "database_url"),
            ("migration", "migration", "migration_database_url"),
        ):
            root = secret_value(environment(name), secret, key).partition("sslrootcert=")[2]
            for container in containers(pods(environment(name))[component]):
                mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
                assert root == f"{mounts['database-ca']}/ca.pem"

    @pytest.mark.parametrize("component", SERVICE)
    def test_mounted_keys_are_accepted(
        self, settings_of: Callable[[str], Settings], tmp_path: Path, name: str, component: str
    ) -> None:
        everything = environment(name)
        pod = pods(everything)[component]
        container = containers(pod)[0]
        settings = settings_of(component)
        assert str(settings.token_keys_file.parent) == variables(everything, container)["SECRETS_DIR"]
        assert settings.token_keys_file.name in secret_files(everything, pod, container)
        (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == "secrets")
        mode = volume.get("secret", volume.get("projected"))["defaultMode"]
        keys = tmp_path / "keys.json"
        write_new(keys)
        # For a pod with a group the kubelet lets that group read every file of a mounted secret.
        keys.chmod(mode | 0o440)
        assert load(settings.model_copy(update={"token_keys_file": keys})).access_token_keys

    def test_pods_are_given_the_secrets_they_need_and_no_other(self, name: str) -> None:
        given = {
            component: {secret for volume in pod["spec"]["volumes"] for secret in secret_sources(volume)}
            for component, pod in pods(environment(name)).items()
        }
        assert given == {
            "server": {"service"},
            "worker": {"service", "mail"},
            "gateway": {"gateway-tls"},
            "migration": {"migration"},
        }

    def test_steps_of_the_migration_find_their_secrets(self, name: str) -> None:
        everything = environment(name)
        pod = pods(everything)["migration"]
        for container in containers(pod):
            assert secret_files(everything, pod, container).keys() == {"migration_database_url", "service_password"}

    def test_gateway_has_the_servers_and_its_certificate(self, name: str) -> None:
        everything = environment(name)
        container = containers(pods(everything)["gateway"])[0]
        settings = read_gateway_settings(variables(everything, container))
        services = of_kind(everything, "Service")
        ((host, port),) = settings.server_endpoints
        assert services[host]["spec"]["clusterIP"] == "None"
        assert [each["port"] for each in services[host]["spec"]["ports"]] == [port]
        mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert settings.certificate == Certificate(Path(mounts["tls"]))
        assert {"name": "https", "containerPort": settings.gateway_port} in container["ports"]
        assert str(settings.config_dir) == mounts["tmp"]
        assert settings.xff_trusted_hops == 0
        assert not settings.reflection

    def test_every_variable_of_the_gateway_is_read(self, name: str) -> None:
        everything = environment(name)
        given = variables(everything, containers(pods(everything)["gateway"])[0])
        defaults = read_gateway_settings({"SERVER_ENDPOINTS": given["SERVER_ENDPOINTS"]})
        for variable in given.keys() - {"SERVER_ENDPOINTS", "XFF_TRUSTED_HOPS"}:
            with_one = {key: given[key] for key in ("SERVER_ENDPOINTS", variable)}
            assert read_gateway_settings(with_one) != defaults, variable


class TestShutdown:
    def test_server_has_time_for_calls_in_flight(self, settings_of: Callable[[str], Settings], name: str) -> None:
        settings = settings_of("server")
        given = pods(environment(name))["server"]["spec"]["terminationGracePeriodSeconds"]
        assert given >= app._DRAIN_S + settings.shutdown_grace_s + 2 * STATEMENT_TIMEOUT_S

    def test_worker_has_time_for_jobs_in_flight(self, settings_of: Callable[[str], Settings], name: str) -> None:
        settings = settings_of("worker")
        given = pods(environment(name))["worker"]["spec"]["terminationGracePeriodSeconds"]
        assert settings.shutdown_grace_s > max(lane.queue_timeout_s for lane in LANES.values())
        assert given >= settings.shutdown_grace_s + 2 * STATEMENT_TIMEOUT_S

    def test_gateway_has_time_to_drain(self, name: str) -> None:
        everything = environment(name)
        settings = read_gateway_settings(variables(everything, containers(pods(everything)["gateway"])[0]))
        given = pods(everything)["gateway"]["spec"]["terminationGracePeriodSeconds"]
        assert given >= settings.drain_s + settings.grace_s + 2 * gateway_process._STOP_S

    def test_load_balancer_leaves_a_draining_gateway_in_time(self, name: str) -> None:
        everything = environment(name)
        settings = read_gateway_settings(variables(everything, containers(pods(everything)["gateway"])[0]))
        prefix = "service.beta.kubernetes.io/aws-load-balancer-healthcheck-"
        annotations = of_kind(everything, "Service")["gateway"]["metadata"]["annotations"]
        interval, failures = (int(annotations[prefix + end]) for end in ("interval", "unhealthy-threshold"))
        assert annotations[prefix + "path"] == "/readyz"
        assert settings.drain_s >= 2 * interval * failures

    def test_calls_end_before_the_server_does(self, settings_of: Callable[[str], Settings], name: str) -> None:
        longest = max(int(seconds) for seconds in re.findall(r"grpc_timeout_header_max: (\d+)s", _service_routes()))
        assert settings_of("server").shutdown_grace_s >= longest


def _service_routes() -> str:
    """The routes of unary calls in the gateway's template; reports and watches end with the server."""
    template = (Path(__file__).resolve().parents[2] / "envoy" / "envoy.yaml").read_text()
    return template[template.index("- name: batch") : template.index("- name: json-batch")]
