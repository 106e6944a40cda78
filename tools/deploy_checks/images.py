"""Dockerfiles and named images: style, known mistakes, and everything of others named by digest."""

import re
from collections.abc import Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, command, run

# An image of somebody else, as the value of a Dockerfile's ARG or of `image:`.
IMAGE = re.compile(
    r"""^(?P<before>\s*(?:-\ )?(?:ARG\s+\w+_IMAGE=|image:\s*))
    (?P<name>[a-z0-9][\w./-]*(?::[\w.-]+)?)
    (?P<digest>@sha256:[0-9a-f]{64})?$""",
    re.VERBOSE | re.MULTILINE,
)
_PINNED = ("Dockerfile", "compose.yaml", ".github/workflows/*.yml")
_OURS = ("transactions-api", "transactions-envoy")


def is_ours(name: str) -> bool:
    """Whether this repository builds the image, so that its digest is known only to a release."""
    return name in _OURS


def pinned_files(root: Path) -> list[Path]:
    """Files that name images of others."""
    return sorted(path for pattern in _PINNED for path in root.glob(pattern))


def pins(root: Path, files: Sequence[Path]) -> list[str]:
    """A tag may be another image tomorrow, a digest may not."""
    complaints = []
    for file in files:
        text = file.read_text()
        for match in IMAGE.finditer(text):
            if match["digest"] is None and not is_ours(match["name"]):
                line = text.count("\n", 0, match.start("name")) + 1
                complaints.append(f"{file.relative_to(root)}:{line}: {match['name']} has no digest: make pin-images")
    return complaints


def bases(root: Path, files: Sequence[Path]) -> list[str]:
    """Every stage begins from an ARG or another stage, so that all pins are in one form and one place."""
    complaints = []
    for file in files:
        text = file.read_text()
        stages = set(re.findall(r"^FROM\s+\S+\s+AS\s+(\S+)", text, re.MULTILINE))
        for match in re.finditer(r"^FROM\s+(?:--\S+\s+)*(\S+)", text, re.MULTILINE):
            if match[1] not in stages and not re.fullmatch(r"\$\{\w+_IMAGE\}", match[1]):
                complaints.append(f"{file.relative_to(root)}: FROM {match[1]}: name it in an ARG …_IMAGE above")
    return complaints


def checkov(root: Path, files: Sequence[Path]) -> list[str]:
    """Known mistakes in Dockerfiles."""
    named = [argument for file in files for argument in ("--file", str(file.relative_to(root)))]
    # It takes an ARG for an image without tag; `image pins` looks at its value.
    skipped = "CKV_DOCKER_7"
    options = ("--framework", "dockerfile", "--quiet", "--compact", "--skip-download", "--skip-check", skipped)
    return run(root, "checkov", *named, *options)


CHECKS = (
    Check("hadolint", ("Dockerfile",), command("hadolint", "--failure-threshold", "style")),
    Check("image bases", ("Dockerfile",), bases),
    Check("image pins", _PINNED, pins),
    Check("checkov dockerfile", ("Dockerfile",), checkov),
    Check("shellcheck", (".ci/run",), command("shellcheck")),
)
