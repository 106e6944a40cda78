"""Dockerfiles: style, known mistakes, and images that are named by digest.

`python -m tools.deploy_checks.images` fails while any image lacks its digest: no release is built from it.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, command, run

# An image of somebody else, as the value of a Dockerfile's ARG or of `image:`.
IMAGE = re.compile(
    r"""^(?P<before>\s*(?:ARG\s+\w+_IMAGE=|image:\s*))
    (?P<name>[a-z0-9][\w./-]*:[\w.-]+)
    (?P<digest>@sha256:[0-9a-f]{64})?$""",
    re.VERBOSE | re.MULTILINE,
)
PINNED_FILES = ("Dockerfile", "compose.yaml", ".github/workflows/*.yml")
_OURS = ("transactions-api", "transactions-envoy")


def unpinned(root: Path) -> Iterator[str]:
    """Images that are named by a tag alone, which may be another image tomorrow."""
    for file in sorted(path for pattern in PINNED_FILES for path in root.glob(pattern)):
        text = file.read_text()
        for match in IMAGE.finditer(text):
            if match["digest"] is None and not match["name"].startswith(_OURS):
                line = text.count("\n", 0, match.start()) + 1
                yield f"{file.relative_to(root)}:{line}: {match['name']} has no digest: make pin-images"


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
    return run(root, "checkov", *named, "--framework", "dockerfile", "--quiet", "--compact", "--skip-download")


CHECKS = (
    Check("hadolint", ("Dockerfile",), command("hadolint", "--failure-threshold", "style")),
    Check("image bases", ("Dockerfile",), bases),
    Check("checkov dockerfile", ("Dockerfile",), checkov),
    Check("shellcheck", (".ci/run",), command("shellcheck")),
)


def main() -> int:
    complaints = list(unpinned(Path.cwd()))
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
