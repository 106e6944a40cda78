"""The configuration of Prometheus is valid, and its rules do what their tests say, by Prometheus' own promtool."""

from collections.abc import Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, run

ROOT = Path(__file__).resolve().parents[2]
_FOLDER = "observability/prometheus"


def check(root: Path = ROOT) -> list[str]:
    """The faults of observability/prometheus, as promtool prints them; empty if there are none.

    Raises:
        ProgramMissingError: promtool is not installed.
    """
    tests = sorted(str(file.relative_to(root)) for file in (root / _FOLDER / "rules" / "tests").glob("*.yml"))
    return run(root, "promtool", "check", "config", f"{_FOLDER}/prometheus.yml") + run(
        root, "promtool", "test", "rules", *tests
    )


def _complaints(root: Path, _files: Sequence[Path]) -> list[str]:
    return check(root)


CHECKS = (Check("prometheus", (f"{_FOLDER}/**/*.yml",), _complaints),)
