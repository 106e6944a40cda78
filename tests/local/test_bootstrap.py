import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local.settings import ROOT

WITHOUT_ENSUREPIP = (
    "import sys, runpy; sys.modules['ensurepip'] = None; runpy.run_path(sys.argv[1], run_name='__main__')"
)
TOO_OLD = "import sys, runpy; sys.version_info = (3, 9, 1); runpy.run_path(sys.argv[1], run_name='__main__')"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the bootstrap needs; its locks ask for nothing."""
    folder = tmp_path / "checkout"
    (folder / "local").mkdir(parents=True)
    (folder / "gen").mkdir()
    (folder / "requirements").mkdir()
    shutil.copy(ROOT / "local" / "bootstrap.py", folder / "local")
    (folder / "local" / "here.py").touch()
    (folder / "gen" / "there.py").touch()
    for lock in ("base", "local"):
        (folder / "requirements" / f"{lock}.txt").write_text("# nothing\n")
    return folder


def bootstrap(folder: Path, *options: str) -> tuple[int, str]:
    command = [sys.executable, *options, str(folder / "local" / "bootstrap.py"), "base", "local"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # pip itself remarks that a lock is empty.
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "appears to be empty" not in line]
    return done.returncode, "\n".join(lines)


class TestBootstrap:
    def test_old_python_is_told_in_one_line(self, checkout: Path) -> None:
        status, printed = bootstrap(checkout, "-c", TOO_OLD)
        assert status == 1
        assert (
            printed == f"Python 3.11 or newer is needed, and {sys.executable} is 3.9: add PYTHON=python3.13 or the like"
        )
        assert not (checkout / ".venv").exists()

    def test_missing_venv_names_the_package(self, checkout: Path) -> None:
        status, printed = bootstrap(checkout, "-c", WITHOUT_ENSUREPIP)
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        assert status == 1
        assert printed == f"This Python cannot make virtual environments: install the package {package}"
        assert not (checkout / ".venv").exists()

    def test_nothing_is_done_twice_and_changes_are_noticed(self, checkout: Path) -> None:
        status, printed = bootstrap(checkout)
        assert (status, [line.split()[0] for line in printed.splitlines()]) == (0, ["Making", "Installing"])
        importing = [str(checkout / ".venv" / "bin" / "python"), "-c", "import local.here, there"]
        subprocess.run(importing, check=True, cwd="/")
        assert bootstrap(checkout) == (0, "")

        (checkout / "requirements" / "local.txt").write_text("# another lock\n")
        assert bootstrap(checkout) == (0, "Installing what requirements/ lists under local ...")
        assert bootstrap(checkout) == (0, "")

        (checkout / "requirements" / "local.txt").write_text(
            f"thing @ file:///nowhere/thing-1-py3-none-any.whl --hash=sha256:{64 * '0'}\n"
        )
        status, printed = bootstrap(checkout)
        assert status == 1
        assert printed.splitlines()[-1].startswith("Not installed, see above.")

    def test_moved_checkout_is_made_anew(self, checkout: Path) -> None:
        assert bootstrap(checkout)[0] == 0
        moved = checkout.rename(checkout.with_name("moved"))
        status, printed = bootstrap(moved)
        assert (status, printed.splitlines()[0].split()[:2]) == (0, ["Making", str(moved / ".venv")])

    def test_programs_that_check_deployment_are_installed_apart(self, checkout: Path) -> None:
        (checkout / "requirements" / "deploy.txt").write_text("# nothing\n")
        command = [sys.executable, str(checkout / "local" / "bootstrap.py"), "deploy"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[0].split()[:2] == ["Making", str(checkout / ".venv-deploy")]
        assert (checkout / ".venv-deploy" / "installed-deploy.txt").exists()
        assert not (checkout / ".venv").exists()
