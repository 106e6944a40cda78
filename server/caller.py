"""Who is calling: set once per call by the interceptor, read by the servicers."""

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Role(StrEnum):
    """What a user may do beyond reading; as stored in users.roles."""

    DEPOSITOR = "DEPOSITOR"
    MERCHANT = "MERCHANT"
    BANKER = "BANKER"
    ADMIN = "ADMIN"


@dataclass(frozen=True, slots=True)
class Caller:
    """The user and session that the access token proves.

    For calls that move money `roles` is empty: the ledger reads the roles, and whether session
    and user are still in force, under its locks.
    """

    user_id: UUID
    session_id: UUID
    roles: frozenset[Role] = frozenset()

    def has_any(self, *roles: Role) -> bool:
        """Whether the caller has at least one of the roles."""
        return not self.roles.isdisjoint(roles)

    @property
    def reads_everything(self) -> bool:
        """Bankers and admins read what belongs to others."""
        return self.has_any(Role.BANKER, Role.ADMIN)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a call comes from, as far as the gateway vouches for it; empty outside calls."""

    client_address: str = ""
    user_agent: str = ""
    trace_id: str = ""


_NOWHERE = Origin()
_caller: ContextVar[Caller] = ContextVar("caller")
_origin: ContextVar[Origin] = ContextVar("origin")
_token_expire_time: ContextVar[datetime] = ContextVar("token_expire_time")
_idempotency_key: ContextVar[str] = ContextVar("idempotency_key")


def set_caller(caller: Caller) -> None:
    """Say who makes the present call; for the interceptor."""
    _caller.set(caller)


def set_token_expire_time(time: datetime) -> None:
    """Say when the access token of the present call expires; for the interceptor."""
    _token_expire_time.set(time)


def set_origin(origin: Origin) -> None:
    """Say where the present call comes from; for the interceptor."""
    _origin.set(origin)


def set_idempotency_key(value: str) -> None:
    """Say what the header `Idempotency-Key` of the present call is; for the interceptor."""
    _idempotency_key.set(value)


def current_caller() -> Caller:
    """The caller of the present call; only in RPCs that need an access token."""
    return _caller.get()


def current_token_expire_time() -> datetime:
    """When the access token of the present call expires; only in RPCs that the ledger does not check."""
    return _token_expire_time.get()


def current_idempotency_key() -> str:
    """The header `Idempotency-Key` of the present call, empty if there was none."""
    return _idempotency_key.get("")


def current_origin() -> Origin:
    """Where the present call comes from."""
    return _origin.get(_NOWHERE)
