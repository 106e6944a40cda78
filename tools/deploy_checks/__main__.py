"""python -m tools.deploy_checks [NAME ...]: run all checks, or those named, and print a table."""

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from tools.deploy_checks import CHECKS
from tools.deploy_checks.check import Check, ProgramMissingError


def report(checks: Iterable[Check], root: Path) -> int:
    """Print one line for each check, then every complaint.

    Returns:
        How many checks failed; one that found no file or no program failed too.
    """
    failed: list[tuple[Check, list[str]]] = []
    for check in checks:
        begin = time.monotonic()
        files = check.matches(root)
        complaints = _complaints(check, root, files)
        if complaints:
            failed.append((check, complaints))
        seconds = time.monotonic() - begin
        print(f"{check.name:24} {len(files):4} files {seconds:6.1f} s  {'FAILED' if complaints else 'ok'}", flush=True)
    for check, complaints in failed:
        print(f"\n{check.name}:")
        for complaint in complaints:
            print(f"  {complaint}")
    return len(failed)


def _complaints(check: Check, root: Path, files: list[Path]) -> list[str]:
    if not files:
        return [f"no file matches {', '.join(check.files)}"]
    try:
        return check.complaints(root, files)
    except ProgramMissingError as error:
        return [str(error)]


def main() -> int:
    names = [check.name for check in CHECKS]
    parser = argparse.ArgumentParser(prog="python -m tools.deploy_checks", description="Check deployment files.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names)}")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[2], help="another checkout")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(names)):
        parser.error(f"there is no check {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [check for check in CHECKS if not arguments.names or check.name in arguments.names]
    return 1 if report(chosen, arguments.root.resolve()) else 0


if __name__ == "__main__":
    sys.exit(main())
