"""What is old enough is removed, in small portions and in the way of nobody; what is younger stays."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY

from tests.worker.surroundings import Bank, eventually, worker_process
from worker.retention import RULES, Retention

DAY_S = 24 * 3600
MARGIN_S = 5
"""By how much a row is older or younger than what divides them."""


@dataclass(frozen=True)
class Kind:
    """One kind of row, and how one that became old `age_s` ago comes to be."""

    name: str
    kept_s: float
    insert: str
    """$1 is the age in seconds, $2 the user, $3 an id."""
    count: str


AGO = "clock_timestamp() - make_interval(secs => $1::float8)"
SESSION = f"""
INSERT INTO sessions (id, user_id, user_agent, client_address, create_time, idle_expire_time, expire_time)
VALUES ($3, $2, '', '', {AGO} - interval '30 days', {AGO}, {AGO})
"""
WEBHOOK = "INSERT INTO webhooks (id, user_id, url, types, description, everybodys, position, due_time, delete_time)"
KINDS = (
    Kind(
        "successor",
        30,
        f"""
        WITH live AS (
            INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)
            VALUES ($3, $2, '', '', now() + interval '1 day', now() + interval '1 day')
            RETURNING id
        )
        INSERT INTO refresh_tokens (token_hash, session_id, use_time, successor_ciphertext)
        SELECT uuid_send(id), id, {AGO}, 'secret' FROM live
        """,
        "SELECT count(*) FROM refresh_tokens WHERE successor_ciphertext IS NOT NULL",
    ),
    Kind(
        "mail_token",
        30 * DAY_S,
        f"""
        INSERT INTO mail_tokens (id, user_id, purpose, email, token_hash, expire_time)
        VALUES ($3, $2, 'VERIFY_EMAIL', 'alice@example.org', uuid_send($3), {AGO})
        """,
        "SELECT count(*) FROM mail_tokens",
    ),
    Kind("session", 90 * DAY_S, SESSION, "SELECT count(*) FROM sessions"),
    Kind(
        "done_job",
        30 * DAY_S,
        f"INSERT INTO outbox (id, job, payload, done_time) SELECT $3, 'job', '{{}}', {AGO} FROM users WHERE id = $2",
        "SELECT count(*) FROM outbox",
    ),
    Kind(
        "sign_in_throttle",
        2 * DAY_S,
        f"INSERT INTO sign_in_throttles SELECT sha256($3::uuid::text::bytea), 3, {AGO}, {AGO} FROM users WHERE id = $2",
        "SELECT count(*) FROM sign_in_throttles",
    ),
    Kind(
        "webhook_delivery",
        30 * DAY_S,
        f"""
        WITH live AS ({WEBHOOK} SELECT gen_random_uuid(), $2, 'x', '{{}}', '', false, 0, NULL, NULL RETURNING id)
        INSERT INTO webhook_deliveries (
            id, webhook_id, position, event_type, subject_id, state, next_attempt_time, end_time
        )
        SELECT $3, id, 1, '', id, 'DELIVERED', NULL, {AGO} FROM live
        """,
        "SELECT count(*) FROM webhook_deliveries",
    ),
    Kind(
        "deleted_webhook_delivery",
        0,
        f"""
        WITH gone AS ({WEBHOOK} SELECT gen_random_uuid(), $2, 'x', '{{}}', '', false, 0, NULL, {AGO} RETURNING id)
        INSERT INTO webhook_deliveries (id, webhook_id, position, event_type, subject_id)
        SELECT $3, id, 1, '', id FROM gone
        """,
        "SELECT count(*) FROM webhook_deliveries",
    ),
    Kind(
        "webhook",
        0,
        f"{WEBHOOK} SELECT $3, $2, 'x', '{{}}', '', false, 0, NULL, {AGO}",
        "SELECT count(*) FROM webhooks",
    ),
    Kind(
        "webhook_secret",
        0,
        f"""
        WITH live AS ({WEBHOOK} SELECT gen_random_uuid(), $2, 'x', '{{}}', '', false, 0, NULL, NULL RETURNING id)
        INSERT INTO webhook_secrets (id, webhook_id, ciphertext, expire_time) SELECT $3, id, '', {AGO} FROM live
        """,
        "SELECT count(*) FROM webhook_secrets",
    ),
    Kind(
        "rate_limit",
        60,
        f"INSERT INTO rate_limits SELECT 'SIGN_IN', $3::uuid::text, {AGO} FROM users WHERE id = $2",
        "SELECT count(*) FROM rate_limits",
    ),
)


@pytest.fixture
async def user_id(bank: Bank) -> UUID:
    user_id = uuid4()
    await bank.stored.pool.execute(
        "INSERT INTO users (id, username, password_hash, full_name, email, create_time)"
        " VALUES ($1, 'alice', '-', 'Alice Example', 'alice@example.org', now() - interval '20 years')",
        user_id,
    )
    return user_id


async def insert(bank: Bank, kind: Kind, age_s: float, user_id: UUID) -> UUID:
    row_id = uuid4()
    await bank.stored.pool.execute(kind.insert, float(age_s), user_id, row_id)
    return row_id


def removed(kind: str) -> float:
    """What the metric says of this process."""
    return REGISTRY.get_sample_value("worker_rows_removed_total", {"kind": kind}) or 0.0


class TestSweep:
    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    async def test_old_row_goes_and_young_one_stays(self, bank: Bank, user_id: UUID, kind: Kind) -> None:
        counted = removed(kind.name)
        await insert(bank, kind, kind.kept_s + MARGIN_S, user_id)
        await insert(bank, kind, kind.kept_s - MARGIN_S, user_id)
        await insert(bank, kind, -DAY_S, user_id)
        assert not await Retention(bank.database).sweep()
        assert await bank.value(kind.count) == 2
        assert removed(kind.name) == counted + 1

    def test_every_rule_is_tested_here(self) -> None:
        # Refresh tokens go with their sessions, below.
        assert {rule.kind for rule in RULES} == {kind.name for kind in KINDS} | {"refresh_token"}

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    async def test_backlog_is_removed_batch_by_batch(self, bank: Bank, user_id: UUID, kind: Kind) -> None:
        for _ in range(5):
            await insert(bank, kind, kind.kept_s + MARGIN_S, user_id)
        retention = Retention(bank.database, batch=2)
        left = []
        for more in (True, True, False):
            assert await retention.sweep() == more
            left.append(await bank.value(kind.count))
        assert left == [3, 1, 0]

    @pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
    async def test_row_that_somebody_has_locked_is_left_for_later(self, bank: Bank, user_id: UUID, kind: Kind) -> None:
        locked = await insert(bank, kind, kind.kept_s + 2 * MARGIN_S, user_id)
        await insert(bank, kind, kind.kept_s + MARGIN_S, user_id)
        table = kind.count.split(" FROM ")[1].split()[0]
        key = {
            "refresh_tokens": "session_id = $1",
            "sign_in_throttles": "name_digest = sha256($1::uuid::text::bytea)",
            "rate_limits": "subject = $1::uuid::text",
        }.get(table, "id = $1")
        async with bank.stored.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SELECT FROM {table} WHERE {key} FOR UPDATE", locked)
            # To wait for the row would end by the limit on waiting for locks.
            await Retention(bank.database).sweep()
        assert await bank.value(kind.count) == 1
        await Retention(bank.database).sweep()
        assert await bank.value(kind.count) == 0

    async def test_several_at_once_remove_each_row_once(self, bank: Bank, user_id: UUID) -> None:
        kind = KINDS[-1]
        counted = removed(kind.name)
        for _ in range(40):
            await insert(bank, kind, kind.kept_s + MARGIN_S, user_id)
        sweeps = [Retention(bank.database, batch=10).sweep() for _ in range(6)]
        await asyncio.gather(*sweeps)
        left = await bank.value(kind.count)
        assert removed(kind.name) == counted + 40 - left
        await Retention(bank.database).sweep()
        assert await bank.value(kind.count) == 0


class TestSessions:
    async def test_refresh_tokens_go_before_their_session(self, bank: Bank, user_id: UUID) -> None:
        kind = next(kind for kind in KINDS if kind.name == "session")
        old, young = [await insert(bank, kind, kind.kept_s + sign * MARGIN_S, user_id) for sign in (1, -1)]
        for session_id in (old, young):
            await bank.stored.pool.execute(
                "INSERT INTO refresh_tokens (token_hash, session_id, use_time)"
                " SELECT uuid_send(gen_random_uuid()), $1, CASE WHEN n > 1 THEN now() - interval '100 days' END"
                " FROM generate_series(1, 5) AS n",
                session_id,
            )
        retention = Retention(bank.database, batch=2)
        while await retention.sweep():
            # Never a session without its tokens.
            tokens, sessions = [
                await bank.value(f"SELECT count(*) FROM {table} WHERE {column} = $1", old)
                for table, column in (("refresh_tokens", "session_id"), ("sessions", "id"))
            ]
            assert tokens == 0 or sessions == 1
        await retention.sweep()
        assert await bank.value("SELECT id FROM sessions") == young
        assert await bank.value("SELECT count(*) FROM refresh_tokens WHERE session_id = $1", young) == 5

    async def test_revoked_session_is_remembered_as_long(self, bank: Bank, user_id: UUID) -> None:
        """What was revoked long ago, but could have lived until lately, still names a known device."""
        kind = next(kind for kind in KINDS if kind.name == "session")
        await insert(bank, kind, kind.kept_s - MARGIN_S, user_id)
        await bank.stored.pool.execute("UPDATE sessions SET revoke_time = now() - interval '119 days'")
        await Retention(bank.database).sweep()
        assert await bank.value(kind.count) == 1

    async def test_used_token_without_its_successor_still_gives_reuse_away(self, bank: Bank, user_id: UUID) -> None:
        kind = KINDS[0]
        await insert(bank, kind, kind.kept_s + MARGIN_S, user_id)
        before = await bank.stored.pool.fetchrow("SELECT token_hash, session_id, use_time FROM refresh_tokens")
        await Retention(bank.database).sweep()
        assert await bank.stored.pool.fetchrow("SELECT token_hash, session_id, use_time FROM refresh_tokens") == before


class TestMail:
    @pytest.mark.parametrize(("state", "stays"), [("open", True), ("dead", True), ("done", False)])
    async def test_token_stays_until_its_mail_was_sent(
        self, bank: Bank, user_id: UUID, state: str, stays: bool
    ) -> None:
        kind = next(kind for kind in KINDS if kind.name == "mail_token")
        token_id = await insert(bank, kind, 10 * kind.kept_s, user_id)
        await bank.stored.pool.execute(
            "INSERT INTO outbox (id, job, payload, done_time, dead_time)"
            " VALUES ($1, 'send_verification_email', '{}',"
            " CASE WHEN $2 = 'done' THEN now() END, CASE WHEN $2 = 'dead' THEN now() END)",
            token_id,
            state,
        )
        await Retention(bank.database).sweep()
        assert await bank.value("SELECT count(*) FROM mail_tokens") == stays

    @pytest.mark.parametrize("state", ["open", "dead"])
    async def test_job_that_is_not_done_stays_however_old(self, bank: Bank, state: str) -> None:
        await bank.stored.pool.execute(
            "INSERT INTO outbox (id, job, payload, create_time, dead_time) VALUES (gen_random_uuid(), 'job', '{}',"
            " now() - interval '10 years', CASE WHEN $1 = 'dead' THEN now() - interval '9 years' END)",
            state,
        )
        await Retention(bank.database).sweep()
        assert await bank.value("SELECT count(*) FROM outbox") == 1


class TestKeptForEver:
    async def test_users_events_and_the_audit_log_stay(self, bank: Bank, user_id: UUID) -> None:
        await bank.stored.pool.execute(
            "INSERT INTO audit_events (id, type, user_id, client_address, user_agent, trace_id, create_time)"
            " VALUES ($1, 'SIGNED_IN', $1, '', '', '', now() - interval '20 years')",
            user_id,
        )
        await bank.stored.pool.execute(
            "INSERT INTO events (type, subject_id, create_time)"
            " VALUES ('user.created', $1, now() - interval '20 years')",
            user_id,
        )
        await Retention(bank.database).sweep()
        for table in ("users", "audit_events", "events"):
            assert await bank.value(f"SELECT count(*) FROM {table}") == 1


class TestWorkerProcess:
    async def test_worker_removes_what_is_old(self, bank: Bank, user_id: UUID, tmp_path: Path) -> None:
        kind = KINDS[0]
        await insert(bank, kind, kind.kept_s + MARGIN_S, user_id)

        async def is_gone() -> bool:
            return bool(await bank.value(kind.count) == 0)

        async with worker_process(bank.environment, tmp_path):
            await eventually(is_gone)
