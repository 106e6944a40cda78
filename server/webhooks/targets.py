"""Where webhooks may lead: to the public internet, never to what is beside the service.

Whoever may choose an address could otherwise have the service call its own database, its metadata
service or its neighbours (server-side request forgery). A name is checked when a webhook is made,
so that a mistake is told at once; what protects is that the worker looks the name up again for
every request, refuses it if any of its addresses is not public, and connects to the very address
it has checked.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Thread
from typing import NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

from server.errors import Overloaded, RateLimited

URL_LENGTH_MAX = 2048
LOOKUP_TIMEOUT_S = 3.0
_LOOKUPS_AT_ONCE = 8
_RUNNING = "a host is still being looked up for you: wait before you name another"
_UNANSWERED = (
    "the host could not be looked up in time: send the same call later, and see whether its name servers answer"
)
_PORT = {"http": 80, "https": 443}
_UNPRIVILEGED_PORTS_FROM = 1024
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]")

# From the registries of special-purpose addresses (IANA; RFC 6890 and its successors), and one
# address that a cloud keeps for itself although it is public (Azure's platform service).
_REFUSED_IPV4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
            *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
            *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
            *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
        ),
    )
)
# Global unicast is the one block; all forms that carry an IPv4 address lie outside of it or are
# listed: mapped, compatible, NAT64, 6to4, Teredo.
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_REFUSED_IPV6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3ffe::/16", "3fff::/20"))
)


class Target(NamedTuple):
    """Where a URL leads.

    Attributes:
        host: Name or address, without brackets.
        path: With the query; what the request asks for.
        authority: Host and port, as the header `Host` says them.
    """

    secure: bool
    host: str
    port: int
    path: str
    authority: str


Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host; OSError if there are none."""


class UnfitUrlError(ValueError):
    """Nothing may be sent to this URL; the message says what it must be like."""


def parse_target(url: str, *, private: bool) -> Target:
    """Take a URL apart.

    Args:
        url: As its owner wrote it.
        private: Whether anything but public addresses and TLS is allowed, as on a developer's machine.

    Raises:
        UnfitUrlError: It is no URL of the kind that is allowed.
    """
    if len(url) > URL_LENGTH_MAX or not _PRINTABLE.fullmatch(url) or "\\" in url:
        raise UnfitUrlError(f"must be a URL of at most {URL_LENGTH_MAX} ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UnfitUrlError("must be a URL such as https://shop.example/hooks") from None
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise UnfitUrlError("must begin with https://")
    if "@" in parts.netloc or "#" in url:
        raise UnfitUrlError("must have neither user name nor fragment")
    authority = parts.netloc if port is None else parts.netloc.rpartition(":")[0]
    if not _HOST.fullmatch(authority):
        raise UnfitUrlError("must name a host in ASCII; write other names in their xn-- form")
    standard = _PORT[parts.scheme]
    port = standard if port is None else port
    if port != standard and port < _UNPRIVILEGED_PORTS_FROM:
        raise UnfitUrlError(f"must have port {standard}, or one from {_UNPRIVILEGED_PORTS_FROM} on")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme == "https", authority.strip("[]").lower(), port, path, parts.netloc)


def is_public(address: str) -> bool:
    """Whether an IP address is one on the public internet."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        return found in _GLOBAL_IPV6 and not any(found in network for network in _REFUSED_IPV6)
    return not any(found in network for network in _REFUSED_IPV4)


class NoRoomError(Exception):
    """So many other names are being looked up that this one was not."""


class Resolver:
    """Looks names up as the system does, on threads of its own: a look-up can take long and cannot be ended.

    A process that ends does not wait for them. Who asks for a name that is being looked up already
    waits for that answer, so a name takes one place at the most; an address takes none.

    Args:
        at_once: How many names are looked up at the same time; the others wait.
        wait_s: How long they do; None: as long as it takes.
    """

    def __init__(self, at_once: int = _LOOKUPS_AT_ONCE, wait_s: float | None = None) -> None:
        self._room = asyncio.Semaphore(at_once)
        self._wait_s = wait_s
        self._running: dict[str, asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> list[str]:
        """The addresses of a host.

        Raises:
            NoRoomError: It had to wait too long for its turn.
            OSError, UnicodeError: It has none.
        """
        with suppress(ValueError):
            return [str(ip_address(host))]
        if host not in self._running:
            try:
                async with asyncio.timeout(self._wait_s):
                    await self._room.acquire()
            except TimeoutError:
                raise NoRoomError from None
            if host in self._running:  # it was the turn of another who asked for it
                self._room.release()
            else:
                self._begin(host, port)
        return await asyncio.shield(self._running[host])

    def _begin(self, host: str, port: int) -> None:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[str]] = loop.create_future()
        # Of a failure that nobody waits for any more nobody need hear.
        found.add_done_callback(lambda done: done.cancelled() or done.exception())

        # Room is given back when the look-up has ended, not when nobody waits for it any more.
        def end(addresses: list[str], error: Exception | None) -> None:
            self._room.release()
            del self._running[host]
            if error is None:
                found.set_result(addresses)
            else:
                found.set_exception(error)

        def look_up() -> None:
            addresses, error = [], None
            try:
                answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                # A zone belongs to a link-local address.
                addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
            except Exception as failed:  # raised where it is awaited
                error = failed
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end, addresses, error)

        try:
            # Not those of an executor, which the interpreter waits for.
            Thread(target=look_up, name="lookup", daemon=True).start()
        except BaseException:
            self._room.release()
            raise
        self._running[host] = found


class Targets:
    """Finds the addresses that may be connected to.

    Args:
        resolve: Looks names up.
        private: Whether addresses that are not public are allowed.
        lookup_timeout_s: How long a caller waits for a look-up.
    """

    def __init__(self, resolve: Resolve, *, private: bool, lookup_timeout_s: float = LOOKUP_TIMEOUT_S) -> None:
        self._resolve = resolve
        self._lookup_timeout_s = lookup_timeout_s
        self._running: dict[UUID, asyncio.Task[list[str]]] = {}
        self.private = private

    async def addresses(self, target: Target) -> list[str]:
        """The addresses of a target, looked up now; none if one of them may not be connected to."""
        try:
            found = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            return []
        return found if self.private or all(map(is_public, found)) else []

    async def can_be_reached(self, url: str, user_id: UUID) -> bool:
        """Whether the host of a URL that was parsed before has addresses that may be connected to, as things are.

        Args:
            url: As its owner wrote it.
            user_id: Its owner, for whom one name at a time is looked up, however long that takes.

        Raises:
            RateLimited: Another name is still being looked up for them.
            Overloaded: It took too long; it goes on.
        """
        if user_id in self._running:
            raise RateLimited(self._lookup_timeout_s, _RUNNING)
        lookup = asyncio.create_task(self.addresses(parse_target(url, private=self.private)))
        self._running[user_id] = lookup
        lookup.add_done_callback(lambda _: self._running.pop(user_id))
        ended, _ = await asyncio.wait({lookup}, timeout=self._lookup_timeout_s)
        if not ended:
            raise Overloaded(self._lookup_timeout_s, _UNANSWERED)
        return bool(lookup.result())
