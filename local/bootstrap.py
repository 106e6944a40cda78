"""Makes .venv and installs locked requirements, `python3 local/bootstrap.py base local`; or .venv-deploy, `deploy`.

It runs before anything is installed, under whatever Python 3 there is, if only to say that it is too old: the standard
library alone, and no syntax newer than f-strings.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

OLDEST = (3, 11)
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# What checks deployment files is apart: it brings a hundred packages that would have to fit beside ours.
VENV = os.path.join(ROOT, ".venv-deploy" if sys.argv[1:] == ["deploy"] else ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
ORIGIN_FILE = os.path.join(VENV, "origin.json")
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def main(*locks: str) -> None:
    """Bring .venv to what these files in requirements/ say; nothing is done where nothing changed."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"Python 3.11 or newer is needed, and {sys.executable} is {VERSION}: add PYTHON=python3.13 or the like"
        )
    if not _venv_is_usable():
        _make_venv()
    missing = [lock for lock in locks if _read(_stamp(lock)) != _read(_lock(lock))]
    if missing:
        _install(*missing)


def _venv_is_usable() -> bool:
    """Whether .venv was finished in this place, by this version of Python, whose interpreter is still there."""
    return _read(ORIGIN_FILE) == _origin() and os.access(VENV_PYTHON, os.X_OK)


def _origin() -> str:
    return json.dumps({"python": VERSION, "folder": VENV})


def _make_venv() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        sys.exit(f"This Python cannot make virtual environments: install the package python{VERSION}-venv")
    print(f"Making {VENV} with Python {VERSION} ...", flush=True)
    shutil.rmtree(VENV, ignore_errors=True)
    # Inside another virtual environment, the interpreter below it.
    python = getattr(sys, "_base_executable", sys.executable)
    subprocess.check_call([python, "-m", "venv", VENV])
    site = subprocess.check_output([VENV_PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    _write(os.path.join(site.decode().strip(), "bank.pth"), ROOT + "\n" + os.path.join(ROOT, "gen") + "\n")
    _write(ORIGIN_FILE, _origin())


def _install(*locks: str) -> None:
    print(f"Installing what requirements/ lists under {', '.join(locks)} ...", flush=True)
    command = [VENV_PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-compile", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    for lock in locks:
        command += ["-r", _lock(lock)]
    # Killed in the middle, pip leaves half a package behind: without its mark .venv is made anew.
    os.remove(ORIGIN_FILE)
    status = subprocess.call(command)
    _write(ORIGIN_FILE, _origin())
    if status != 0:
        sys.exit(
            "Not installed, see above. Either there is no network, or no ready-made package for this machine: "
            "that takes Linux on x86-64 or aarch64 with glibc 2.31 or newer."
        )
    for lock in locks:
        shutil.copyfile(_lock(lock), _stamp(lock))


def _lock(name: str) -> str:
    return os.path.join(ROOT, "requirements", name + ".txt")


def _stamp(name: str) -> str:
    """The lock as it was when it was last installed whole."""
    return os.path.join(VENV, f"installed-{name}.txt")


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
