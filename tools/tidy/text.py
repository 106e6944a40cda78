"""What may stand in no text file at all."""

import re
from pathlib import Path

from tools.tidy.sources import text_files

# By shape, so that no list of hosts has to be kept: an archive, a package index, or a setting that names one.
DOWNLOAD_ADDRESSES = re.compile(
    r"""
    https?://\S+\.(?:whl|tar\.gz|tgz|tar\.bz2|tar\.xz|zip|crate|gem|jar|deb|rpm)\b   # an archive
    | https?://\S+/simple(?:/|\b)                                                  # a Python index
    | (?:index|registry|find[-_]links|proxy|mirror)(?:[-_]url)?["']?[\s=:]+["']?https?://
    | "resolved"\s*:\s*"https?://                                                  # an npm lock
    | ^[ \t]*deb(?:-src)?\s+(?:\[[^]]*\]\s+)?https?://                                 # an apt source
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
MARKERS = re.compile(r"\b(?:TO[D]O|FIXM[E])\b|(?:#|//|--|\*)[ ]*XX[X]\b")


def download_addresses(root: Path) -> list[str]:
    """Where packages come from is the business of the machine that installs them."""
    return _found(root, DOWNLOAD_ADDRESSES, "address of a package download")


def leftover_markers(root: Path) -> list[str]:
    """Work that is left is an issue, not a comment."""
    return _found(root, MARKERS, "leftover marker")


def _found(root: Path, pattern: re.Pattern[str], complaint: str) -> list[str]:
    return [
        f"{file}:{text.count(chr(10), 0, match.start()) + 1}: {complaint}: {match[0].strip()}"
        for file, text in text_files(root)
        for match in pattern.finditer(text)
    ]
