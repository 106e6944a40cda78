"""Records what happens to the security of users, sessions and accounts, in the transaction in which it happens."""

import json
from enum import StrEnum
from uuid import UUID

from bankdb import audit_events as audit_event_queries
from bankdb import outbox as outbox_queries
from uuid_utils.compat import uuid7

from server.caller import Caller, current_origin
from server.database import Connection
from server.jobs import Job, payload


class AuditEventType(StrEnum):
    """What may happen, as stored in audit_events.type and as named in the contract."""

    USER_CREATED = "USER_CREATED"
    SIGNED_IN = "SIGNED_IN"
    SIGN_IN_FAILED = "SIGN_IN_FAILED"
    SIGN_IN_THROTTLED = "SIGN_IN_THROTTLED"
    SESSION_REVOKED = "SESSION_REVOKED"
    ALL_SESSIONS_REVOKED = "ALL_SESSIONS_REVOKED"
    REFRESH_TOKEN_REUSED = "REFRESH_TOKEN_REUSED"  # noqa: S105 - a name
    SESSION_DISPLACED = "SESSION_DISPLACED"
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105 - a name
    PASSWORD_RESET_REQUESTED = "PASSWORD_RESET_REQUESTED"  # noqa: S105 - a name
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105 - a name
    EMAIL_CHANGE_REQUESTED = "EMAIL_CHANGE_REQUESTED"
    EMAIL_VERIFIED = "EMAIL_VERIFIED"
    EMAIL_CHANGED = "EMAIL_CHANGED"
    ROLES_CHANGED = "ROLES_CHANGED"
    USER_DISABLED = "USER_DISABLED"
    USER_ENABLED = "USER_ENABLED"
    ACCOUNT_FROZEN = "ACCOUNT_FROZEN"
    ACCOUNT_UNFROZEN = "ACCOUNT_UNFROZEN"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    OVERDRAFT_LIMIT_CHANGED = "OVERDRAFT_LIMIT_CHANGED"
    ADMINISTRATOR_APPOINTED = "ADMINISTRATOR_APPOINTED"
    EMAIL_CLAIMED = "EMAIL_CLAIMED"
    WEBHOOK_CREATED = "WEBHOOK_CREATED"
    WEBHOOK_UPDATED = "WEBHOOK_UPDATED"
    WEBHOOK_SECRET_ROTATED = "WEBHOOK_SECRET_ROTATED"  # noqa: S105 - a name
    WEBHOOK_DELETED = "WEBHOOK_DELETED"
    WEBHOOK_DISABLED = "WEBHOOK_DISABLED"


async def record(
    connection: Connection,
    type_: AuditEventType,
    *,
    user_id: UUID | None,
    actor: Caller | None = None,
    session_id: UUID | None = None,
    account_id: UUID | None = None,
    notify: bool = False,
    **details: str | int,
) -> None:
    """Record one thing; address, program and trace id are those of the present call.

    Args:
        connection: In the transaction of what happens.
        type_: What happened.
        user_id: Whom it happened to: a user, or the owner of the account; None if there is nobody.
        actor: Who did it; None if nobody had signed in.
        session_id: The session that began or ended; if None, that of the actor.
        account_id: The account it happened to.
        notify: Whether the user is told by mail. Only an address that was proven is written to:
            the one in the detail `old_email` if it is given, otherwise the user's present one.
        details: Facts that are stored as text; never a secret.
    """
    event_id = uuid7()
    origin = current_origin()
    await audit_event_queries.insert_audit_event(
        connection,
        id=event_id,
        type=type_,
        user_id=user_id,
        actor_user_id=actor.user_id if actor else None,
        session_id=session_id or (actor.session_id if actor else None),
        account_id=account_id,
        client_address=origin.client_address,
        user_agent=origin.user_agent,
        trace_id=origin.trace_id,
        details=json.dumps({name: str(value) for name, value in details.items()}),
    )
    if notify:
        await outbox_queries.insert_outbox_job(
            connection, id=uuid7(), job=Job.SEND_SECURITY_NOTICE, payload=payload(audit_event_id=event_id)
        )
