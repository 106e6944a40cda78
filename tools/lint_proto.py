"""Check proto/: style, comments, format, and that no released client breaks.

python -m tools.lint_proto [--against REVISION]

The contract is linted as compiled, so the Google protos it imports need not be in the tree. The
revision to stay compatible with is the newest tag, or the main branch before the first release.
"""

import argparse
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from tools import protos
from tools.generate import DESCRIPTOR_SET, ROOT


def baseline(root: Path) -> str | None:
    """The newest tag, or the main branch; None if neither has a contract yet."""
    tag = _git(root, "describe", "--tags", "--abbrev=0").decode().strip()
    for revision in (tag, "origin/main", "main"):
        if revision and _git(root, "show", f"{revision}:gen/{DESCRIPTOR_SET}"):
            return revision
    return None


def check(root: Path, against: str | None) -> list[str]:
    """Everything that is wrong with the contract, as buf's own lines.

    Args:
        root: A checkout with proto/ and buf.yaml.
        against: The revision whose clients must go on working, if any.
    """
    try:
        image = protos.descriptor_set(root / "proto")
    except protos.CompileError as error:
        return [str(error)]
    complaints = _buf(root, "format", "proto", "--diff", "--exit-code")
    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled.binpb"
        compiled.write_bytes(image)
        complaints += _buf(root, "lint", str(compiled))
        if against:
            released = Path(folder) / "released.binpb"
            released.write_bytes(_git(root, "show", f"{against}:gen/{DESCRIPTOR_SET}"))
            if not released.stat().st_size:
                return [*complaints, f"revision {against} has no gen/{DESCRIPTOR_SET} to compare with"]
            complaints += _buf(root, "breaking", str(compiled), "--against", str(released))
    return complaints


def _buf(root: Path, *arguments: str) -> list[str]:
    command = [f"{sysconfig.get_path('scripts')}/buf", *arguments]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return []
    return [f"buf {arguments[0]}:", *(result.stdout + result.stderr).splitlines()]


def _git(root: Path, *arguments: str) -> bytes:
    """What git prints; nothing where there is no git, no history or no such file."""
    try:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.lint_proto", description="Check the contract in proto/.")
    parser.add_argument("--against", metavar="REVISION", help="released revision, default: newest tag, else main")
    against = parser.parse_args().against or baseline(ROOT)
    complaints = check(ROOT, against)
    for complaint in complaints:
        print(complaint)
    if not complaints:
        print(f"proto/ is in order; {f'compatible with {against}' if against else 'nothing released yet'}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
