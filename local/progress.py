"""How far something is: one line that changes on a terminal, a line for every tenth elsewhere."""

import sys
from typing import TextIO

_BAR_LENGTH = 30


class Progress:
    """Counts the steps of one stage after the other.

    Args:
        output: Where it is shown.
    """

    def __init__(self, output: TextIO = sys.stdout) -> None:
        self._output = output
        self._changing = output.isatty()
        self._stage, self._total, self._done = "", 0, 0

    def begin(self, stage: str, total: int) -> None:
        """Begin a stage of so many steps, after the one before is whole."""
        self._stage, self._total, self._done = stage, total, 0
        if total and self._changing:
            self._show("\r")

    def step(self) -> None:
        """One step is done."""
        self._done += 1
        last = self._done == self._total
        if self._changing:
            self._show("\r", "\n" if last else "")
        elif last or self._done * 10 // self._total > (self._done - 1) * 10 // self._total:
            self._show("", "\n")

    def _show(self, before: str, after: str = "") -> None:
        filled = _BAR_LENGTH * self._done // self._total
        bar = f"[{'#' * filled}{'.' * (_BAR_LENGTH - filled)}]"
        print(f"{before}{self._stage:<10} {bar} {self._done}/{self._total}", end=after, file=self._output, flush=True)
