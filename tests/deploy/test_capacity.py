"""All replicas that an overlay allows fit on the nodes of its environment: nothing adds nodes by itself."""

import re

import pytest

from local.settings import ROOT
from tests.deploy.manifests import ENVIRONMENTS, containers, environment, of_kind, pods
from tests.deploy.test_connections import replicas

NODES = {"t4g.large": (2, 8), "m6g.large": (2, 8), "m7g.large": (2, 8), "m7g.xlarge": (4, 16)}
"""Cores and GiB of the instance types in use."""
SHARE = 0.7
"""The rest is for the system, the controllers and monitoring."""
CORES = {"m": 0.001, "": 1.0}
GIB = {"Mi": 1 / 1024, "Gi": 1.0}


def amount(text: str, units: dict[str, float]) -> float:
    ((number, unit),) = re.findall(r"^(\d+)(\D*)$", text)
    return int(number) * units[unit]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_all_replicas_fit_on_the_nodes(name: str) -> None:
    everything = environment(name)
    values = (ROOT / "k8s" / "aws" / "environment" / "environments" / f"{name}.tfvars").read_text()
    types = re.findall(r'"(\w+\.\w+)"', re.findall(r"^node_instance_types\s*=\s*(\[.*\])$", values, re.MULTILINE)[0])
    count = int(re.findall(r"^node_count\s*=\s*(\d+)$", values, re.MULTILINE)[0])
    gateway = of_kind(everything, "Deployment")["gateway"]["spec"]
    most = {**replicas(name), "gateway": gateway["replicas"] + gateway["strategy"]["rollingUpdate"]["maxSurge"]}
    requests = {component: containers(pods(everything)[component])[0]["resources"]["requests"] for component in most}
    cores = sum(most[component] * amount(requests[component]["cpu"], CORES) for component in most)
    gib = sum(most[component] * amount(requests[component]["memory"], GIB) for component in most)
    assert cores <= SHARE * count * min(NODES[each][0] for each in types)
    assert gib <= SHARE * count * min(NODES[each][1] for each in types)
