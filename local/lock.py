"""One launcher for each state folder; the kernel frees the lock however the launcher ends."""

import fcntl
import os
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


def share_lock(state_dir: Path, note: str) -> None:
    """Keep launchers of the whole stack away from the state folder for as long as this process lives.

    Any number of processes may share it, each one part of the stack; it outlives a change of program.

    Raises:
        StackError: A launcher holds the folder.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(state_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 1000).decode()
        raise StackError(f"the stack in {state_dir} is already running: {holder}") from None
    os.truncate(descriptor, 0)
    os.write(descriptor, note.encode())
    os.set_inheritable(descriptor, True)
