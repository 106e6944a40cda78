"""python -m tools.release_notes VERSION: what CHANGELOG.md says of one version."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent.parent / "CHANGELOG.md"


class NoNotesError(Exception):
    """A version is not described; the message says where it should be."""


def notes(changelog: str, version: str) -> str:
    """The text below `## VERSION`, which a date may follow, up to the next version.

    Raises:
        NoNotesError: There is no such heading, or nothing below it.
    """
    section = re.search(rf"^## {re.escape(version)}(?: [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if section is None or not section[1].strip():
        raise NoNotesError(f"CHANGELOG.md says nothing below ## {version}")
    return section[1].strip()


def main(arguments: Sequence[str]) -> int:
    try:
        print(notes(CHANGELOG.read_text(), arguments[0] if arguments else ""))
    except NoNotesError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
