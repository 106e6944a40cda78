"""The Terraform of k8s/aws: it cannot be applied or planned without an account, so it is read.

checkov parses and judges it; the rest finds what `terraform validate` would, as far as that needs no provider, and
holds the rules of this repository: everything documented, versions pinned, no secret.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, find_program

FOLDER = "k8s/aws"

SKIPPED = {
    "CKV_AWS_31": "the token of the queue is set by a command: written here it would stand in the state",
    "CKV_AWS_38": "runners hosted by GitHub have no fixed addresses; IAM decides, and api_allowed_cidrs narrows it",
    "CKV_AWS_39": "the same: without a public endpoint a deployment needs a runner inside the VPC",
    "CKV_AWS_109": "found in the policy of a key, whose statement gives the account's own IAM policies their effect",
    "CKV_AWS_111": "the same statement",
    "CKV_AWS_157": "a variable: one zone in staging, two in production",
    "CKV_AWS_161": "a token of IAM lives 15 minutes and the service opens connections at any time, from one URL",
    "CKV_AWS_338": "a variable: a month in staging, a year in production",
    "CKV_AWS_339": "its list of supported versions ends before 1.36",
    "CKV_AWS_356": "the resource of a key's policy is the key itself, written as *",
    "CKV2_AWS_38": "signing the zone needs the parent domain's cooperation: decide it with the domain",
    "CKV2_AWS_39": "the names that are asked for are public and few",
    "CKV2_AWS_50": "a variable: one node in staging, two in production; a lost queue is filled again from the database",
    "CKV2_AWS_57": "no function can change these alone: docs/eks.md says how each is changed without an interruption",
}
"""Checks of checkov that are left out, and why."""

_BLOCK = re.compile(
    r'^(resource|data|variable|output|module)\s+"([\w-]+)"(?:\s+"([\w-]+)")?\s*\{(?:\}|(.*?)^\})', re.M | re.S
)
_LOCALS = re.compile(r"^locals\s*\{(.*?)^\}", re.M | re.S)
_SECRET = re.compile(
    r"^\s*(?:password|auth_token|passwords|secret_string|secret_binary|access_key|secret_key)\s*=", re.M
)


def names(root: Path, _files: Sequence[Path]) -> list[str]:
    """What reading all modules without their provider shows."""
    modules = sorted({file.parent for file in (root / FOLDER).rglob("*.tf")})
    return [f"{FOLDER}/{complaint}" for module in modules for complaint in faults(module)]


def policies(root: Path, _files: Sequence[Path]) -> list[str]:
    """What checkov finds, files that it cannot parse included."""
    options = ["--framework", "terraform", "--skip-download", "--compact", "--output", "json"]
    command = [find_program("checkov"), *options, "--skip-check", ",".join(SKIPPED), "--directory", FOLDER]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        return [f"checkov: {done.stderr.strip()}"]
    if "results" not in report:
        return [f"checkov found nothing to look at in {FOLDER}"]
    results = report["results"]
    return [f"{file}: cannot be parsed" for file in results["parsing_errors"]] + [
        f"{FOLDER}{failed['file_path']}: {failed['resource']}: {failed['check_id']} {failed['check_name']}"
        for failed in results["failed_checks"]
    ]


def faults(module: Path) -> Iterator[str]:
    """What reading one module without its provider shows."""
    text = "\n".join(_without_comments(file.read_text()) for file in sorted(module.glob("*.tf")))
    name = module.name
    yield from (f"{name}: {complaint}" for complaint in _names(text))
    if not re.search(r'required_version\s*=\s*">= \d', text):
        yield f"{name}: required_version is missing"
    for source in re.findall(r'source\s*=\s*"([^"]+)"\s*\n(?!\s*version\s*=\s*"~> \d)', text):
        yield f"{name}: {source} has no pinned version"
    for secret in _SECRET.findall(text):
        yield f"{name}: {secret.strip()} would put a secret into the state"
    declared = {variable: body for kind, variable, _, body in _BLOCK.findall(text) if kind == "variable"}
    for file in sorted(module.rglob("*.tfvars")):
        given = set(re.findall(r"^(\w+)\s*=", file.read_text(), re.M))
        needed = {variable for variable, body in declared.items() if not re.search(r"^\s*default\s*=", body, re.M)}
        yield from (f"{name}/{file.name}: {variable} is not declared" for variable in sorted(given - declared.keys()))
        yield from (f"{name}/{file.name}: {variable} is missing" for variable in sorted(needed - given))


def _names(text: str) -> Iterator[str]:
    """Names that are used and not declared, or the other way round."""
    blocks = _BLOCK.findall(text)
    variables = {name: body for kind, name, _, body in blocks if kind == "variable"}
    local_names = {name for body in _LOCALS.findall(text) for name in re.findall(r"^  (\w+)\s*=", body, re.M)}
    resources = {f"{kind}.{name}" for block, kind, name, _ in blocks if block == "resource"}
    data = {f"data.{kind}.{name}" for block, kind, name, _ in blocks if block == "data"}
    for kind, name, _, body in blocks:
        if kind in ("variable", "output") and "description" not in body:
            yield f"{kind} {name} has no description"
        if kind == "variable" and not re.search(r"^\s*type\s*=", body, re.M):
            yield f"variable {name} has no type"
    used_variables = set(re.findall(r"\bvar\.(\w+)", text))
    used_locals = set(re.findall(r"\blocal\.(\w+)", text))
    yield from (f"var.{name} is not declared" for name in sorted(used_variables - variables.keys()))
    yield from (f"variable {name} is not used" for name in sorted(variables.keys() - used_variables))
    yield from (f"local.{name} is not declared" for name in sorted(used_locals - local_names))
    yield from (f"local {name} is not used" for name in sorted(local_names - used_locals))
    used = set(re.findall(r"(?<![\w.\"/])((?:data\.)?aws_\w+\.\w+)", text))
    yield from (f"{name} is not declared" for name in sorted(used - resources - data))
    yield from (f"{name} is not used" for name in sorted(data - used))


def _without_comments(text: str) -> str:
    return re.sub(r"^\s*#.*$", "", text, flags=re.M)


CHECKS = (
    Check("terraform", (f"{FOLDER}/**/*.tf",), names),
    Check("checkov terraform", (f"{FOLDER}/**/*.tf",), policies),
)
