"""What is set up, or happens in between, in tests of users."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
from bankdb.models import User

from server.caller import Caller
from server.credentials import CredentialCheck
from server.errors import BadCredentials
from server.users.passwords import PasswordChange, UserPasswords
from tests.conftest import Database
from tests.server.identity import PASSWORD, caller_for
from tests.server.users.mail import Mailbox

NEW_PASSWORD = "eleven grey seals on a rock"


async def session_of(database: Database, user: User) -> Caller:
    """Sign a user in without asking for the password."""
    session_id = uuid4()
    await database.pool.execute(
        "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
        " VALUES ($1, $2, 'test', '127.0.0.1', now() + '1 h', now() + '1 h')",
        session_id,
        user.id,
    )
    return caller_for(user.id, session_id=session_id)


async def as_owner(database: Database, statement: str, *values: object) -> None:
    """Change what the service may not."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(statement, *values)
    await owner.close()


async def revoke_session(connection: Any, caller: Caller) -> None:
    await connection.execute("UPDATE sessions SET revoke_time = now() WHERE id = $1", caller.session_id)


async def replace_password(connection: Any, caller: Caller) -> None:
    await connection.execute("UPDATE users SET password_hash = 'another' WHERE id = $1", caller.user_id)


async def live_sessions(database: Database, user: User) -> set[object]:
    """Ids of sessions that were not ended."""
    rows = await database.pool.fetch("SELECT id FROM sessions WHERE user_id = $1 AND revoke_time IS NULL", user.id)
    return {row["id"] for row in rows}


def change_of(user: User, current_password: str = PASSWORD, new_password: str = NEW_PASSWORD) -> PasswordChange:
    return PasswordChange(user.id, current_password, new_password)


async def reset_link(user_passwords: UserPasswords, mailbox: Mailbox, user: User) -> str:
    await user_passwords.request_reset(user.email)
    return await mailbox.newest_token(user)


async def is_password(credentials: CredentialCheck, user: User, password: str) -> bool:
    try:
        await credentials.verify(user.username, password)
    except BadCredentials:
        return False
    return True


@asynccontextmanager
async def held(database: Database, query: str, *values: object) -> AsyncIterator[Any]:
    """A connection that holds the rows of a query locked, until the end of the body."""
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute(query, *values)
        yield connection
