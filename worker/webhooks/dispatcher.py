"""Finds webhooks that are due and runs their rounds; several workers share them."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import NoReturn

import structlog
from bankdb import webhook_deliveries as deliveries
from bankdb import webhooks as queries
from bankdb.webhooks import MarkWebhooksLeasedRow

from server.database import Connection, Database
from server.events.operations import last_position
from server.webhooks.secrets import WebhookSecrets
from server.webhooks.targets import Resolver, Targets
from worker.metrics import WEBHOOK_LAG, WEBHOOK_PENDING
from worker.settings import (
    WEBHOOK_FEED_BATCH,
    WEBHOOK_LEASE_S,
    WEBHOOK_LOOKUP_WAIT_S,
    WEBHOOK_PAUSE_S,
    WEBHOOK_POLL_S,
    WEBHOOK_REQUESTS_AT_ONCE,
    WEBHOOK_ROUNDS_AT_ONCE,
    WEBHOOK_TIMEOUT_S,
    WEBHOOK_TROUBLED_ROUNDS_AT_ONCE,
)
from worker.supervision import is_outage
from worker.webhooks.posting import Poster
from worker.webhooks.rounds import Patience, Rounds

_MEASURE_INTERVAL_S = 5.0
_LEASES_INTERVAL_S = 1.0
_GIVE_BACK_TIMEOUT_S = 2.0

log = structlog.get_logger()


class Lane:
    """Rounds that never wait for those of another lane, nor for the look-ups of their names.

    Args:
        rounds: Run in it.
        poster: Sends for them and for no other lane.
        at_once: How many rounds.
        requests_at_once: In each of them.
        is_troubled: For webhooks that failed or were slow the last time.
    """

    def __init__(
        self, rounds: Rounds, poster: Poster, at_once: int, requests_at_once: int, *, is_troubled: bool
    ) -> None:
        self.is_troubled = is_troubled
        self.running: dict[asyncio.Task[None], MarkWebhooksLeasedRow] = {}
        self._rounds = rounds
        self._poster = poster
        self._at_once = at_once
        self._requests_at_once = requests_at_once

    @property
    def room(self) -> int:
        """How many rounds may begin."""
        return self._at_once - len(self.running)

    async def run(self, lease: MarkWebhooksLeasedRow) -> None:
        """One round; a failure of it is nobody else's."""
        try:
            await self._rounds.run(lease, self._poster, self._requests_at_once)
        except Exception as error:
            told = log.bind(webhook_id=str(lease.id), error=type(error).__name__)
            if is_outage(error):
                told.warning("webhook_round_failed")
            else:
                told.error("webhook_round_failed", exc_info=error)


class Dispatcher:
    """Tells webhooks of new events and runs the rounds of those that are due.

    Args:
        database: Connections opened with the settings of the feed.
        lanes: Where rounds run.
        grace_s: How long they may go on when the worker is asked to stop.
        lease_s: After so long the webhook of a worker that is gone is another's.
    """

    def __init__(
        self, database: Database, lanes: tuple[Lane, ...], grace_s: float, lease_s: float = WEBHOOK_LEASE_S
    ) -> None:
        self._database = database
        self._lanes = lanes
        self._grace_s = grace_s
        self._lease_s = lease_s
        self._round_ended = asyncio.Event()

    async def run(self) -> NoReturn:
        """Dispatch for ever.

        Raises:
            OSError, asyncpg.PostgresError, TimeoutError: The database cannot be reached; start again.
        """
        next_measure = next_leases = 0.0
        try:
            while True:
                self._round_ended.clear()
                has_more = await self.tell()
                if monotonic() >= next_leases:
                    next_leases = monotonic() + _LEASES_INTERVAL_S
                    await self.end_leases()
                await self.begin_rounds()
                if monotonic() >= next_measure:
                    next_measure = monotonic() + _MEASURE_INTERVAL_S
                    await self._measure()
                if not has_more:
                    await asyncio.sleep(WEBHOOK_PAUSE_S)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(WEBHOOK_POLL_S):
                            await self._round_ended.wait()
        finally:
            await self._stop()

    async def tell(self) -> bool:
        """Tell the webhooks whom new events concern, unless another worker is about to; whether there may be more.

        Positions are dense and visible in their order, so none is passed over.
        """
        async with self._database.connection() as connection:
            feed = await queries.get_webhook_feed(connection)
        if feed is None or feed.position >= feed.last_position:
            return False
        return await self._database.transaction(_tell)

    async def end_leases(self) -> None:
        """Have the webhooks of workers that are gone taken by others."""
        async with self._database.connection() as connection:
            await queries.mark_webhook_leases_expired(connection)

    async def begin_rounds(self) -> None:
        """Begin a round for each webhook that is due, as far as there is room."""
        async with self._database.connection() as connection:
            for lane in self._lanes:
                if lane.room <= 0:
                    continue
                leased = await queries.mark_webhooks_leased(
                    connection, is_troubled=lane.is_troubled, lease_s=self._lease_s, count_max=lane.room
                )
                for lease in leased:
                    task = asyncio.create_task(lane.run(lease))
                    lane.running[task] = lease
                    task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        for lane in self._lanes:
            lane.running.pop(task, None)
        self._round_ended.set()

    async def _measure(self) -> None:
        async with self._database.connection() as connection:
            WEBHOOK_PENDING.set(await deliveries.count_pending_webhook_deliveries(connection) or 0)
            WEBHOOK_LAG.set(await queries.get_webhook_wait(connection) or 0.0)

    async def _stop(self) -> None:
        """Let rounds end; give back the webhooks of those that do not, for others to go on at once."""
        running: Mapping[asyncio.Task[None], MarkWebhooksLeasedRow] = {
            task: lease for lane in self._lanes for task, lease in lane.running.items()
        }
        if not running:
            return
        _, late = await asyncio.wait(running, timeout=self._grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
            with suppress(Exception):  # or their leases run out
                async with asyncio.timeout(_GIVE_BACK_TIMEOUT_S), self._database.connection() as connection:
                    leases = [running[task] for task in late]
                    await queries.mark_webhooks_given_back(
                        connection,
                        ids=[lease.id for lease in leases],
                        lease_expire_times=[lease.lease_expire_time for lease in leases],
                    )


async def _tell(connection: Connection) -> bool:
    position = await queries.lock_webhook_feed(connection)
    if position is None:
        return False
    last = await last_position(connection)
    reached = min(last, position + WEBHOOK_FEED_BATCH)
    if reached > position:
        await queries.mark_webhooks_due_by_events(connection, after_position=position, last_position=reached)
        await queries.update_webhook_feed(connection, position=reached)
    return reached < last


def open_dispatcher(
    database: Database,
    secrets: WebhookSecrets,
    *,
    private: bool,
    grace_s: float,
    patience: Patience | None = None,
    timeout_s: float = WEBHOOK_TIMEOUT_S,
) -> Dispatcher:
    """The dispatcher of a worker.

    Args:
        database: Connections opened with the settings of the feed.
        secrets: Opens what requests are signed with.
        private: Whether webhooks may lead to addresses that are not public.
        grace_s: How long rounds may go on when the worker is asked to stop.
        patience: How failures are answered; None: as in operation.
        timeout_s: How long a request may take.
    """
    tls = ssl.create_default_context()

    rounds = Rounds(database, secrets, patience or Patience())

    def lane(at_once: int, requests_at_once: int, *, is_troubled: bool) -> Lane:
        poster = Poster(
            Targets(Resolver(at_once * requests_at_once, WEBHOOK_LOOKUP_WAIT_S), private=private), tls, timeout_s
        )
        return Lane(rounds, poster, at_once, requests_at_once, is_troubled=is_troubled)

    lanes = (
        lane(WEBHOOK_ROUNDS_AT_ONCE, WEBHOOK_REQUESTS_AT_ONCE, is_troubled=False),
        lane(WEBHOOK_TROUBLED_ROUNDS_AT_ONCE, 1, is_troubled=True),
    )
    return Dispatcher(database, lanes, grace_s)
