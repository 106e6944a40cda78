"""What every pod promises, in both environments, and the namespace they run in."""

import re

import pytest

from server import app
from tests.deploy.manifests import (
    ENVIRONMENTS,
    Manifest,
    containers,
    environment,
    of_kind,
    pods,
    rendered,
    secret_sources,
    secrets_made,
    selects,
    variables,
)

PODS = ("server", "worker", "gateway", "migration")
DIGEST = re.compile(r"[a-z0-9.:/-]+@sha256:[0-9a-f]{64}")
MADE_BY_COMMAND = {"database-ca"}
"""ConfigMaps that docs/eks.md has a command for."""

pytestmark = pytest.mark.parametrize("name", ENVIRONMENTS)


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
