"""What is written when a user appears, however they do, and the events that tell of users."""

import json

from bankdb import events as event_queries
from bankdb import outbox as outbox_queries
from bankdb import users as user_queries
from bankdb.models import User
from uuid_utils.compat import uuid7

from server.audit.recording import AuditEventType, record
from server.database import Connection
from server.jobs import Job, payload


async def add_user(connection: Connection, *, username: str, password_hash: str, full_name: str, email: str) -> User:
    """Store a user, tell of it, and ask the worker for their first account.

    Raises:
        asyncpg.UniqueViolationError: Somebody has the name.
    """
    user = await user_queries.insert_user(
        connection, id=uuid7(), username=username, password_hash=password_hash, full_name=full_name, email=email
    )
    assert user is not None  # RETURNING
    await publish(connection, "user.created", user, username=user.username)
    await record(connection, AuditEventType.USER_CREATED, user_id=user.id)
    await outbox_queries.insert_outbox_job(
        connection, id=uuid7(), job=Job.OPEN_FIRST_ACCOUNT, payload=payload(user_id=user.id)
    )
    return user


async def publish(connection: Connection, event: str, user: User, **facts: object) -> None:
    """Tell of a user, in the transaction of what happens to them."""
    await event_queries.insert_event(
        connection, type=event, subject_id=user.id, user_id=user.id, data=json.dumps(facts) if facts else None
    )
