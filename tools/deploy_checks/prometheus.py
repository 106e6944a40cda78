"""The configuration of Prometheus is valid, and its rules do what their tests say, by Prometheus' own promtool."""

import shutil
import subprocess
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent.parent.parent / "observability" / "prometheus"


def check() -> list[str]:
    """The faults of observability/prometheus, as promtool prints them; that it is not installed is one too."""
    promtool = shutil.which("promtool")
    if promtool is None:
        return ["promtool is not installed: apt-get install --no-install-recommends prometheus"]
    tests = sorted(str(file) for file in (_FOLDER / "rules" / "tests").glob("*.yml"))
    faults = []
    for arguments in (["check", "config", str(_FOLDER / "prometheus.yml")], ["test", "rules", *tests]):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            faults.append(f"promtool {' '.join(arguments[:2])}: {done.stdout}{done.stderr}".strip())
    return faults
