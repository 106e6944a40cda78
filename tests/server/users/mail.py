"""What was mailed to users, seen from the database."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from uuid import UUID

import asyncpg
import pytest
from bankdb.models import User

from server.tokens import MailTokens
from tests.conftest import Database

RUNS = 3


@dataclass(frozen=True)
class Notice:
    """A security notice that will be mailed."""

    type: str
    details: dict[str, str]


@dataclass(frozen=True)
class Mailbox:
    """Reads the links and notices that users get."""

    database: Database
    mail_tokens: MailTokens

    async def newest_token(self, user: User) -> str:
        """The token as the worker mails it."""
        row = await self.database.pool.fetchrow(
            "SELECT id, purpose FROM mail_tokens WHERE user_id = $1 ORDER BY id DESC LIMIT 1", user.id
        )
        assert row is not None
        return self.mail_tokens.make(row["purpose"], row["id"], user.id)

    async def newest_address(self, user: User) -> str:
        """Where the newest link went."""
        return str(
            await self.database.pool.fetchval(
                "SELECT email FROM mail_tokens WHERE user_id = $1 ORDER BY id DESC LIMIT 1", user.id
            )
        )

    async def good_links(self, user: User) -> int:
        """How many links of the user would still do something."""
        return int(
            await self.database.pool.fetchval(
                "SELECT count(*) FROM mail_tokens WHERE user_id = $1 AND use_time IS NULL AND expire_time > now()",
                user.id,
            )
        )

    async def count(self) -> int:
        """How many mails were asked for, links and notices."""
        return int(await self.database.pool.fetchval("SELECT count(*) FROM outbox WHERE job LIKE 'send_%'"))

    async def notices(self, user_id: UUID) -> list[Notice]:
        """The notices for a user, oldest first."""
        rows = await self.database.pool.fetch(
            "SELECT type, details FROM audit_events JOIN outbox"
            " ON job = 'send_security_notice' AND payload ->> 'audit_event_id' = audit_events.id::text"
            " WHERE user_id = $1 ORDER BY audit_events.id",
            user_id,
        )
        return [Notice(row["type"], json.loads(row["details"])) for row in rows]

    async def age(self, seconds: int) -> None:
        """Let time pass for all links."""
        owner = await asyncpg.connect(self.database.owner_url)
        await owner.execute(
            "UPDATE mail_tokens SET create_time = create_time - make_interval(secs => $1),"
            " expire_time = expire_time - make_interval(secs => $1)",
            float(seconds),
        )
        await owner.close()


async def assert_as_long_for_nobody(ask: Callable[[str], Awaitable[None]], mailbox: Mailbox, email: str) -> None:
    """Asking for a mail takes as long for an address that nobody has as for one that gets the mail.

    On a busy machine a run may be off by chance; what tells who exists is off in every one.
    """
    apart_s = []
    for _ in range(RUNS):
        before = await mailbox.count()
        times: dict[str, list[float]] = {email: [], "nobody@example.com": []}
        for _ in range(10):
            await mailbox.age(601)
            for address, samples in times.items():
                started = perf_counter()
                await ask(address)
                samples.append(perf_counter() - started)
        known, unknown = (median(samples) for samples in times.values())
        assert min(known, unknown) >= 0.1
        assert await mailbox.count() == before + 10
        apart_s.append(abs(known - unknown))
        if apart_s[-1] < 0.005:
            return
    pytest.fail(f"medians of {RUNS} runs are apart by {apart_s} s")


async def audit(database: Database, *types: str) -> list[asyncpg.Record]:
    """What was recorded, oldest first; only of these types, if any are given."""
    rows = await database.pool.fetch("SELECT * FROM audit_events ORDER BY id")
    return [row for row in rows if not types or row["type"] in types]
