"""What tests of sessions say to set the scene and to look behind it."""

from uuid import UUID

import asyncpg

from server.caller import Caller, Origin, Role
from server.sessions.operations import Credentials, SignedIn
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import PASSWORD, everything

ORIGIN = Origin(client_address="203.0.113.7", user_agent="tests/1.0")
GOOD = Credentials("alice", PASSWORD)


def owner_of(signed_in: SignedIn) -> Caller:
    return Caller(signed_in.session.user_id, signed_in.session.id, frozenset({Role.DEPOSITOR}))


async def as_owner(database: MigratedDatabase, statement: str, *arguments: object) -> None:
    """Change what the service's own role may not, such as a session's times."""
    connection = await asyncpg.connect(database.owner_url)
    await connection.execute(statement, *arguments)
    await connection.close()


async def age_used_tokens(database: MigratedDatabase, seconds: float) -> None:
    await as_owner(
        database, "UPDATE refresh_tokens SET use_time = use_time - make_interval(secs => $1)", float(seconds)
    )


async def is_revoked(database: MigratedDatabase, session_id: UUID) -> bool:
    """Seen by another connection."""
    revoked: bool = await database.pool.fetchval(
        "SELECT revoke_time IS NOT NULL FROM sessions WHERE id = $1", session_id
    )
    return revoked


async def all_but_audit(database: MigratedDatabase) -> dict[str, object]:
    """Everything but the record of who failed to sign in."""
    return {table: rows for table, rows in (await everything(database.pool)).items() if table != "audit_events"}


async def audited(database: MigratedDatabase) -> list[tuple[object, ...]]:
    """What was recorded, oldest first: type, user, actor, session; and whether the user is told."""
    return [
        tuple(row)
        for row in await database.pool.fetch(
            "SELECT type, user_id, actor_user_id, session_id, EXISTS (SELECT FROM outbox WHERE job ="
            " 'send_security_notice' AND (payload->>'audit_event_id')::uuid = audit_events.id)"
            " FROM audit_events WHERE type <> 'USER_CREATED' ORDER BY id"
        )
    ]


async def live_count(database: MigratedDatabase) -> int:
    return int(await database.pool.fetchval("SELECT count(*) FROM sessions WHERE revoke_time IS NULL"))
