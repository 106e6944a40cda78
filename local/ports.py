"""Whether the stack's ports are free, asked before anything starts."""

import errno
import random
import socket
from collections import Counter

from local.errors import StackError
from local.settings import LOOPBACK, Settings


def check_ports(settings: Settings) -> None:
    """Refuse to start on ports that cannot be had.

    Raises:
        StackError: A port is out of range, meant for two things, or taken; names the variable that moves it.
    """
    used = settings.used_ports()
    uses = Counter(port for port, _ in used)
    for port, variable in used:
        if port > 65_535:
            raise StackError(f"port {port} does not exist: set {variable} to a lower one")
        if uses[port] > 1:
            names = " and ".join(sorted({name for other, name in used if other == port}))
            raise StackError(f"port {port} is meant for two things: set {names} apart")
        if not port_is_free(port):
            raise StackError(f"port {port} is in use: set {variable} to another one")


def free_ports(size: int) -> int:
    """First of `size` consecutive free ports, below the range the kernel hands out by itself."""
    while True:
        first = random.randrange(20_000, 30_000)  # noqa: S311 - keeps no secret
        if all(port_is_free(port) for port in range(first, first + size)):
            return first


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # Without it a port whose last connection is still fading away (TIME_WAIT) counts as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
