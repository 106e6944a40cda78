"""Every limit of the worker, and how it talks to Redis."""

from dataclasses import dataclass

from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from server import jobs

DATABASE_CONNECTIONS = 8

METRICS_PORT_OFFSET = 100
"""The worker serves its metrics this far above the setting, beyond the server processes."""


@dataclass(frozen=True, slots=True)
class Lane:
    """A queue of its own for jobs of one kind, so that those of another kind never wait for them.

    Attributes:
        queue_name: In Redis.
        jobs_at_once: In one worker.
        timeout_s: A try that takes longer has failed.
    """

    queue_name: str
    jobs_at_once: int
    timeout_s: float

    @property
    def queue_timeout_s(self) -> float:
        """How long the queue lets a try run; 10 s later the job of a killed worker is given out again."""
        return self.timeout_s + 2


PROMPT = Lane("arq:queue", jobs_at_once=10, timeout_s=8.0)
"""Jobs that need nothing but our own database."""
MAIL = Lane("arq:queue:mail", jobs_at_once=10, timeout_s=16.0)
"""Jobs that wait for the mail server."""
SMTP_TIMEOUT_S = 14.0
"""How long handing over one mail may take: some servers look into a mail before they take it."""
MARK_POLL_S = 0.5
LINK_KEPT_S = 300.0
"""For so long the life of a mailed link does not begin anew: longer than a killed worker's mail waits."""
TRIES_MAX = 48
RETRY_DELAY_MAX_S = 300.0
"""Delays double from one second up to this: 48 tries are spread over some three hours."""

QUEUE_POLL_S = 0.2
RELAY_POLL_S = 0.25
RELAY_BATCH = 50
RELAY_TIMEOUT_S = 3.0
"""Bound on handing one batch to Redis."""
RELAY_PATIENCE_S = 30.0
"""A job that was queued so long ago and is still open is queued again: Redis may have lost it."""

SWEEP_POLL_S = 2.0
SWEEP_BATCH = 100
"""Accounts whose overdue holds are expired in one round."""

ORDER_SWEEP_POLL_S = 2.0
ORDER_SWEEP_BATCH = 100
"""Overdue orders that are looked up at once."""

ORDER_DELIVERY_POLL_S = 0.5
ORDER_DELIVERY_BATCH = 100
"""Orders to be shipped or delivered that are looked up at once."""

SCHEDULE_POLL_S = 0.5
SCHEDULE_BATCH = 100
"""Scheduled transfers that are executed in one transaction."""
SCHEDULE_LOCK_TIMEOUT_S = 0.2
"""A transfer whose account is locked for longer is tried again in the next round."""

RETENTION_BATCH = 1000
"""Rows removed by one statement, which is a transaction of its own: locks are held for milliseconds."""
RETENTION_POLL_S = 20.0
RETENTION_PAUSE_S = 0.2
"""Between rounds while there is more to remove: what callers do comes first."""
SUCCESSORS_KEPT_S = 30.0
"""Beyond the 10 s in which a refresh token still leads to its successor, at most for a minute."""
MAIL_TOKENS_KEPT_S = 30 * 24 * 3600.0
"""After they expired: as long as somebody may ask why a link did not work."""
SESSIONS_KEPT_S = 90 * 24 * 3600.0
"""After they could have lived longest: so long a device is remembered, and not told of as a new one."""
DONE_JOBS_KEPT_S = 30 * 24 * 3600.0
SIGN_IN_THROTTLES_KEPT_S = 2 * 24 * 3600.0
"""After the last failure: a day later it counts no more."""
RATE_LIMITS_KEPT_S = 60.0
"""After the allowance was full again, as it is without a row."""

WEBHOOK_CONNECTIONS = 8
WEBHOOK_TURNS = 4
"""Queries that rounds of webhooks make at the same time."""
WEBHOOK_POLL_S = 0.2
WEBHOOK_PAUSE_S = 0.02
"""Between two looks for due webhooks at the least."""
WEBHOOK_FEED_BATCH = 1000
"""Positions of which webhooks are told in one transaction."""
WEBHOOK_ROUNDS_AT_ONCE = 64
WEBHOOK_TROUBLED_ROUNDS_AT_ONCE = 16
"""Webhooks that failed or were slow the last time have places of their own: they hold up none but each other."""
WEBHOOK_PENDING_MAX = 1000
"""Deliveries that are made ahead of a receiver; the rest of its backlog stays in the feed."""
WEBHOOK_REQUESTS_AT_ONCE = 4
"""To one webhook."""
WEBHOOK_ROUND_S = 5.0
"""For so long a round begins new requests; then it is another webhook's turn."""
WEBHOOK_TIMEOUT_S = 10.0
"""From the look-up of the name to the status of the answer."""
WEBHOOK_LOOKUP_WAIT_S = 2.0
"""So much of it a name may wait for its turn to be looked up; then the request is made later."""
WEBHOOK_LEASE_S = 30.0
"""Longer than a round with its last request. The webhooks of a killed worker wait so long at the most."""
WEBHOOK_SLOW_S = 2.0
"""A receiver that takes longer on the average is slow."""
WEBHOOK_FAILURES_IN_ROUND = 4
"""Without a success between them they end a round."""
WEBHOOK_RETRY_PAUSES_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 24 * 3600.0)
"""After the first failure of a delivery, the second, …; after more the last of these."""
WEBHOOK_GIVEN_UP_AFTER_S = 5 * 24 * 3600.0
"""Longer than it takes to disable a webhook with the longest pause on top: a receiver that is away loses nothing."""
WEBHOOK_TROUBLE_PAUSE_MAX_S = 300.0
"""At most so long nothing is tried at a webhook where nothing succeeds; it begins with two seconds and doubles."""
WEBHOOK_DISABLED_AFTER_S = 3 * 24 * 3600.0
WEBHOOK_OWNER_POLL_S = 300.0
"""How often it is looked whether a disabled owner may call again."""
WEBHOOK_DELIVERIES_KEPT_S = 30 * 24 * 3600.0

CHAIN_LOCK_KEY = 7_305_432_102
CHAIN_BLOCK_POSITIONS = 1000
CHAIN_INTERVAL_S = 10.0
"""A block is sealed when it is full, or its first transfer this old."""
CHAIN_POLL_S = 0.5
CHAIN_STANDBY_POLL_S = 1.0

SEQUENCER_LOCK_KEY = 7_305_432_101
SEQUENCER_BATCH = 1000
"""As written in UpdateEventPositions."""
SEQUENCER_BUSY_POLL_S = 0.05
SEQUENCER_IDLE_POLL_S = 0.1
SEQUENCER_STANDBY_POLL_S = 1.0
SEQUENCER_SETTLE_S = 10.0
"""Longer than any transaction of the service: statements, locks and idle time are bounded by 5 s."""
SEQUENCER_SWEEP_S = 300.0

_REDIS_TIMEOUT_S = 1.0
_REDIS_TRIES_MORE = 2


def open_redis(url: str) -> ArqRedis:
    """A client that connects on first use, waits for no answer longer than a few seconds and speaks JSON only.

    The caller tries again: many tries in here would keep a worker from stopping while Redis is away.
    """
    pool = ConnectionPool.from_url(
        url,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        socket_timeout=_REDIS_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), _REDIS_TRIES_MORE),
        # Without OSError a refused connection is not tried again.
        retry_on_error=[RedisConnectionError, RedisTimeoutError, OSError],
    )
    return ArqRedis(pool, job_serializer=jobs.encode, job_deserializer=jobs.decode)
