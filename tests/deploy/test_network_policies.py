"""Who may talk to whom in the cluster: everything that is needed, and nothing else."""

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.deploy.manifests import ENVIRONMENTS, Manifest, environment, of_kind, pods, selects

Flow = tuple[str, str, int]
PODS = ("server", "worker", "gateway", "migration")
CLUSTER_DNS = "cluster DNS"
MONITORING = "monitoring"
DATA = "database and cache"
ANYWHERE = "anywhere public"
ANYBODY = "anybody"
DATA_CIDR = "10.20.4.0/22"
PRIVATE = ("10.20.64.7", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "127.0.0.1", "100.64.0.1")

pytestmark = pytest.mark.parametrize("name", ENVIRONMENTS)


def peers(everything: tuple[Manifest, ...], peer: dict[str, Any], data_cidr: str) -> set[str]:
    """What a peer of a policy stands for."""
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        if block["cidr"] == data_cidr:
            return {DATA}
        assert block["cidr"] == "0.0.0.0/0"
        return {ANYWHERE if "except" in block else ANYBODY}
    if "namespaceSelector" in peer:
        namespace = peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        if namespace == "kube-system":
            assert peer["podSelector"] == {"matchLabels": {"k8s-app": "kube-dns"}}
            return {CLUSTER_DNS}
        return {namespace}
    labels = {component: pod["metadata"]["labels"] for component, pod in pods(everything).items()}
    return {component for component in labels if selects(peer["podSelector"], labels[component])}


def allowed(name: str, direction: str) -> set[Flow]:
    """All flows that policies allow in one direction."""
    everything = environment(name)
    flows: set[Flow] = set()
    for policy in of_kind(everything, "NetworkPolicy").values():
        for component, pod in pods(everything).items():
            if not selects(policy["spec"]["podSelector"], pod["metadata"]["labels"]):
                continue
            for rule in policy["spec"].get(direction, []):
                for peer in rule["from" if direction == "ingress" else "to"]:
                    for other in peers(everything, peer, DATA_CIDR):
                        for port in rule["ports"]:
                            ends = (other, component) if direction == "ingress" else (component, other)
                            flows.update((*ends, each) for each in (port["port"], port.get("endPort")) if each)
    return flows


def test_everything_is_refused_at_first(name: str) -> None:
    policy = of_kind(environment(name), "NetworkPolicy")["default-deny"]
    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_every_rule_names_peers_and_ports(name: str) -> None:
    for policy in of_kind(environment(name), "NetworkPolicy").values():
        for direction, peer in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(direction, []):
                assert rule[peer]
                assert rule["ports"]
                assert direction.capitalize() in policy["spec"]["policyTypes"]


def test_pods_may_reach_what_they_need_and_nothing_else(name: str) -> None:
    assert allowed(name, "egress") == {
        *((pod, CLUSTER_DNS, 53) for pod in PODS),
        ("gateway", "server", 50051),
        ("server", DATA, 5432),
        ("worker", DATA, 5432),
        ("worker", DATA, 6379),
        ("worker", ANYWHERE, 443),
        ("worker", ANYWHERE, 587),
        ("worker", ANYWHERE, 1024),
        ("worker", ANYWHERE, 65535),
        ("migration", DATA, 5432),
    }


def test_pods_are_reached_by_whom_they_serve_and_nobody_else(name: str) -> None:
    assert allowed(name, "ingress") == {
        (ANYBODY, "gateway", 8443),
        ("gateway", "server", 50051),
        (MONITORING, "gateway", 9901),
        (MONITORING, "server", 9101),
        (MONITORING, "worker", 9201),
    }


@pytest.mark.parametrize("address", PRIVATE)
def test_worker_reaches_no_private_address(name: str, address: str) -> None:
    policy = of_kind(environment(name), "NetworkPolicy")["worker"]
    block = next(
        peer["ipBlock"]
        for rule in policy["spec"]["egress"]
        for peer in rule["to"]
        if "except" in peer.get("ipBlock", {})
    )
    refused = [ip_network(each) for each in block["except"]]
    assert any(ip_address(address) in each for each in refused)
    assert not any(ip_address("93.184.216.34") in each for each in refused)
