"""What a check of deployment files is, and how it runs a program."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

VENV_PROGRAMS = Path(__file__).resolve().parents[2] / ".venv-deploy" / "bin"

# What to type when a program is missing; `make deploy-tools` brings every other one.
_INSTALL = {
    "actionlint": "go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12",
    "kustomize": "go install sigs.k8s.io/kustomize/kustomize/v5@v5.8.0",
    "promtool": "apt-get install prometheus",
}


class ProgramMissingError(Exception):
    """A check cannot run; the message says what to install."""


@dataclass(frozen=True)
class Check:
    """One program's opinion of one kind of file.

    Attributes:
        name: Shown in the table.
        files: Patterns below the root of a checkout; no match at all is a failure, so a file that was
            moved does not go unchecked.
        complaints: Given the root and the files that match, what is wrong with them; empty if nothing is.
    """

    name: str
    files: tuple[str, ...]
    complaints: Callable[[Path, Sequence[Path]], list[str]]

    def matches(self, root: Path) -> list[Path]:
        return sorted({path for pattern in self.files for path in root.glob(pattern) if path.is_file()})


def command(program: str, *arguments: str) -> Callable[[Path, Sequence[Path]], list[str]]:
    """The complaints of a program that takes files as its last arguments and fails when it finds something."""

    def complaints(root: Path, files: Sequence[Path]) -> list[str]:
        return run(root, program, *arguments, *(str(file.relative_to(root)) for file in files))

    return complaints


def run(root: Path, program: str, *arguments: str, **variables: str) -> list[str]:
    """Run a program in `root`, with these variables added to its environment.

    Returns:
        Nothing if its exit status is 0, else what it printed.

    Raises:
        ProgramMissingError: It is not installed.
    """
    # Some call others: actionlint has the shell of workflows looked at by shellcheck.
    environment = {**os.environ, "NO_COLOR": "1", "PATH": _search_path(), **variables}
    done = subprocess.run(
        [find_program(program), *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return []
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines or [f"{program} ended with status {done.returncode} and said nothing"]


def find_program(name: str) -> str:
    """Path of a program; those of .venv-deploy come first.

    Raises:
        ProgramMissingError: It is nowhere.
    """
    found = shutil.which(name, path=_search_path())
    if found is None:
        raise ProgramMissingError(f"{name} is missing: {_INSTALL.get(name, 'make deploy-tools')}")
    return found


def _search_path() -> str:
    go_programs = Path(os.environ.get("GOPATH", Path.home() / "go")) / "bin"
    return os.pathsep.join([str(VENV_PROGRAMS), os.environ.get("PATH", ""), str(go_programs)])
