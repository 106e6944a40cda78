"""What the manifests of Kubernetes promise, in both environments: read from what kustomize renders."""

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
    Manifest,
    containers,
    environment,
    of_kind,
    pods,
    rendered,
    secret_files,
    secret_sources,
    secret_value,
    secrets_made,
    selects,
    variables,
)
from worker.lanes import LANES
from worker.settings import METRICS_PORT_OFFSET

SERVICE = ("server", "worker")
PODS = (*SERVICE, "gateway", "migration")
DIGEST = re.compile(r"[a-z0-9.:/-]+@sha256:[0-9a-f]{64}")
MADE_BY_COMMAND = {"database-ca"}
"""ConfigMaps that docs/eks.md has a command for."""

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


class TestPods:
    def test_every_pod_is_known_here(self, name: str) -> None:
        assert set(pods(environment(name))) == set(PODS)

    @pytest.mark.parametrize("component", PODS)
    def test_pod_runs_without_privileges(self, name: str, component: str) -> None:
        pod = pods(environment(name))[component]["spec"]
        context = pod["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] > 10_000
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert {key for volume in pod["volumes"] for key in volume if key != "name"} <= {
            "secret",
            "projected",
            "configMap",
            "emptyDir",
        }

    @pytest.mark.parametrize("component", PODS)
    def test_container_is_hardened_and_bounded(self, name: str, component: str) -> None:
        for container in containers(pods(environment(name))[component]):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
            }
            resources = container["resources"]
            assert resources["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
            assert resources["limits"] == {
                kind: resources["requests"][kind] for kind in ("memory", "ephemeral-storage")
            }
            assert {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")} == {"/tmp"}

    @pytest.mark.parametrize("component", PODS)
    def test_image_is_named_by_digest(self, name: str, component: str) -> None:
        expected = "transactions-envoy" if component == "gateway" else "transactions-api"
        for container in containers(pods(environment(name))[component]):
            assert DIGEST.fullmatch(container["image"])
            assert container["image"].partition("@")[0] == expected

    @pytest.mark.parametrize("component", PODS)
    def test_service_account_is_its_own_and_has_no_token(self, name: str, component: str) -> None:
        accounts = of_kind(environment(name), "ServiceAccount")
        pod = pods(environment(name))[component]["spec"]
        assert pod["serviceAccountName"] == component
        assert pod["automountServiceAccountToken"] is accounts[component]["automountServiceAccountToken"] is False

    @pytest.mark.parametrize("component", PODS)
    def test_what_is_mounted_exists(self, name: str, component: str) -> None:
        everything = environment(name)
        pod = pods(everything)[component]["spec"]
        for volume in pod["volumes"]:
            assert set(secret_sources(volume)) <= secrets_made(everything).keys()
            if "configMap" in volume:
                made = of_kind(everything, "ConfigMap").keys() | MADE_BY_COMMAND
                assert volume["configMap"]["name"] in made
        for container in containers(pods(everything)[component]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= {
                volume["name"] for volume in pod["volumes"]
            }

    @pytest.mark.parametrize("component", ["server", "worker", "gateway"])
    def test_three_probes_are_there_and_alive_is_not_ready(self, name: str, component: str) -> None:
        container = containers(pods(environment(name))[component])[0]
        alive = {key: container["livenessProbe"].get(key) for key in ("grpc", "httpGet", "exec")}
        ready = {key: container["readinessProbe"].get(key) for key in ("grpc", "httpGet", "exec")}
        started = {key: container["startupProbe"].get(key) for key in ("grpc", "httpGet", "exec")}
        assert started == alive
        assert alive != ready

    def test_probes_ask_for_what_the_processes_answer(self, name: str) -> None:
        server, worker, gateway = (containers(pods(environment(name))[c])[0] for c in ("server", "worker", "gateway"))
        assert server["livenessProbe"]["grpc"] == {"port": 50051, "service": app.LIVENESS}
        assert server["readinessProbe"]["grpc"] == {"port": 50051}
        ready_file = variables(environment(name), worker)["WORKER_READY_FILE"]
        assert worker["readinessProbe"]["exec"]["command"] == ["test", "-f", ready_file]
        for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            assert gateway[probe]["httpGet"] == {"path": path, "port": "https", "scheme": "HTTPS"}

    @pytest.mark.parametrize("component", ["server", "worker", "gateway"])
    def test_rollout_never_has_fewer_pods_and_spreads_them(self, name: str, component: str) -> None:
        deployment = of_kind(environment(name), "Deployment")[component]["spec"]
        assert deployment["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        labels = deployment["template"]["metadata"]["labels"]
        spread = deployment["template"]["spec"]["topologySpreadConstraints"]
        assert {each["topologyKey"] for each in spread} == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(selects(each["labelSelector"], labels) for each in spread)
        budgets = [
            budget["spec"]
            for budget in of_kind(environment(name), "PodDisruptionBudget").values()
            if selects(budget["spec"]["selector"], labels)
        ]
        assert [(each["maxUnavailable"], each["unhealthyPodEvictionPolicy"]) for each in budgets] == [
            (1, "AlwaysAllow")
        ]

    def test_priority_class_exists(self, name: str) -> None:
        classes = of_kind(environment(name), "PriorityClass")
        for component in ("server", "worker", "gateway"):
            assert pods(environment(name))[component]["spec"]["priorityClassName"] in classes


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


class TestScaling:
    def test_autoscaler_finds_its_deployment_and_alone_decides(self, name: str) -> None:
        everything = environment(name)
        deployments = of_kind(everything, "Deployment")
        autoscaler = of_kind(everything, "HorizontalPodAutoscaler")["server"]["spec"]
        scaler = of_kind(everything, "ScaledObject")["worker"]["spec"]
        for target in (autoscaler["scaleTargetRef"]["name"], scaler["scaleTargetRef"]["name"]):
            assert "replicas" not in deployments[target]["spec"]
        assert deployments["gateway"]["spec"]["replicas"] >= 2
        assert 2 <= autoscaler["minReplicas"] <= autoscaler["maxReplicas"]
        assert 2 <= scaler["minReplicaCount"] <= scaler["maxReplicaCount"]
        assert scaler["fallback"]["replicas"] <= scaler["maxReplicaCount"]

    def test_worker_is_scaled_by_each_of_its_queues(self, name: str) -> None:
        everything = environment(name)
        triggers = of_kind(everything, "ScaledObject")["worker"]["spec"]["triggers"]
        assert [trigger["type"] for trigger in triggers] == ["redis"] * len(triggers)
        assert {(t["metadata"]["listName"], int(t["metadata"]["listLength"])) for t in triggers} == {
            (lane.queue_name, 2 * lane.jobs_at_once) for lane in LANES.values()
        }
        for trigger in triggers:
            assert trigger["metadata"]["enableTLS"] == "true"
            authentication = of_kind(everything, "TriggerAuthentication")[trigger["authenticationRef"]["name"]]
            for target in authentication["spec"]["secretTargetRef"]:
                assert target["key"] in secrets_made(everything)[target["name"]]


class TestControllers:
    """What controllers read has no schema here."""

    def test_secrets_come_from_secrets_manager_without_a_key(self, name: str) -> None:
        everything = environment(name)
        (store,) = of_kind(everything, "SecretStore").values()
        assert store["apiVersion"] == "external-secrets.io/v1"
        assert store["spec"]["provider"]["aws"].keys() == {"service", "region"}
        assert store["spec"]["provider"]["aws"]["service"] == "SecretsManager"
        for secret in of_kind(everything, "ExternalSecret").values():
            assert secret["apiVersion"] == "external-secrets.io/v1"
            assert secret["spec"]["secretStoreRef"] == {"kind": "SecretStore", "name": store["metadata"]["name"]}
            assert secret["spec"]["dataFrom"] == [{"extract": {"key": f"transactions/{name}/service"}}]

    def test_certificate_is_renewed_by_share_and_proved_by_dns(self, name: str) -> None:
        everything = environment(name)
        certificate = of_kind(everything, "Certificate")["gateway"]["spec"]
        issuer = of_kind(everything, "Issuer")[certificate["issuerRef"]["name"]]["spec"]["acme"]
        assert 25 <= certificate["renewBeforePercentage"] <= 50
        assert not {"duration", "renewBefore"} & certificate.keys()
        (solver,) = issuer["solvers"]
        assert solver["dns01"]["route53"].keys() == {"region", "hostedZoneID"}

    def test_one_name_is_served_certified_and_told(self, name: str) -> None:
        everything = environment(name)
        (host,) = of_kind(everything, "Certificate")["gateway"]["spec"]["dnsNames"]
        annotations = of_kind(everything, "Service")["gateway"]["metadata"]["annotations"]
        assert annotations["external-dns.alpha.kubernetes.io/hostname"] == host
        server = variables(everything, containers(pods(everything)["server"])[0])
        assert server["PUBLIC_URL"] == f"https://{host}"

    def test_load_balancer_passes_tls_and_addresses_through(self, name: str) -> None:
        everything = environment(name)
        service = of_kind(everything, "Service")["gateway"]
        annotations = service["metadata"]["annotations"]
        prefix = "service.beta.kubernetes.io/aws-load-balancer-"
        assert service["spec"]["loadBalancerClass"] == "service.k8s.aws/nlb"
        assert annotations[f"{prefix}nlb-target-type"] == "ip"
        assert f"{prefix}ssl-cert" not in annotations
        assert "preserve_client_ip.enabled=true" in annotations[f"{prefix}target-group-attributes"].split(",")
        ports = [(port["port"], port["targetPort"]) for port in service["spec"]["ports"]]
        assert ports == [(443, "https")]

    def test_metrics_of_every_process_are_asked_for(self, name: str) -> None:
        everything = environment(name)
        (monitor,) = of_kind(everything, "PodMonitor").values()
        assert monitor["spec"]["jobLabel"] == "app.kubernetes.io/component"
        asked = {
            component: port["containerPort"]
            for component, pod in pods(everything).items()
            if selects(monitor["spec"]["selector"], pod["metadata"]["labels"])
            for port in containers(pod)[0]["ports"]
            if port["name"] in {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        }
        assert asked == {"server": 9101, "worker": 9201}


class TestCluster:
    def test_namespace_takes_restricted_pods_only(self, name: str) -> None:
        (namespace,) = of_kind(environment(name), "Namespace").values()
        labels = namespace["metadata"]["labels"]
        assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "audit", "warn")} == {"restricted"}
        assert labels["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"
        everything = (*rendered(f"overlays/{name}"), *rendered(f"overlays/{name}/migration"))
        assert {each["metadata"]["namespace"] for each in everything} == {namespace["metadata"]["name"]}

    def test_pipeline_may_change_every_kind_it_applies_and_read_no_secret(self, name: str) -> None:
        rules = of_kind(rendered("cluster"), "Role")["deployer"]["rules"]
        allowed = {
            (group, resource)
            for rule in rules
            if {"create", "patch", "get"} <= set(rule["verbs"])
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        }
        applied = {
            (group_of(each), plural(each["kind"]))
            for each in (*rendered(f"overlays/{name}"), *rendered(f"overlays/{name}/migration"))
        }
        assert applied == allowed
        assert not any("secrets" in rule["resources"] or "*" in rule["resources"] for rule in rules)

    def test_nothing_is_left_to_be_filled_in_but_the_sample_values(self, name: str) -> None:
        text = str(environment(name))
        assert not re.findall(r"set-by-overlay|\.invalid|192\.0\.2\.", text)

    def test_job_is_named_after_its_release(self, name: str) -> None:
        (job,) = of_kind(rendered(f"overlays/{name}/migration"), "Job").values()
        assert job["metadata"]["name"] == "migrate-release"
        assert job["spec"]["backoffLimit"] <= 1
        assert job["spec"]["ttlSecondsAfterFinished"] > 0
        assert [container["name"] for container in containers(job["spec"]["template"])] == ["migrate", "login"]


def group_of(manifest: Manifest) -> str:
    group, slash, _ = manifest["apiVersion"].partition("/")
    return group if slash else ""


def plural(kind: str) -> str:
    name = kind.lower()
    return f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"


def _service_routes() -> str:
    """The routes of unary calls in the gateway's template; reports and watches end with the server."""
    template = (Path(__file__).resolve().parents[2] / "envoy" / "envoy.yaml").read_text()
    return template[template.index("- name: batch") : template.index("- name: json-batch")]
