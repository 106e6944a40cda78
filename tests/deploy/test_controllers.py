"""What is handed to controllers: scaling, secrets, certificate, load balancer, metrics."""

import pytest

from gateway.settings import read_settings as read_gateway_settings
from tests.deploy.manifests import (
    ENVIRONMENTS,
    containers,
    environment,
    of_kind,
    pods,
    secrets_made,
    selects,
    variables,
)
from worker.lanes import LANES

BUILT_IN = {
    "v1",
    "apps",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
}
"""Groups of Kubernetes itself, whose schemas are checked."""

pytestmark = pytest.mark.parametrize("name", ENVIRONMENTS)


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

    def test_kinds_without_a_schema_are_those_of_the_controllers(self, name: str) -> None:
        versions = {(each["kind"], each["apiVersion"]) for each in environment(name)}
        assert {(kind, version) for kind, version in versions if version.partition("/")[0] not in BUILT_IN} == {
            ("Certificate", "cert-manager.io/v1"),
            ("ExternalSecret", "external-secrets.io/v1"),
            ("Issuer", "cert-manager.io/v1"),
            ("PodMonitor", "monitoring.coreos.com/v1"),
            ("ScaledObject", "keda.sh/v1alpha1"),
            ("SecretStore", "external-secrets.io/v1"),
            ("TriggerAuthentication", "keda.sh/v1alpha1"),
        }

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
        asked = {
            component: (port["containerPort"], endpoint.get("path", "/metrics"))
            for monitor in of_kind(everything, "PodMonitor").values()
            for component, pod in pods(everything).items()
            if selects(monitor["spec"]["selector"], pod["metadata"]["labels"])
            for endpoint in monitor["spec"]["podMetricsEndpoints"]
            for port in containers(pod)[0]["ports"]
            if port["name"] == endpoint["port"]
        }
        gateway = read_gateway_settings(variables(everything, containers(pods(everything)["gateway"])[0]))
        assert asked == {
            "server": (9101, "/metrics"),
            "worker": (9201, "/metrics"),
            "gateway": (gateway.metrics_port, "/stats/prometheus"),
        }
        labels = {monitor["spec"]["jobLabel"] for monitor in of_kind(everything, "PodMonitor").values()}
        assert labels == {"app.kubernetes.io/component"}
