"""Users with webhooks, events that happen to them, and workers that deliver."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from bankdb import events
from bankdb.models import User, Webhook
from bankdb.webhooks import MarkWebhooksLeasedRow

from server.caller import Caller, Role
from server.database import Database, open_pool
from server.events.operations import EVENT_SETTINGS
from server.keys import load
from server.page_token import PageTokens
from server.request_ids import Request
from server.webhooks.operations import NewWebhook, WebhookChange, Webhooks
from server.webhooks.secrets import WebhookSecrets
from server.webhooks.targets import Resolver, Targets
from tests.worker.surroundings import Bank
from tests.worker.webhooks.receiver import Receiver
from worker.settings import WEBHOOK_CONNECTIONS, WEBHOOK_TIMEOUT_S
from worker.webhooks.dispatcher import Dispatcher, open_dispatcher
from worker.webhooks.rounds import Patience

QUICK = Patience(retry_pauses_s=(0.05, 0.1), trouble_pause_max_s=0.1)
"""Tries again soon, and gives nothing up."""


class Scene:
    """Alice and Bob, who have proven addresses."""

    def __init__(self, bank: Bank, stack: AsyncExitStack) -> None:
        self.bank = bank
        self._stack = stack
        self.secrets = WebhookSecrets(load(bank.settings).webhook_key)
        self.webhooks = Webhooks(bank.database, PageTokens(bytes(32)), self.secrets, Targets(Resolver(), private=True))

    async def begin(self) -> "Scene":
        self.alice = (await self.bank.sign_up("alice"))[0]
        self.bob = (await self.bank.sign_up("bob"))[0]
        await self.bank.alter("UPDATE users SET email_verified = true; DELETE FROM outbox; DELETE FROM events")
        return self

    async def receiver(self) -> Receiver:
        """A new one that listens."""
        receiver = Receiver()
        await receiver.start()
        self._stack.push_async_callback(receiver.kill)
        return receiver

    async def add(
        self, receiver: Receiver, user: User | None = None, types: Sequence[str] = (), *roles: Role
    ) -> tuple[Webhook, str]:
        """A webhook, of Alice's if nobody is named, and its secret."""
        caller = self.caller(user or self.alice, *roles)
        request = Request(caller.user_id, uuid4(), "bank.v1.WebhookService/CreateWebhook", b"1")
        return await self.webhooks.create(NewWebhook(request, receiver.url, list(types), ""), caller)

    def caller(self, user: User, *roles: Role) -> Caller:
        return Caller(user.id, uuid4(), frozenset({Role.DEPOSITOR, *roles}))

    async def redeliver(self, webhook: Webhook, delivery_id: UUID) -> None:
        await self.webhooks.redeliver(webhook.id, delivery_id, self.caller(self.alice))

    async def enable(self, webhook: Webhook) -> Webhook:
        return await self.webhooks.update(WebhookChange(webhook.id, enabled=True), self.caller(self.alice))

    async def happen(
        self,
        user: User | None = None,
        *,
        count: int = 1,
        type_: str = "user.created",
        subject_id: UUID | None = None,
        other: User | None = None,
    ) -> UUID:
        """Events of one subject, Alice's if nobody is named, with their positions; the subject."""
        subject = subject_id or uuid4()
        await self.bank.stored.pool.execute(
            "INSERT INTO events (type, subject_id, user_id, counterparty_user_id)"
            " SELECT $1, $2, $3, $4 FROM generate_series(1, $5)",
            type_,
            subject,
            (user or self.alice).id,
            other.id if other else None,
            count,
        )
        async with self.bank.database.connection() as connection:
            await events.update_event_positions(connection, after_id=0)
        return subject

    @asynccontextmanager
    async def dispatcher(
        self, patience: Patience = QUICK, grace_s: float = 5, timeout_s: float = WEBHOOK_TIMEOUT_S
    ) -> AsyncIterator[Dispatcher]:
        """One on connections of its own, not running."""
        pool = await open_pool(self.bank.stored.app_url, size=WEBHOOK_CONNECTIONS, settings=EVENT_SETTINGS)
        yield open_dispatcher(
            Database(pool), self.secrets, private=True, grace_s=grace_s, patience=patience, timeout_s=timeout_s
        )
        await pool.close()

    @asynccontextmanager
    async def delivering(
        self, patience: Patience = QUICK, grace_s: float = 5, timeout_s: float = WEBHOOK_TIMEOUT_S
    ) -> AsyncIterator[Dispatcher]:
        """A running one."""
        async with self.dispatcher(patience, grace_s, timeout_s) as dispatcher:
            task = asyncio.create_task(dispatcher.run())
            try:
                yield dispatcher
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def round(self, patience: Patience = QUICK) -> None:
        """One round of every webhook, as if the time of all that is pending had come, and nothing after it."""
        await self.bank.alter(
            "UPDATE webhooks SET due_time = now(), retry_time = NULL;"
            "UPDATE webhook_deliveries SET next_attempt_time = now() WHERE next_attempt_time > now()"
        )
        await self.due_rounds(patience)

    async def due_rounds(self, patience: Patience = QUICK) -> None:
        """One round of every webhook that is due, and nothing after it."""
        async with self.dispatcher(patience) as dispatcher:
            await dispatcher.begin_rounds()
            while await self.lease(dispatcher):
                await asyncio.sleep(0.01)

    async def lease(self, dispatcher: Dispatcher) -> list[MarkWebhooksLeasedRow]:
        """What its rounds have leased."""
        return [lease for lane in dispatcher._lanes for lease in lane.running.values()]

    @asynccontextmanager
    async def holding(self, table: str) -> AsyncIterator[asyncpg.Connection]:
        """A transaction before whose end nobody else reads a table."""
        connection = await asyncpg.connect(self.bank.stored.owner_url)
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE {table}")
                yield connection
        finally:
            await connection.close()

    async def waits_for(self, table: str) -> bool:
        """Whether somebody waits for such a transaction."""
        query = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_locks.database = pg_database.oid"
            " WHERE datname = current_database() AND relation = $1::text::regclass AND NOT granted"
        )
        return bool(await self.bank.value(query, table))

    async def states(self, webhook: Webhook | None = None) -> dict[str, int]:
        """How many deliveries are in each state."""
        rows = await self.bank.stored.pool.fetch(
            "SELECT state, count(*) AS count FROM webhook_deliveries WHERE $1::uuid IS NULL OR webhook_id = $1"
            " GROUP BY state",
            webhook.id if webhook else None,
        )
        return {row["state"]: row["count"] for row in rows}

    async def delivered(self, count: int) -> bool:
        """Whether there are so many deliveries, and all have arrived."""
        return await self.states() == {"DELIVERED": count}

    async def row(self, webhook: Webhook) -> Any:
        return await self.bank.stored.pool.fetchrow("SELECT * FROM webhooks WHERE id = $1", webhook.id)

    async def deliveries(self, webhook: Webhook) -> list[Any]:
        return list(
            await self.bank.stored.pool.fetch(
                "SELECT * FROM webhook_deliveries WHERE webhook_id = $1 ORDER BY position", webhook.id
            )
        )


@pytest.fixture
async def scene(bank: Bank) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        yield await Scene(bank, stack).begin()
