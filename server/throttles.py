"""How often strangers may try: passwords of one name, and what one address asks for."""

import ipaddress
from collections.abc import Mapping
from enum import StrEnum
from uuid import UUID

from bankdb import throttles as throttle_queries

from server.database import Connection, Database
from server.errors import LoginThrottled, RateLimited
from server.tokens import digest

FAILURES_FREE = 9
"""After one failure more, in a row, the name is throttled."""
FAILURES_MAX = 100
"""From so many failures on a name is left alone for FORGET_S: never more guesses a day than these."""
DELAY_MAX_S = 15 * 60
FORGET_S = 24 * 3600
"""A name that nobody failed on for so long begins anew."""
_HOUR_S = 3600.0
_IPV6_NETWORK_BITS = 64


class Action(StrEnum):
    """What an address or a user has an allowance of, as stored in rate_limits.action."""

    SIGN_IN = "SIGN_IN"
    """Sign-ins that fail; one that succeeds is given back."""
    SIGN_UP = "SIGN_UP"
    MAIL = "MAIL"
    """Mails asked for: verifications and resets of passwords."""
    PAYEE = "PAYEE"
    """Payees looked up, by the user who asks."""


class RateLimits:
    """Allowances by address or user, counted in the database and so together by all processes.

    An allowance of n an hour lets n through at once, and then one every 3600 / n seconds.

    Args:
        database: Where they are counted.
        allowances: How many an hour; 0 or absent: any number.
    """

    def __init__(self, database: Database, allowances: Mapping[Action, int]) -> None:
        self._database = database
        self._allowances = allowances

    async def take(self, action: Action, address: str) -> None:
        """Use up one of what the address is allowed; nothing is counted for the empty address.

        Raises:
            RateLimited: The allowance is used up.
        """
        async with self._database.connection() as connection:
            delay_s = await self.try_take(connection, action, address)
        if delay_s:
            raise RateLimited(delay_s)

    async def take_of_user(self, action: Action, user_id: UUID) -> None:
        """Use up one of what the user is allowed.

        Raises:
            RateLimited: The allowance is used up.
        """
        async with self._database.connection() as connection:
            delay_s = await self._try_take(connection, action, str(user_id))
        if delay_s:
            raise RateLimited(delay_s)

    async def try_take(self, connection: Connection, action: Action, address: str) -> float:
        """As `take`, in the caller's transaction; how many seconds too early it was, 0 if it was not."""
        return await self._try_take(connection, action, network_of(address))

    async def _try_take(self, connection: Connection, action: Action, subject: str) -> float:
        allowance = self._allowances.get(action, 0)
        if not subject or not allowance:
            return 0.0
        interval_s = _HOUR_S / allowance
        window_s = _HOUR_S - interval_s
        while True:
            taken = await throttle_queries.take_rate_limit(
                connection, action=action, subject=subject, interval_s=interval_s, window_s=window_s
            )
            if taken is not None:
                return 0.0
            delay_s = await throttle_queries.get_rate_limit_delay(
                connection, action=action, subject=subject, window_s=window_s
            )
            if delay_s:
                return delay_s
            # Nothing was ever taken, or it was so long ago that the row has been cleared away.
            await throttle_queries.add_rate_limit(connection, action=action, subject=subject)

    async def give_back(self, connection: Connection, action: Action, address: str) -> None:
        """Undo one take."""
        subject, allowance = network_of(address), self._allowances.get(action, 0)
        if subject and allowance:
            await throttle_queries.give_back_rate_limit(
                connection, action=action, subject=subject, interval_s=_HOUR_S / allowance
            )


class SignInThrottle:
    """Makes those who guess passwords wait, by the name they try and by their address.

    An attempt is counted as failed before the password is checked, so that any number of parallel
    guesses in any number of processes are all counted.

    Args:
        rate_limits: Of addresses.
    """

    def __init__(self, rate_limits: RateLimits) -> None:
        self._rate_limits = rate_limits

    async def count(self, connection: Connection, username: str, address: str) -> int:
        """Count an attempt, in a transaction that ends when this raises; its number of those in a row.

        Args:
            connection: In a transaction.
            username: Canonical; empty for what cannot be a name, which is counted by address only.
            address: Of the client; empty: counted by name only.

        Raises:
            LoginThrottled: The address has used up its allowance, or the name must wait.
        """
        delay_s = await self._rate_limits.try_take(connection, Action.SIGN_IN, address)
        if delay_s:
            raise LoginThrottled(delay_s)
        if not username:
            return 0
        await throttle_queries.add_sign_in_throttle(connection, name_digest=digest(username))
        attempts = await throttle_queries.count_sign_in_attempt(
            connection, name_digest=digest(username), forget_s=FORGET_S
        )
        if attempts is None:
            raise LoginThrottled(
                await throttle_queries.get_sign_in_delay(connection, name_digest=digest(username)) or 0.0
            )
        if attempts > FAILURES_FREE:
            await throttle_queries.set_sign_in_retry_time(
                connection, name_digest=digest(username), delay_s=delay_after_s(attempts)
            )
        return attempts

    async def clear(self, connection: Connection, username: str, address: str) -> None:
        """The password was right: nobody waits any more for this name, and the address has lost nothing."""
        await self._rate_limits.give_back(connection, Action.SIGN_IN, address)
        await forget_failures(connection, username)

    async def undo(self, connection: Connection, username: str, address: str) -> None:
        """The password was not checked: as if the attempt had not been counted."""
        await self._rate_limits.give_back(connection, Action.SIGN_IN, address)
        await throttle_queries.undo_sign_in_attempt(connection, name_digest=digest(username))


async def forget_failures(connection: Connection, username: str) -> None:
    """Let a name be tried again, as if nobody had failed on it."""
    await throttle_queries.delete_sign_in_throttle(connection, name_digest=digest(username))


def delay_after_s(failures: int) -> float:
    """How long a name waits after so many failures in a row, in seconds."""
    if failures <= FAILURES_FREE:
        return 0.0
    if failures >= FAILURES_MAX:
        return float(FORGET_S)
    return float(min(2 ** (failures - FAILURES_FREE - 1), DELAY_MAX_S))


def network_of(address: str) -> str:
    """What limits are counted by: an IPv4 address, or the /64 that one IPv6 customer has; empty for no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, _IPV6_NETWORK_BITS), strict=False))
        parsed = parsed.ipv4_mapped
    return str(parsed)
