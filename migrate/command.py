"""Short commands that cannot outlive whoever runs them."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def bound_to_parent(command: Sequence[str], number: signal.Signals) -> list[str]:
    """Have the kernel signal the child when the thread that starts it ends: never start one from a thread pool."""
    return ["setpriv", "--pdeathsig", number.name.removeprefix("SIG"), "--", *command]


async def run_to_end(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
) -> tuple[int, str]:
    """Run a command to its end; a caller that is cancelled or killed ends it.

    Returns:
        Its status, negative if a signal ended it, and what it printed.
    """
    process = await asyncio.create_subprocess_exec(
        *bound_to_parent(command, signal.SIGKILL),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    assert process.returncode is not None  # its output has ended and so has it
    return process.returncode, output.decode(errors="replace").strip()
