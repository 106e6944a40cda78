"""One launcher for each state folder; the kernel frees the lock however the launcher ends."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.errors import StackError

LOCK_NAME = "lock"


@contextmanager
def hold_lock(state_dir: Path, note: str) -> Iterator[None]:
    """Hold the state folder; `note` tells whoever comes second where the first one is.

    Raises:
        StackError: Another launcher holds it.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    with (state_dir / LOCK_NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise StackError(f"the stack in {state_dir} is already running: {file.read()}") from None
        file.truncate(0)
        file.write(note)
        file.flush()
        yield
