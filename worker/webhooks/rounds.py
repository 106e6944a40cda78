"""A round: what is due of one webhook is sent, by the one worker that has leased it."""

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from operator import attrgetter
from time import monotonic
from uuid import UUID

import structlog
from bankdb import webhook_deliveries as deliveries
from bankdb import webhooks as queries
from bankdb.webhook_deliveries import GetWebhookDeliveryToSendRow, ListPendingWebhookDeliveriesRow
from bankdb.webhooks import GetLeasedWebhookRow, MarkWebhooksLeasedRow
from uuid_utils.compat import uuid7

from server.audit.recording import AuditEventType, record
from server.caller import Role
from server.database import Connection, Database
from server.events.operations import EventReader, Interest
from server.webhooks.secrets import WebhookSecrets, signed_headers
from worker.metrics import WEBHOOK_ATTEMPTS, WEBHOOKS_DISABLED
from worker.settings import (
    WEBHOOK_DISABLED_AFTER_S,
    WEBHOOK_FAILURES_IN_ROUND,
    WEBHOOK_GIVEN_UP_AFTER_S,
    WEBHOOK_OWNER_POLL_S,
    WEBHOOK_PENDING_MAX,
    WEBHOOK_RETRY_PAUSES_S,
    WEBHOOK_ROUND_S,
    WEBHOOK_SLOW_S,
    WEBHOOK_TROUBLE_PAUSE_MAX_S,
    WEBHOOK_TURNS,
)
from worker.webhooks.bodies import is_visible, read_body
from worker.webhooks.posting import Failure, Outcome, Poster

_HEADERS = {"content-type": "application/json", "user-agent": "transactions-webhooks/1"}
_NOT_VISIBLE = Outcome(None, Failure.NOT_VISIBLE)
_NO_SECRET = Outcome(None, Failure.SECRET)
_JITTER = 0.2
"""By so much of itself a pause is shorter or longer."""
_OUTAGE_FAILURES = 3
"""After so many rounds without success each round tries something, due or not, to see whether the receiver is back.
When something succeeds all deliveries are tried at once."""

log = structlog.get_logger()

Pending = Sequence[ListPendingWebhookDeliveriesRow]
"""Deliveries of a webhook, in the order of events."""
Chain = Sequence[ListPendingWebhookDeliveriesRow]
"""Those about one subject: each waits for the one before it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How failures are answered; times in seconds.

    Attributes:
        retry_pauses_s: After the first failure of a delivery, the second, …; after more the last.
        given_up_after_s: The last try of a delivery comes so long after its first.
        trouble_pause_max_s: At most so long nothing is tried where nothing succeeds.
        disabled_after_s: A webhook where nothing succeeded for so long is disabled.
        pending_max: So many deliveries are made ahead and looked at; the rest of a backlog waits in the feed.
    """

    retry_pauses_s: tuple[float, ...] = WEBHOOK_RETRY_PAUSES_S
    given_up_after_s: float = WEBHOOK_GIVEN_UP_AFTER_S
    trouble_pause_max_s: float = WEBHOOK_TROUBLE_PAUSE_MAX_S
    disabled_after_s: float = WEBHOOK_DISABLED_AFTER_S
    pending_max: int = WEBHOOK_PENDING_MAX


class Tally:
    """What came of a round so far.

    Args:
        failures_max: So many without a success end it.
    """

    def __init__(self, failures_max: int) -> None:
        self.succeeded = self.failed = 0
        self._failures_max = failures_max
        self._began = monotonic()
        self._waited_s = 0.0

    def add(self, outcome: Outcome, waited_s: float) -> None:
        """Count a request."""
        self.succeeded += outcome.failure is None
        self.failed += outcome.failure is not None
        self._waited_s += waited_s

    @property
    def goes_on(self) -> bool:
        """Whether another request may begin."""
        in_time = monotonic() - self._began < WEBHOOK_ROUND_S
        return in_time and (self.succeeded > 0 or self.failed < self._failures_max)

    @property
    def has_failed(self) -> bool:
        """Whether something was sent and nothing succeeded."""
        return self.failed > 0 and not self.succeeded

    @property
    def is_slow(self) -> bool | None:
        """Whether the receiver kept us waiting; None if nothing was sent."""
        count = self.succeeded + self.failed
        return self._waited_s > WEBHOOK_SLOW_S * count if count else None


class Rounds:
    """Sends what is due of a webhook and writes down what came of it.

    Args:
        database: Connections opened with the settings of the feed.
        secrets: Opens what requests are signed with.
        patience: How failures are answered.
    """

    def __init__(self, database: Database, secrets: WebhookSecrets, patience: Patience) -> None:
        self._database = database
        self._events = EventReader(database)
        self._secrets = secrets
        self._patience = patience
        self._turns = asyncio.Semaphore(WEBHOOK_TURNS)

    async def run(self, lease: MarkWebhooksLeasedRow, poster: Poster, requests_at_once: int) -> None:
        """One round. If it fails the lease runs out and another round begins.

        Args:
            lease: Of the webhook.
            poster: Sends.
            requests_at_once: How many.
        """
        async with self._connection() as connection:
            webhook = await queries.get_leased_webhook(connection, id=lease.id)
        if webhook is None:  # disabled or deleted meanwhile
            return await self._end(lease, Tally(0), None)
        if webhook.owner_disabled:
            return await self._end(lease, Tally(0), webhook.now + timedelta(seconds=WEBHOOK_OWNER_POLL_S))
        pending, has_more = await self._pending(webhook)
        tally = Tally(1 if webhook.failure_count else WEBHOOK_FAILURES_IN_ROUND)
        chains = deque(_due_chains(pending) or _probe(pending, webhook.failure_count))

        async def work() -> None:
            while chains and tally.goes_on:
                await self._deliver_chain(chains.popleft(), poster, tally)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(requests_at_once):
                    group.create_task(work())
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        await self._end(lease, tally, webhook.now if has_more else None, webhook)
        return None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """A connection, waited for as long as it takes: there are many rounds and few connections."""
        async with self._turns, self._database.connection() as connection:
            yield connection

    async def _pending(self, webhook: GetLeasedWebhookRow) -> tuple[list[ListPendingWebhookDeliveriesRow], bool]:
        """The earliest pending deliveries, new ones included, and whether another round may find more."""
        async with self._connection() as connection:
            pending = await deliveries.list_pending_webhook_deliveries(
                connection, webhook_id=webhook.id, most=self._patience.pending_max
            )
        if len(pending) == self._patience.pending_max:
            return pending, bool(_due_chains(pending))
        everything = webhook.everybodys and Role.ADMIN in webhook.owner_roles
        interest = Interest(webhook.user_id, everything, frozenset(webhook.types))
        stretch = await self._events.catch_up(interest, webhook.position)
        if stretch.reached == webhook.position:
            return pending, False
        events = [fact.event for fact in stretch.facts]

        async def store(connection: Connection) -> tuple[list[ListPendingWebhookDeliveriesRow], bool]:
            passed = await queries.update_webhook_position(
                connection,
                id=webhook.id,
                position=stretch.reached,
                types=webhook.types,
                owner_roles=webhook.owner_roles,
            )
            if not passed:
                return pending, True
            if events:
                await deliveries.insert_webhook_deliveries(
                    connection,
                    webhook_id=webhook.id,
                    ids=[uuid7() for _ in events],
                    positions=[event.position for event in events],
                    event_types=[event.type for event in events],
                    subject_ids=[event.subject_id for event in events],
                )
            found = await deliveries.list_pending_webhook_deliveries(
                connection, webhook_id=webhook.id, most=self._patience.pending_max
            )
            return found, not stretch.complete

        async with self._turns:
            return await self._database.transaction(store)

    async def _deliver_chain(self, chain: Chain, poster: Poster, tally: Tally) -> None:
        for delivery in chain:
            if not (tally.goes_on and await self._deliver(delivery.id, poster, tally)):
                return

    async def _deliver(self, delivery_id: UUID, poster: Poster, tally: Tally) -> bool:
        """Try a delivery; whether the next one of its subject may follow."""
        async with self._connection() as connection:
            delivery = await deliveries.get_webhook_delivery_to_send(connection, id=delivery_id)
            if delivery is None:
                return False
            visible = is_visible(delivery)
            body = await read_body(connection, delivery) if visible else b""
        if not visible:
            return await self._record(delivery, _NOT_VISIBLE)
        live = self._secrets.open(delivery.secrets, delivery.webhook_id)
        began = monotonic()
        outcome: Outcome | None = _NO_SECRET
        if live:
            headers = {**_HEADERS, **signed_headers(delivery.id, delivery.now, body, live)}
            outcome = await poster.post(delivery.url, headers, body)
        if outcome is None:  # no fault of the receiver: it stays due
            return False
        tally.add(outcome, monotonic() - began)
        return await self._record(delivery, outcome)

    async def _record(self, delivery: GetWebhookDeliveryToSendRow, outcome: Outcome) -> bool:
        """Write down what came of a try; whether there will be no other."""
        WEBHOOK_ATTEMPTS.labels((outcome.failure or "delivered").lower()).inc()
        async with self._connection() as connection:
            if outcome.failure is None:
                assert outcome.status is not None  # nothing succeeds without
                await deliveries.mark_webhook_delivery_delivered(
                    connection, id=delivery.id, response_status=outcome.status
                )
                return True
            pause_s = None if outcome is _NOT_VISIBLE else self._pause_s(delivery)
            if pause_s is None:
                ended = await deliveries.mark_webhook_delivery_failed(
                    connection,
                    id=delivery.id,
                    attempt_count=delivery.attempt_count,
                    response_status=outcome.status,
                    failure=outcome.failure,
                )
                return ended > 0
            await deliveries.mark_webhook_delivery_tried(
                connection,
                id=delivery.id,
                attempt_count=delivery.attempt_count,
                response_status=outcome.status,
                failure=outcome.failure,
                pause_s=pause_s,
            )
            return False

    def _pause_s(self, delivery: GetWebhookDeliveryToSendRow) -> float | None:
        """How long to wait before the next try; None if there is none."""
        pauses_s = self._patience.retry_pauses_s
        jitter = random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret
        pause_s = jitter * pauses_s[min(delivery.attempt_count, len(pauses_s) - 1)]
        first = delivery.first_attempt_time or delivery.now
        left_s = self._patience.given_up_after_s - (delivery.now - first).total_seconds()
        return min(pause_s, left_s) if left_s > 0 else None

    async def _end(
        self,
        lease: MarkWebhooksLeasedRow,
        tally: Tally,
        next_time: datetime | None,
        webhook: GetLeasedWebhookRow | None = None,
    ) -> None:
        async def work(connection: Connection) -> bool:
            was = await queries.update_webhook_round(
                connection, id=lease.id, lease_expire_time=lease.lease_expire_time, is_slow=tally.is_slow
            )
            if was is None:  # it took so long that the webhook is another worker's
                return False
            # If the owner has asked for a try meanwhile, what failed may be what they have mended.
            failed = tally.has_failed and webhook is not None and webhook.retry_time == was.retry_time
            if tally.succeeded and was.failure_count:
                await queries.mark_webhook_well(connection, id=lease.id)
                if was.failure_count >= _OUTAGE_FAILURES:
                    await deliveries.mark_webhook_deliveries_due(connection, webhook_id=lease.id)
            if failed:
                pause_s = min(self._patience.trouble_pause_max_s, 2.0 ** min(was.failure_count + 1, 16))
                await queries.mark_webhook_troubled(connection, id=lease.id, pause_s=pause_s)
            attempt_time = await deliveries.get_next_webhook_attempt_time(
                connection, webhook_id=lease.id, most=self._patience.pending_max
            )
            if webhook and attempt_time and not tally.succeeded and was.failure_count + failed >= _OUTAGE_FAILURES:
                attempt_time = webhook.now  # or when anything may be tried again
            soonest = min(filter(None, (next_time, attempt_time)), default=None)
            await queries.update_webhook_due_time(
                connection, id=lease.id, next_time=next_time if webhook is None else soonest
            )
            return webhook is not None and failed and await self._disable(connection, webhook)

        async with self._turns:
            disabled = await self._database.transaction(work)
        if disabled:
            WEBHOOKS_DISABLED.inc()
            log.warning("webhook_disabled", webhook_id=str(lease.id))

    async def _disable(self, connection: Connection, webhook: GetLeasedWebhookRow) -> bool:
        """Disable a webhook where nothing has succeeded for long enough, and tell its owner."""
        if not await queries.mark_webhook_failing(connection, id=webhook.id, age_s=self._patience.disabled_after_s):
            return False
        await record(
            connection,
            AuditEventType.WEBHOOK_DISABLED,
            user_id=webhook.user_id,
            notify=True,
            webhook_id=str(webhook.id),
        )
        return True


def _chains(pending: Pending) -> list[list[ListPendingWebhookDeliveriesRow]]:
    """Pending deliveries by subject, what is to be tried first in front."""
    chains: dict[UUID, list[ListPendingWebhookDeliveriesRow]] = {}
    for delivery in pending:
        chains.setdefault(delivery.subject_id, []).append(delivery)
    return sorted(chains.values(), key=lambda chain: chain[0].next_attempt_time)


def _due_chains(pending: Pending) -> list[Chain]:
    """What may be tried: of each subject the earliest deliveries that are due."""
    due = (list(takewhile(attrgetter("is_due"), chain)) for chain in _chains(pending))
    return [chain for chain in due if chain]


def _probe(pending: Pending, failure_count: int) -> list[Chain]:
    """What is tried ahead of its time in an outage: the delivery that would be tried next."""
    return [chain[:1] for chain in _chains(pending)[:1]] if failure_count >= _OUTAGE_FAILURES else []
