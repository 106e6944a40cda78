"""The manifests as kustomize renders them, and how to find one's way in them."""

from functools import cache
from typing import Any

import yaml

from local.settings import ROOT
from tools.deploy_checks.manifests import render

Manifest = dict[str, Any]
ENVIRONMENTS = ("staging", "production")


@cache
def rendered(folder: str) -> tuple[Manifest, ...]:
    return tuple(yaml.safe_load_all(render(ROOT / "k8s" / folder)))


@cache
def environment(name: str) -> tuple[Manifest, ...]:
    """All of one environment: what an administrator applies, what lasts and what a release adds."""
    return (*rendered("cluster"), *rendered(f"overlays/{name}"), *rendered(f"overlays/{name}/migration"))


def of_kind(manifests: tuple[Manifest, ...], kind: str) -> dict[str, Manifest]:
    """By their names."""
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def pods(manifests: tuple[Manifest, ...]) -> dict[str, Manifest]:
    """The templates of all pods, by what they are called in their component label."""
    return {
        manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: manifest["spec"]["template"]
        for manifest in manifests
        if manifest["kind"] in ("Deployment", "Job")
    }


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes matches."""
    if any(labels.get(name) != value for name, value in selector.get("matchLabels", {}).items()):
        return False
    return all(
        each["operator"] == "In" and labels.get(each["key"]) in each["values"]
        for each in selector.get("matchExpressions", [])
    )


def secrets_made(manifests: tuple[Manifest, ...]) -> dict[str, set[str]]:
    """The keys of every secret that External Secrets or cert-manager will make."""
    made = {
        secret["spec"]["target"]["name"]: set(secret["spec"]["target"]["template"]["data"])
        for secret in of_kind(manifests, "ExternalSecret").values()
    }
    for certificate in of_kind(manifests, "Certificate").values():
        made[certificate["spec"]["secretName"]] = {"tls.crt", "tls.key", "ca.crt"}
    return made


ENTRY = {
    "database_host": "db.example.com",
    "database_password": "0d" * 32,
    "cache_host": "cache.example.com",
    "cache_password": "0c" * 32,
    "smtp_username": "mailer",
    "smtp_password": "0e" * 16,
    "owner_password | urlquery": "%2Bp%3D",
    "token_keys": "{}",
}
"""A sample of what Secrets Manager holds, by what templates call it."""


def secret_value(manifests: tuple[Manifest, ...], name: str, key: str) -> str:
    """What External Secrets would put there, made from the sample."""
    text: str = of_kind(manifests, "ExternalSecret")[name]["spec"]["target"]["template"]["data"][key]
    for variable, value in ENTRY.items():
        text = text.replace(f"{{{{ .{variable} }}}}", value)
    assert "{{" not in text
    return text


def variables(manifests: tuple[Manifest, ...], container: Manifest) -> dict[str, str]:
    """The environment that a container would have; secrets are files."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= of_kind(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return found | {variable["name"]: variable["value"] for variable in container.get("env", [])}


def secret_sources(volume: Manifest) -> list[str]:
    """The secrets that a volume shows as files."""
    if "projected" in volume:
        return [source["secret"]["name"] for source in volume["projected"]["sources"]]
    return [volume["secret"]["secretName"]] if "secret" in volume else []


def secret_files(manifests: tuple[Manifest, ...], pod: Manifest, container: Manifest) -> dict[str, str]:
    """The secret files of a container of the service, by their names."""
    folder = variables(manifests, container)["SECRETS_DIR"]
    (mounted,) = (mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == folder)
    (volume,) = (volume for volume in pod["spec"]["volumes"] if volume["name"] == mounted)
    return {
        key: secret_value(manifests, secret, key)
        for secret in secret_sources(volume)
        for key in secrets_made(manifests)[secret]
    }
