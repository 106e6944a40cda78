"""Child processes that cannot outlive the launcher, even when it dies by SIGKILL."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from local.errors import StackError
from local.settings import ROOT
from migrate.command import bound_to_parent, run_to_end

TAG = "BANK_STACK"
"""Variable that marks every child with the state folder of its stack."""

_LOG_LINES_SHOWN = 15
_PROBE_TIMEOUT_S = 2.0
_PROBE_INTERVAL_S = 0.05


@dataclass(frozen=True)
class Service:
    """A process that runs as long as the stack does."""

    name: str
    command: Sequence[str]
    ready: Callable[[], Awaitable[bool]]
    environment: Mapping[str, str] = field(repr=False)
    stdin: bytes | None = field(default=None, repr=False)
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    restarts: bool = False
    """Started again when it dies; the death of any other service ends the stack."""


class Child:
    """A started service."""

    def __init__(self, service: Service, process: asyncio.subprocess.Process, log: Path) -> None:
        self.service = service
        self.process = process
        self.log = log

    async def wait_ready(self) -> None:
        """Wait until the service answers.

        Raises:
            StackError: It died before.
        """
        while self.process.returncode is None:
            with suppress(TimeoutError):
                # The probe may be greeted by a stranger on the same port: only a living child counts.
                if await asyncio.wait_for(self.service.ready(), _PROBE_TIMEOUT_S) and self.process.returncode is None:
                    return
            await asyncio.sleep(_PROBE_INTERVAL_S)
        raise self.death()

    async def stop(self) -> None:
        self.signal(self.service.stop_signal)
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), self.service.grace_s)
        self.signal(signal.SIGKILL)
        await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Signal the child alone, or with SIGKILL its whole process group."""
        with suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.process.pid, number)
            elif self.process.returncode is None:
                os.kill(self.process.pid, number)

    def death(self) -> StackError:
        """Say how the service ended, with the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines()[-_LOG_LINES_SHOWN:]
        shown = "".join(f"\n  {line}" for line in lines)
        return StackError(f"{self.service.name} {_ending(self.process.returncode)}; {self.log} ends with:{shown}")


async def start_service(service: Service, logs_dir: Path) -> Child:
    """Start a service in a session of its own, its output appended to `logs_dir`/NAME.log."""
    path = logs_dir / f"{service.name}.log"
    with path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *bound_to_parent(service.command, service.stop_signal),
            stdin=asyncio.subprocess.DEVNULL if service.stdin is None else asyncio.subprocess.PIPE,
            stdout=log,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=service.environment,
            start_new_session=True,
        )
    if process.stdin is not None and service.stdin is not None:
        process.stdin.write(service.stdin)
        process.stdin.close()
    return Child(service, process, path)


async def run_command(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a short command to its end; a cancelled caller kills it.

    Returns:
        What it printed.

    Raises:
        StackError: It failed; its output is in the message.
    """
    status, printed = await run_to_end(command, environment, ROOT)
    if status != 0:
        raise StackError(f"{Path(command[0]).name} {_ending(status)}:\n{printed}")
    return printed


def rotate_logs(logs_dir: Path) -> None:
    """Keep the logs of the last run beside those of the one that begins."""
    logs_dir.mkdir(parents=True, exist_ok=True)
    for log in logs_dir.glob("*.log"):
        log.replace(log.with_suffix(".log.1"))


def sweep(state_dir: Path, grace_s: float = 5.0) -> int:
    """End every process left over from a stack with this state folder.

    Returns:
        How many were found.
    """
    found = _leftovers(state_dir)
    # Asked first are only those at the top: a postmaster or a server ends its own children in order.
    for pid in found.keys() - {pid for pid, parent in found.items() if parent in found}:
        _kill(pid, signal.SIGINT if _executable(pid) == "postgres" else signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    left = found
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = _leftovers(state_dir)
    while left:
        for pid in left:
            _kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        left = _leftovers(state_dir)
    return len(found)


def _leftovers(state_dir: Path) -> dict[int, int]:
    """Pids, with their parents' pids, of living processes that belong to the stack of this state folder."""
    tag = f"{TAG}={state_dir}".encode()
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            if state in "ZX":
                continue  # a dead process that nobody has reaped yet
            tagged = tag in (entry / "environ").read_bytes().split(b"\0")
            if tagged or _serves_from(entry, state_dir):
                found[int(entry.name)] = int(parent)
    return found


def _serves_from(entry: Path, state_dir: Path) -> bool:
    """Whether a database process works below the state folder: these overwrite the tag in their environment."""
    # Debian's redis-server is a link to redis-check-rdb.
    if _executable(int(entry.name)) not in {"postgres", "valkey-server", "redis-server", "redis-check-rdb"}:
        return False
    return Path(os.readlink(entry / "cwd")).is_relative_to(state_dir)


def _executable(pid: int) -> str:
    try:
        return Path(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")).name
    except OSError:
        return ""


def _kill(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"
