"""Removes what nobody needs any more, a little at a time; money, events and the audit log are kept for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NoReturn

import structlog
from bankdb import retention as queries

from server.database import Database
from worker.metrics import ROWS_REMOVED
from worker.settings import (
    DONE_JOBS_KEPT_S,
    MAIL_TOKENS_KEPT_S,
    RATE_LIMITS_KEPT_S,
    RETENTION_BATCH,
    RETENTION_PAUSE_S,
    RETENTION_POLL_S,
    SESSIONS_KEPT_S,
    SIGN_IN_THROTTLES_KEPT_S,
    SUCCESSORS_KEPT_S,
    WEBHOOK_DELIVERIES_KEPT_S,
)
from worker.supervision import is_of_one

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rule:
    """What is removed, and when.

    Attributes:
        kind: What the metric calls it.
        remove: Removes what is older than `age_s`, at most `count_max`; how many it was.
        age_s: How long it is kept.
    """

    kind: str
    remove: Callable[..., Awaitable[int]]
    age_s: float


# Refresh tokens before the sessions they belong to, deliveries before their webhooks.
RULES = (
    Rule("successor", queries.update_refresh_tokens_cleared, SUCCESSORS_KEPT_S),
    Rule("mail_token", queries.delete_expired_mail_tokens, MAIL_TOKENS_KEPT_S),
    Rule("refresh_token", queries.delete_ended_refresh_tokens, SESSIONS_KEPT_S),
    Rule("session", queries.delete_ended_sessions, SESSIONS_KEPT_S),
    Rule("done_job", queries.delete_done_outbox_jobs, DONE_JOBS_KEPT_S),
    Rule("sign_in_throttle", queries.delete_old_sign_in_throttles, SIGN_IN_THROTTLES_KEPT_S),
    Rule("webhook_delivery", queries.delete_ended_webhook_deliveries, WEBHOOK_DELIVERIES_KEPT_S),
    Rule("deleted_webhook_delivery", queries.delete_deliveries_of_deleted_webhooks, 0.0),
    Rule("webhook", queries.delete_deleted_webhooks, 0.0),
    Rule("webhook_secret", queries.delete_expired_webhook_secrets, 0.0),
    Rule("rate_limit", queries.delete_full_rate_limits, RATE_LIMITS_KEPT_S),
)


class Retention:
    """Removes what is old enough; several workers may do so at once, each skips what another has locked."""

    def __init__(self, database: Database, batch: int = RETENTION_BATCH) -> None:
        self._database = database
        self._batch = batch

    async def run(self) -> NoReturn:
        """Remove for ever."""
        while True:
            more = await self.sweep()
            await asyncio.sleep(RETENTION_PAUSE_S if more else RETENTION_POLL_S)

    async def sweep(self) -> bool:
        """Remove one batch of each kind; whether there may be more."""
        removed = [await self._remove(rule) for rule in RULES]
        return self._batch in removed

    async def _remove(self, rule: Rule) -> int:
        try:
            async with self._database.connection() as connection:
                count = await rule.remove(connection, age_s=rule.age_s, count_max=self._batch)
        except Exception as error:  # of this rule; the others shall not wait for it
            if not is_of_one(error):
                raise
            log.error("retention_defect", kind=rule.kind, exc_info=error)
            return 0
        ROWS_REMOVED.labels(rule.kind).inc(count)
        return count
