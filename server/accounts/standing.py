"""What changes an account without moving money: its settings, and whether it is open, frozen or closed.

Every change holds the lock of the account, as debits do, and looks at everything under it.
"""

import json
from dataclasses import dataclass, replace
from uuid import UUID

from bankdb import accounts as account_queries
from bankdb import events as event_queries
from bankdb import sessions as session_queries
from bankdb.accounts import GetAccountRow

from server.accounts.errors import AccountNotEmpty, OverdraftInUse
from server.accounts.visible import visible_account
from server.audit.recording import AuditEventType, record
from server.caller import Caller, Role
from server.database import Connection, Database
from server.errors import (
    AccountClosed,
    Forbidden,
    SessionRevoked,
    StaleVersion,
    Unauthenticated,
)
from server.ledger.writing import release_overdue_holds

OPEN, FROZEN, CLOSED = "OPEN", "FROZEN", "CLOSED"

# What a change to each state is called, as an event and in the audit log.
_CHANGES = {
    OPEN: ("account.unfrozen", AuditEventType.ACCOUNT_UNFROZEN),
    FROZEN: ("account.frozen", AuditEventType.ACCOUNT_FROZEN),
    CLOSED: ("account.closed", AuditEventType.ACCOUNT_CLOSED),
}


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """New settings of an account; None leaves one as it is.

    Attributes:
        version: The version that the change was made from; 0: any.
    """

    account_id: UUID
    version: int
    display_name: str | None = None
    metadata: dict[str, str] | None = None
    overdraft_limit_minor: int | None = None

    @property
    def by_owner(self) -> bool:
        """Whether it names settings that are the owner's."""
        return self.display_name is not None or self.metadata is not None

    @property
    def by_banker(self) -> bool:
        """Whether it names settings that are a banker's."""
        return self.overdraft_limit_minor is not None


class AccountStanding:
    """Changes settings and state of accounts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def update(self, change: SettingsChange, caller: Caller) -> GetAccountRow:
        """Change settings; one version on, unless nothing is different.

        Raises:
            NotFound: Absent, or not the caller's to see.
            SessionRevoked: The session has ended meanwhile.
            Unauthenticated: The caller was disabled meanwhile.
            Forbidden: The setting is not the caller's to change.
            AccountClosed: It is closed.
            StaleVersion: It has another version than the change was made from.
            OverdraftInUse: More than the new limit is in use.
        """

        async def work(connection: Connection) -> GetAccountRow:
            account, now_caller = await _locked(connection, change.account_id, caller)
            if change.by_owner and account.owner_user_id != caller.user_id:
                raise Forbidden("only the owner changes display_name and metadata")
            if change.by_banker:
                _check_bankers(account, now_caller)
            if account.state == CLOSED:
                raise AccountClosed(account.id)
            if change.version not in (0, account.version):
                raise StaleVersion(account.version)
            return await _update_settings(connection, account, change, caller)

        return await self._database.transaction(work)

    async def freeze(self, account_id: UUID, caller: Caller) -> GetAccountRow:
        """Stop debits; once this has returned, no later debit of the account commits.

        Raises:
            NotFound: There is no such account.
            SessionRevoked: The session has ended meanwhile.
            Unauthenticated: The caller was disabled meanwhile.
            Forbidden: The caller is no banker, or the owner.
            AccountClosed: It is closed.
        """
        return await self._set_frozen(account_id, caller, state=FROZEN)

    async def unfreeze(self, account_id: UUID, caller: Caller) -> GetAccountRow:
        """Let debits happen again.

        Raises:
            BankError: See `freeze`.
        """
        return await self._set_frozen(account_id, caller, state=OPEN)

    async def close(self, account_id: UUID, caller: Caller) -> GetAccountRow:
        """Close an empty account for ever.

        Raises:
            NotFound: Absent, or not the caller's to see.
            SessionRevoked: The session has ended meanwhile.
            Unauthenticated: The caller was disabled meanwhile.
            Forbidden: The caller is neither its owner nor a banker.
            AccountNotEmpty: It has money, or something open will move some.
        """

        async def work(connection: Connection) -> GetAccountRow:
            account, now_caller = await _locked(connection, account_id, caller)
            if account.owner_user_id != caller.user_id and not now_caller.has_any(Role.BANKER):
                raise Forbidden("only its owner and bankers close an account")
            if account.state == CLOSED:
                return account
            # Whoever adds an obligation has this account locked too, so none comes in between.
            obligations = await account_queries.list_open_obligations(connection, account_id=account_id)
            if account.posted_minor or obligations:
                raise AccountNotEmpty(account_id, account.posted_minor, obligations)
            return await _update_state(connection, account, CLOSED, caller)

        return await self._database.transaction(work)

    async def _set_frozen(self, account_id: UUID, caller: Caller, *, state: str) -> GetAccountRow:
        async def work(connection: Connection) -> GetAccountRow:
            account, now_caller = await _locked(connection, account_id, caller)
            _check_bankers(account, now_caller)
            if account.state == CLOSED:
                raise AccountClosed(account_id)
            if account.state == state:
                return account
            return await _update_state(connection, account, state, caller)

        return await self._database.transaction(work)


async def _locked(connection: Connection, account_id: UUID, caller: Caller) -> tuple[GetAccountRow, Caller]:
    """The account, locked and free of overdue holds, and the caller as they are after the lock was taken."""
    # Whose account it is never changes, so who may not see it need not wait for its lock.
    await visible_account(connection, account_id, caller)
    await release_overdue_holds(connection, [account_id])
    state = await session_queries.get_session_state(connection, id=caller.session_id, user_id=caller.user_id)
    if state is None or not state.live:
        raise SessionRevoked
    if state.disabled:
        raise Unauthenticated("this user is disabled")
    account = await account_queries.get_account(connection, id=account_id)
    assert account is not None  # accounts are never deleted
    return account, replace(caller, roles=frozenset(map(Role, state.roles)))


def _check_bankers(account: GetAccountRow, caller: Caller) -> None:
    if not caller.has_any(Role.BANKER):
        raise Forbidden("only a banker freezes accounts and sets overdraft limits")
    if account.owner_user_id == caller.user_id:
        raise Forbidden("a banker may not freeze or unfreeze their own account, nor set its overdraft limit")


async def _update_settings(
    connection: Connection, account: GetAccountRow, change: SettingsChange, caller: Caller
) -> GetAccountRow:
    before = (account.display_name, json.loads(account.metadata), account.overdraft_limit_minor)
    display_name, metadata, limit_minor = after = (
        account.display_name if change.display_name is None else change.display_name,
        before[1] if change.metadata is None else change.metadata,
        account.overdraft_limit_minor if change.overdraft_limit_minor is None else change.overdraft_limit_minor,
    )
    if after == before:
        return account
    used_minor = account.held_minor - account.posted_minor
    if limit_minor < used_minor:
        raise OverdraftInUse(account.id, used_minor)
    await account_queries.update_account_settings(
        connection,
        id=account.id,
        display_name=display_name,
        metadata=json.dumps(metadata),
        overdraft_limit_minor=limit_minor,
    )
    if limit_minor != account.overdraft_limit_minor:
        await record(
            connection,
            AuditEventType.OVERDRAFT_LIMIT_CHANGED,
            user_id=account.owner_user_id,
            actor=caller,
            account_id=account.id,
            currency_code=account.currency_code,
            old_overdraft_limit_minor=account.overdraft_limit_minor,
            overdraft_limit_minor=limit_minor,
        )
    names = ("display_name", "metadata", "overdraft_limit_minor")
    fields = [name for name, old, new in zip(names, before, after, strict=True) if old != new]
    return await _changed(connection, account, "account.updated", fields=fields)


async def _update_state(connection: Connection, account: GetAccountRow, state: str, caller: Caller) -> GetAccountRow:
    event, audit_event_type = _CHANGES[state]
    await account_queries.update_account_state(connection, id=account.id, state=state)
    await record(
        connection,
        audit_event_type,
        user_id=account.owner_user_id,
        actor=caller,
        account_id=account.id,
        old_state=account.state,
    )
    return await _changed(connection, account, event)


async def _changed(connection: Connection, account: GetAccountRow, event: str, **facts: object) -> GetAccountRow:
    """Record the event; the account as it is now."""
    changed = await account_queries.get_account(connection, id=account.id)
    assert changed is not None  # accounts are never deleted
    await event_queries.insert_event(
        connection,
        type=event,
        subject_id=account.id,
        user_id=account.owner_user_id,
        data=json.dumps({"state": changed.state, "version": changed.version, **facts}),
    )
    return changed
