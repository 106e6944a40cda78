"""The manifests of Kubernetes as kustomize renders them: their schemas, and what checkov thinks of them.

What the manifests must say for this service is tested in tests/deploy.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, find_program, run

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = "1.36"
"""The version that k8s/aws/environment installs."""

RENDERED = (
    "k8s/cluster",
    "k8s/overlays/staging",
    "k8s/overlays/staging/migration",
    "k8s/overlays/production",
    "k8s/overlays/production/migration",
)
"""Every kustomization that is applied as it is."""

SKIPPED = {
    "CKV_K8S_11": "a limit of CPU stops a process in the middle of its work while the node idles; requests share it",
}
"""Checks of checkov that are left out, and why."""


class RenderingFailedError(Exception):
    """Kustomize refuses a kustomization; the message is what it says."""


def render(folder: Path) -> str:
    """The manifests of a kustomization as one YAML stream.

    Raises:
        ProgramMissingError: kustomize is not installed.
        RenderingFailedError: It refuses the kustomization.
    """
    done = subprocess.run(
        [find_program("kustomize"), "build", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RenderingFailedError(f"{folder.name}: {done.stderr.strip()}")
    return done.stdout


def check(root: Path = ROOT) -> list[str]:
    """What is wrong with the rendered manifests; empty if nothing is.

    Raises:
        ProgramMissingError: kustomize, kubernetes-validate or checkov is not installed.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        for folder in RENDERED:
            file = Path(scratch) / f"{folder.replace('/', '-')}.yaml"
            try:
                file.write_text(render(root / folder))
            except RenderingFailedError as error:
                return [str(error)]
            files.append(str(file))
        # Kinds that come with controllers are unknown to it: the tests look at their fields.
        schema = run(root, "kubernetes-validate", "--strict", "--quiet", "--no-warn", "-k", KUBERNETES, *files)
        options = ["--framework", "kubernetes", "--skip-download", "--quiet", "--compact"]
        return schema + run(root, "checkov", *options, "--skip-check", ",".join(SKIPPED), "--file", *files)


def _complaints(root: Path, _files: Sequence[Path]) -> list[str]:
    return check(root)


CHECKS = (Check("manifests", ("k8s/**/*.yaml",), _complaints),)
