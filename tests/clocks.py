"""Clocks that are wrong: one put by hand, and that of a process by Debian's libfaketime, which .ci/run installs.

And one that tells how long the machine was busy with something else.
"""

import asyncio
from pathlib import Path
from time import monotonic
from typing import Self


class Clock:
    """A clock that is put by hand."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class WrongClock:
    """A clock that can be set while processes look at it.

    Args:
        file: Where it is kept.
        offset: How far it is from the true time, like `+5m` or `-1h`.
    """

    def __init__(self, file: Path, offset: str) -> None:
        self._file = file
        self.set(offset)

    def set(self, offset: str) -> None:
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(f"{offset}\n")
        unfinished.replace(self._file)

    @property
    def environment(self) -> dict[str, str]:
        """Of a process that goes by this clock; intervals it measures as they are."""
        libraries = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        assert libraries, "the clock tests need Debian's libfaketime"
        return {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


class Stalls:
    """How long the machine stood still while the context was open: a task that is woken too late tells.

    A bound on other processes may be so much later. It is of no use where what is timed runs in the test's own loop,
    as a loop that is held up by it would count too.
    """

    _TICK_S = 0.01
    _LATE_S = 0.05

    def __init__(self) -> None:
        self.total_s = 0.0

    async def __aenter__(self) -> Self:
        self._watch = asyncio.create_task(self._count())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._watch.cancel()
        await asyncio.wait({self._watch})

    async def _count(self) -> None:
        while True:
            before = monotonic()
            await asyncio.sleep(self._TICK_S)
            self.total_s += max(0.0, monotonic() - before - self._LATE_S)
