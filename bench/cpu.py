"""CPU time of a process tree, from /proc."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def find_below(pid: int, *words: str) -> int:
    """The topmost descendant of a process whose command line holds these words one after the other."""
    wanted = b"\0".join(word.encode() for word in words)
    for child in sorted(_descendants(pid, _stats()) - {pid}):
        if wanted in Path(f"/proc/{child}/cmdline").read_bytes():
            return child
    raise LookupError(f"no process below {pid} was started with {words}")


def tree_seconds(pid: int) -> float:
    """CPU seconds of a process and all its descendants so far.

    Children that have exited are in the children's time of whoever waited for them, so pgbench's
    backends count in the postmaster's.
    """
    stats = _stats()
    return sum(stats[each][1] for each in _descendants(pid, stats) if each in stats) / _TICKS


def _stats() -> dict[int, tuple[int, int]]:
    """Parent and ticks of every process."""
    stats = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue  # gone meanwhile
        fields = text.rpartition(")")[2].split()
        stats[int(text.split(" ", 1)[0])] = (int(fields[1]), sum(int(field) for field in fields[11:15]))
    return stats


def _descendants(pid: int, stats: dict[int, tuple[int, int]]) -> set[int]:
    wanted = {pid}
    while True:
        more = {each for each, (parent, _) in stats.items() if parent in wanted} - wanted
        if not more:
            return wanted
        wanted |= more
