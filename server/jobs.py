"""What server and worker agree on: names and payloads of jobs, and how they are written."""

import json
from enum import StrEnum
from typing import Any
from uuid import UUID

from server.caller import current_origin
from server.tracing import current_trace


class Job(StrEnum):
    """Jobs by name, as stored in outbox.job."""

    OPEN_FIRST_ACCOUNT = "open_first_account"
    """Payload: user_id."""
    SEND_VERIFICATION_EMAIL = "send_verification_email"
    """Payload: user_id. The outbox id is the id of the mail token."""
    SEND_PASSWORD_RESET_EMAIL = "send_password_reset_email"  # noqa: S105 - the name of a job
    """Payload: user_id. The outbox id is the id of the mail token."""
    SEND_SECURITY_NOTICE = "send_security_notice"
    """Payload: audit_event_id. Only after what happened is recorded in the same transaction."""


def payload(**ids: UUID) -> str:
    """The JSON payload of a job: ids only, never a secret.

    Those of the call that asks for it are added: `trace_id`, and if it is sampled `traceparent`.
    """
    content = {name: str(value) for name, value in ids.items()}
    if trace_id := current_origin().trace_id:
        content["trace_id"] = trace_id
    if trace := current_trace():
        content["traceparent"] = trace.traceparent
    return json.dumps(content)


def encode(job: dict[str, Any]) -> bytes:
    """Write what arq stores in Redis; anything JSON does not know becomes text."""
    return json.dumps(job, default=str).encode()


def decode(raw: bytes) -> dict[str, Any]:
    """Read what arq stored in Redis."""
    decoded: dict[str, Any] = json.loads(raw)
    return decoded
