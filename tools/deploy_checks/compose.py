"""compose.yaml: its schema, and what the schema cannot say."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from tools.deploy_checks.check import Check, command

_LOOPBACK = "127.0.0.1:"


def hardening(root: Path, files: Sequence[Path]) -> list[str]:
    """Every service is bound to loopback, unprivileged, bounded and logs within limits."""
    return [f"{file.relative_to(root)}: {complaint}" for file in files for complaint in _file(file)]


def _file(file: Path) -> Iterator[str]:
    try:
        services = yaml.safe_load(file.read_text())["services"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        yield f"it has no services to look at: {error}"
        return
    for name, service in services.items():
        yield from (f"{name}: {complaint}" for complaint in _service(service))


def _service(service: dict[str, Any]) -> Iterator[str]:
    for port in service.get("ports", []):
        if not str(port).startswith(_LOOPBACK):
            yield f"port {port} is open to the network: begin it with {_LOOPBACK}"
    if service.get("read_only") is not True:
        yield "its root file system can be written to: read_only: true"
    if service.get("cap_drop") != ["ALL"]:
        yield "it keeps capabilities: cap_drop: [ALL]"
    if "no-new-privileges:true" not in service.get("security_opt", []):
        yield "it may gain privileges: security_opt: [no-new-privileges:true]"
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    if not {"cpus", "memory", "pids"} <= limits.keys():
        yield "it may use up the machine: limit cpus, memory and pids under deploy.resources.limits"
    if service.get("privileged") or service.get("network_mode") == "host":
        yield "it is no longer in a container: neither privileged nor network_mode: host"
    for variable, value in _environment(service).items():
        if any(word in variable.upper() for word in ("PASSWORD", "SECRET", "TOKEN")) and not _names_file(
            variable, value
        ):
            yield f"{variable} is a secret in the environment: hand it over as a file"


def _environment(service: dict[str, Any]) -> dict[str, Any]:
    environment = service.get("environment", {})
    if isinstance(environment, list):
        return dict(entry.partition("=")[::2] for entry in environment)
    return dict(environment)


def _names_file(variable: str, value: object) -> bool:
    return variable.upper().endswith(("_FILE", "_DIR")) or str(value) in ("", "None")


CHECKS = (
    Check("compose schema", ("compose.yaml",), command("check-jsonschema", "--builtin-schema", "vendor.compose-spec")),
    Check("compose hardening", ("compose.yaml",), hardening),
)
