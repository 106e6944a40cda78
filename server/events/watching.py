"""A watch: first what happened since a position, from the database, then what happens, from the hub."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from server.caller import Caller
from server.database import as_bank_error
from server.events.hub import EndReason, EventHub, Subscription
from server.events.operations import EventReader, Fact, Interest
from server.metrics import EVENTS_TOLD

HEARTBEAT_S = 15.0
"""A watch is never silent for longer: whoever stands in between must not take it for dead."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Everything up to `position` was told, and nothing happened since."""

    position: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Everything up to `position` was told, and there will be no more."""

    position: int
    reason: EndReason


Told = Fact | Silence | Ended


@dataclass(frozen=True, slots=True)
class WatchFilter:
    """What a watch is asked for.

    Attributes:
        after: Position to begin after; None: after the last one.
    """

    after: int | None
    types: frozenset[str]


class Watches:
    """Opens watches.

    Args:
        events: Reads the past.
        hub: Hands over what happens.
        clock: Seconds since 1970.
        heartbeat_s: How long a watch is silent at most.
    """

    def __init__(
        self, events: EventReader, hub: EventHub, clock: Callable[[], float], heartbeat_s: float = HEARTBEAT_S
    ) -> None:
        self.events = events
        self._hub = hub
        self._clock = clock
        self._heartbeat_s = heartbeat_s

    def stop(self) -> None:
        """End all watches, also those to come."""
        self._hub.stop()

    async def close(self) -> None:
        """Read no more; after the last watch has ended."""
        await self._hub.close()

    async def watch(self, wanted: WatchFilter, caller: Caller, expire_time: datetime) -> AsyncGenerator[Told, None]:
        """Tell every event once, in order; the first to come is Silence, the last is Ended.

        Nothing is read ahead of a reader who is slow, but for what one look at the feed finds.

        Args:
            wanted: Where to begin, and which types.
            caller: Who watches.
            expire_time: When the access token expires.

        Raises:
            InvalidRequest: The cursor is beyond the end.
            RateLimited: The user has too many watches.
            Overloaded: There are too many watches.
            DatabaseUnavailable: The feed cannot be read.
        """
        position = await self.events.begin(wanted.after)
        interest = Interest.of(caller, wanted.types)
        async with self._hub.subscribe(caller, interest) as subscription:
            yield Silence(position)
            told_at = monotonic()
            while (reason := self._end(subscription, expire_time)) is None:
                if position < subscription.since:
                    try:
                        stretch = await self.events.catch_up(interest, position)
                    except Exception as error:
                        if as_bank_error(error) is None:
                            raise
                        reason = EndReason.DATABASE_UNAVAILABLE
                        break
                    for fact in stretch.facts:
                        if self._end(subscription, expire_time):
                            break
                        position = fact.event.position
                        EVENTS_TOLD.inc()
                        yield fact
                        told_at = monotonic()
                    else:
                        position = stretch.reached
                        # Of a long past there may be nothing to tell; who comes again shall begin here.
                        if monotonic() - told_at >= self._heartbeat_s:
                            yield Silence(position)
                            told_at = monotonic()
                    continue
                found = await subscription.next(min(self._heartbeat_s, self._seconds_until(expire_time)))
                if found is not None and found.event.position > position:
                    position = found.event.position
                    EVENTS_TOLD.inc()
                    yield found
                elif subscription.behind:
                    subscription.resume()
                elif found is None and self._end(subscription, expire_time) is None:
                    position = subscription.told_up_to(position)
                    yield Silence(position)
            assert reason is not None  # what ends the loop
            yield Ended(position, reason)

    def _end(self, subscription: Subscription, expire_time: datetime) -> EndReason | None:
        if subscription.end is not None:
            return subscription.end
        return EndReason.TOKEN_EXPIRED if self._seconds_until(expire_time) <= 0 else None

    def _seconds_until(self, time: datetime) -> float:
        return time.timestamp() - self._clock()
