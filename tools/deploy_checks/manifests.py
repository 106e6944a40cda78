"""The manifests of Kubernetes as kustomize renders them: their schemas, and what checkov thinks of them.

What the manifests must say for this service is tested in tests/deploy.
"""

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.deploy_checks.check import Check, find_program, run

KUBERNETES = "1.36"
"""The version that k8s/aws/environment installs."""

_FILES = "k8s/**/*.yaml"
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


def schemas(root: Path, _files: Sequence[Path]) -> list[str]:
    """What the schemas of Kubernetes say; kinds that come with controllers are unknown to them."""
    options = ["--strict", "--quiet", "--no-warn", "--kubernetes-version", KUBERNETES]
    return _of_rendered(root, lambda files: run(root, "kubernetes-validate", *options, *files))


def policies(root: Path, _files: Sequence[Path]) -> list[str]:
    """What checkov finds."""
    options = ["--framework", "kubernetes", "--skip-download", "--quiet", "--compact"]
    skipped = ["--skip-check", ",".join(SKIPPED)]
    return _of_rendered(root, lambda files: run(root, "checkov", *options, *skipped, "--file", *files))


def _of_rendered(root: Path, complaints: Callable[[list[str]], list[str]]) -> list[str]:
    """The complaints about the files of all kustomizations; those of kustomize itself if it has any."""
    with tempfile.TemporaryDirectory() as scratch:
        files = []
        for folder in RENDERED:
            file = Path(scratch) / f"{folder.replace('/', '-')}.yaml"
            try:
                file.write_text(render(root / folder))
            except RenderingFailedError as error:
                return [str(error)]
            files.append(str(file))
        return complaints(files)


CHECKS = (
    Check("manifest schemas", (_FILES,), schemas),
    Check("checkov kubernetes", (_FILES,), policies),
)
