"""`python -m server.administrator USERNAME`: makes a user an administrator, for the operator of the database.

Calls cannot do that for the first one: only administrators give roles, and no installation comes with one.
"""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import asyncpg
from bank.v1.user_service_pb2 import CreateUserRequest
from bankdb import users as user_queries
from bankdb.models import User

from server.audit.recording import AuditEventType, record
from server.caller import Role
from server.config import SettingsRefusedError, read_settings
from server.database import CONNECTION_ERRORS, Connection, Database, open_pool
from server.errors import InvalidRequest, Unavailable
from server.passwords import PasswordPolicy, Passwords
from server.users.messages import parse_create_user
from server.users.operations import NewUser
from server.users.signing_up import add_user, publish

Result = TypeVar("Result")


class RefusedError(Exception):
    """It was not done, and nothing was changed; the message says why and what to do."""


async def appoint(database: Database, username: str) -> bool:
    """Give a user the role of an administrator.

    Returns:
        False if they had it already.

    Raises:
        RefusedError: There is no such user, or they are disabled.
    """

    async def work(connection: Connection) -> bool:
        found = await user_queries.get_user_by_username(connection, username=username)
        user = await user_queries.lock_user(connection, id=found.id) if found else None
        if user is None:
            raise RefusedError(
                f"there is no user {username}: let them sign up, or create them by --create --email … --full-name …"
            )
        if Role.ADMIN in user.roles:
            return False
        if user.disabled:
            raise RefusedError(f"{username} is disabled: name another user, or create one by --create")
        await _make_administrator(connection, user)
        return True

    return await database.transaction(work)


async def create(database: Database, passwords: Passwords, new: NewUser) -> None:
    """Sign a user up as an administrator whose address needs no proof.

    Raises:
        RefusedError: Another user has the name, or has proven the address.
    """
    password_hash = await passwords.hash(new.password)

    async def work(connection: Connection) -> None:
        user = await add_user(
            connection,
            username=new.username,
            password_hash=password_hash,
            full_name=new.full_name,
            email=new.email,
        )
        await user_queries.mark_user_email_verified(connection, id=user.id, email=new.email)
        await _make_administrator(connection, user)

    try:
        await database.transaction(work)
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "users_verified_email_key":
            raise RefusedError(f"another user has proven {new.email}: give another address") from None
        raise RefusedError(_taken(new.username)) from None


async def _make_administrator(connection: Connection, user: User) -> None:
    roles = [role.value for role in Role if role in {*user.roles, Role.ADMIN}]
    await user_queries.update_user_roles(connection, id=user.id, roles=roles)
    await publish(connection, "user.roles_changed", user, roles=roles)
    await record(connection, AuditEventType.ADMINISTRATOR_APPOINTED, user_id=user.id, roles=",".join(roles))


def _taken(username: str) -> str:
    return f"there is a user {username} already: leave out --create to make them an administrator, if you know them"


async def _on_database(url: str, work: Callable[[Database], Awaitable[Result]]) -> Result:
    database = Database(await open_pool(url, size=1))
    try:
        return await work(database)
    finally:
        await database.close()


async def _find(database: Database, username: str) -> User | None:
    async with database.connection() as connection:
        return await user_queries.get_user_by_username(connection, username=username)


def _create(url: str, username: str, email: str, full_name: str) -> bool:
    """As `create`, after asking for the password; False if this user is an administrator already."""
    found = asyncio.run(_on_database(url, lambda database: _find(database, username)))
    if found is not None and Role.ADMIN in found.roles:
        return False
    if found is not None:
        # A stranger may have signed up by this name.
        raise RefusedError(_taken(username))
    request = CreateUserRequest(username=username, password=_read_password(), email=email, full_name=full_name)
    try:
        new = parse_create_user(request, PasswordPolicy())
    except InvalidRequest as error:
        faults = (f"{violation.field} {violation.description}" for violation in error.violations)
        raise RefusedError("; ".join(faults)) from None

    async def work(database: Database) -> None:
        passwords = Passwords(1)
        try:
            await create(database, passwords, new)
        finally:
            await passwords.close()

    asyncio.run(_on_database(url, work))
    return True


def _read_password() -> str:
    """Typed twice unseen; one line of standard input if that is no terminal."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().removesuffix("\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise RefusedError("the two passwords differ: try again")
    return password


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        The exit status: 0 if the user is an administrator now, 1 if not, 2 if settings or
        arguments are refused.
    """
    parser = argparse.ArgumentParser(prog="python -m server.administrator", description="Make a user an administrator.")
    parser.add_argument("username", help="who has signed up, or is created", type=str.lower)
    parser.add_argument("--create", action="store_true", help="create the user; asks for the password")
    parser.add_argument("--email", help="of the user to create; taken as proven")
    parser.add_argument("--full-name", help="of the user to create")
    options = parser.parse_args(arguments)
    if options.create != (options.email is not None) or options.create != (options.full_name is not None):
        parser.error("--create, --email and --full-name go together")
    try:
        url = read_settings().database_url.get_secret_value()
        if options.create:
            changed = _create(url, options.username, options.email, options.full_name)
        else:
            changed = asyncio.run(_on_database(url, lambda database: appoint(database, options.username)))
    except SettingsRefusedError as error:
        print(f"refusing to start: {error}", file=sys.stderr)
        return 2
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 1
    except (*CONNECTION_ERRORS, Unavailable, asyncpg.PostgresError) as error:
        print(f"the database cannot be used: {type(error).__name__}", file=sys.stderr)
        return 1
    print(f"{options.username} is an administrator {'now' if changed else 'already: nothing was changed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
