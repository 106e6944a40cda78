"""Starts services in order, watches them and stops them in reverse."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from local.errors import StackError
from local.process import Child, Service, start_service

_RESTART_DELAY_S = 0.5
_START_TIMEOUT_S = 60.0


class Supervisor:
    """Keeps the services of one stack alive until it is stopped or one of them dies.

    Attributes:
        failure: Set when a service died that is not restarted.
    """

    def __init__(self, logs_dir: Path, say: Callable[[str], None]) -> None:
        self.failure: asyncio.Future[StackError] = asyncio.get_running_loop().create_future()
        self._logs_dir = logs_dir
        self._say = say
        self._groups: list[list[Child]] = []
        self._watchers: list[asyncio.Task[None]] = []

    async def start(self, *services: Service, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Start services side by side and wait until each is ready.

        Raises:
            StackError: One of them died, or is not ready in time.
        """
        group: list[Child] = []
        self._groups.append(group)
        ready = []
        for service in services:
            child = await start_service(service, self._logs_dir)
            group.append(child)
            ready.append(asyncio.create_task(child.wait_ready()))
            self._watchers.append(asyncio.create_task(self._watch(group, child, ready[-1])))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*ready)
        except TimeoutError:
            late = [child for child, task in zip(group, ready, strict=True) if task.cancelled() or not task.done()]
            names = ", ".join(child.service.name for child in late)
            raise StackError(f"{names}: not ready after {timeout_s:.0f} s; see {late[0].log}") from None
        finally:
            for task in ready:
                task.cancel()

    async def stop(self) -> None:
        """Stop everything in reverse order of the start; a child that does not end in its grace is killed."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for group in reversed(self._groups):
            await asyncio.gather(*(child.stop() for child in group))

    def kill(self) -> None:
        for group in self._groups:
            for child in group:
                child.signal(signal.SIGKILL)

    async def _watch(self, group: list[Child], child: Child, ready: asyncio.Task[None]) -> None:
        while True:
            await child.process.wait()
            if not child.service.restarts or not ready.done():
                break
            self._say(f"{child.service.name} died and is started again; see {child.log}")
            await asyncio.sleep(_RESTART_DELAY_S)
            restarted = await start_service(child.service, self._logs_dir)
            group[group.index(child)] = restarted
            child = restarted
        if not self.failure.done():
            self.failure.set_result(child.death())
