"""Workflows: their schema, their shell, and what an attacker could make of them."""

import re
from collections.abc import Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, command

_WORKFLOWS = (".github/workflows/*.yml",)
_USES = re.compile(r"^\s*(?:- )?uses:\s*(?P<action>\S+)(?P<comment>.*)$", re.MULTILINE)
_PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
_VERSION = re.compile(r"\s+# v\d+(\.\d+){0,2}")


def pins(root: Path, files: Sequence[Path]) -> list[str]:
    """Actions of others are named by commit, with the version beside it, which is how Dependabot renews both."""
    complaints = []
    for file in files:
        text = file.read_text()
        for match in _USES.finditer(text):
            if match["action"].startswith("./"):
                continue
            if not _PINNED.fullmatch(match["action"]) or not _VERSION.fullmatch(match["comment"]):
                line = text.count("\n", 0, match.start()) + 1
                complaints.append(
                    f"{file.relative_to(root)}:{line}: {match['action']}: write owner/name@COMMIT # vN.N.N"
                )
    return complaints


CHECKS = (
    Check("workflow schema", _WORKFLOWS, command("check-jsonschema", "--builtin-schema", "vendor.github-workflows")),
    Check(
        "dependabot schema",
        (".github/dependabot.yml",),
        command("check-jsonschema", "--builtin-schema", "vendor.dependabot"),
    ),
    Check("actionlint", _WORKFLOWS, command("actionlint")),
    Check("zizmor", _WORKFLOWS, command("zizmor", "--offline", "--persona", "pedantic", "--no-progress", "--quiet")),
    Check("action pins", _WORKFLOWS, pins),
)
