"""The connections that all pods may open at once fit into the database of each environment."""

import ast
import inspect
import re
from types import ModuleType

import pytest

import server.app
import worker.__main__
from local.settings import ROOT
from server.config import Settings
from tests.deploy.manifests import ENVIRONMENTS, containers, environment, of_kind, pods, variables

OTHERS = 20
"""Kept free: what PostgreSQL and RDS reserve for themselves, monitoring, and an operator who looks into something."""
MIGRATION = 3
"""The one that keeps other runners out, dbmate, and the one that sets the password."""


def pool_sizes(module: ModuleType) -> list[ast.expr]:
    """The size of every pool that the module opens, as it is written."""
    return [
        keyword.value
        for call in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "open_pool"
        for keyword in call.keywords
        if keyword.arg == "size"
    ]


def connections(module: ModuleType, name: str, component: str) -> int:
    """How many one process opens at most, with the settings of the environment."""
    everything = environment(name)
    given = variables(everything, containers(pods(everything)[component])[0])
    settings = Settings.model_construct(
        read_pool_size=int(given["READ_POOL_SIZE"]),
        ledger_side_connections=int(given["LEDGER_SIDE_CONNECTIONS"]),
    )
    sizes = pool_sizes(module)
    assert len(sizes) >= 3
    names = {**vars(module), "settings": settings}
    return sum(int(eval(compile(ast.Expression(size), "", "eval"), names)) for size in sizes)  # noqa: S307 - our code


def replicas(name: str) -> dict[str, int]:
    """The most there are of each, one more during a rollout included."""
    everything = environment(name)
    most = {
        "server": of_kind(everything, "HorizontalPodAutoscaler")["server"]["spec"]["maxReplicas"],
        "worker": of_kind(everything, "ScaledObject")["worker"]["spec"]["maxReplicaCount"],
    }
    deployments = of_kind(everything, "Deployment")
    return {
        component: count + deployments[component]["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
        for component, count in most.items()
    }


def budget(name: str) -> dict[str, int]:
    most = replicas(name)
    opened = {
        "server": most["server"] * connections(server.app, name, "server"),
        "worker": most["worker"] * connections(worker.__main__, name, "worker"),
    }
    return {**opened, "migration": MIGRATION, "others": OTHERS}


def max_connections(name: str) -> int:
    text = (ROOT / "k8s" / "aws" / "environment" / "environments" / f"{name}.tfvars").read_text()
    (found,) = re.findall(r"^database_max_connections\s*=\s*(\d+)$", text, re.MULTILINE)
    return int(found)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_all_replicas_fit_into_the_database(name: str) -> None:
    assert sum(budget(name).values()) <= max_connections(name)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_table_of_the_runbook_says_the_same(name: str) -> None:
    page = (ROOT / "docs" / "eks.md").read_text()
    most, parts = replicas(name), budget(name)
    row = (
        f"| {name} | {most['server']} × {parts['server'] // most['server']} = {parts['server']} "
        f"| {most['worker']} × {parts['worker'] // most['worker']} = {parts['worker']} "
        f"| {parts['migration']} | {parts['others']} | {sum(parts.values())} | {max_connections(name)} |"
    )
    assert row in page, f"docs/eks.md must say {row}"


def test_documented_sum_is_what_the_processes_open() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    fixed, of_worker = re.findall(
        r"`READ_POOL_SIZE` \+ (\d+) \+ `LEDGER_SIDE_CONNECTIONS` database connections, a worker (\d+)", page
    )[0]
    defaults = (
        Settings.model_fields["read_pool_size"].default + Settings.model_fields["ledger_side_connections"].default
    )
    assert connections(server.app, "production", "server") == defaults + int(fixed)
    assert connections(worker.__main__, "production", "worker") == int(of_worker)
