"""Dockerfiles and named images: style, known mistakes, and everything of others named by digest."""

import re
from collections.abc import Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, command, run

# An image as FROM of a Dockerfile or as `image:` of a YAML file names it.
IMAGE = re.compile(
    r"""^(?P<before>\s*(?:-\ )?(?:FROM\s+|image:\s*["']?))
    (?P<name>[a-z0-9][\w./-]*(?::[\w.-]+)?)
    (?P<digest>@sha256:[0-9a-f]{64})?(?=["']?\s*$|["']?\s+(?:AS\s|\#))""",
    re.VERBOSE | re.MULTILINE,
)
_STAGE = re.compile(r"^FROM\s+\S+\s+AS\s+(\S+)", re.MULTILINE)
_PINNED = ("Dockerfile", "compose.yaml", ".github/workflows/*.yml")
_OURS = ("transactions-api", "transactions-envoy")


def unpinned(text: str) -> list[re.Match[str]]:
    """Where a file names an image of others, stages of its own aside, without digest."""
    stages = set(_STAGE.findall(text))
    return [
        match
        for match in IMAGE.finditer(text)
        if match["digest"] is None and match["name"] not in _OURS and match["name"] not in stages
    ]


def pinned_files(root: Path) -> list[Path]:
    """Files that name images of others."""
    return sorted(path for pattern in _PINNED for path in root.glob(pattern))


def pins(root: Path, files: Sequence[Path]) -> list[str]:
    """A tag may be another image tomorrow, a digest may not."""
    complaints = []
    for file in files:
        text = file.read_text()
        for match in unpinned(text):
            line = text.count("\n", 0, match.start("name")) + 1
            complaints.append(f"{file.relative_to(root)}:{line}: {match['name']} has no digest: make pin-images")
    return complaints


def checkov(root: Path, files: Sequence[Path]) -> list[str]:
    """Known mistakes in Dockerfiles."""
    named = [argument for file in files for argument in ("--file", str(file.relative_to(root)))]
    return run(root, "checkov", *named, "--framework", "dockerfile", "--quiet", "--compact", "--skip-download")


CHECKS = (
    Check("hadolint", ("Dockerfile",), command("hadolint", "--failure-threshold", "style")),
    Check("image pins", _PINNED, pins),
    Check("checkov dockerfile", ("Dockerfile",), checkov),
    Check("shellcheck", (".ci/run", ".ci/install"), command("shellcheck")),
)
