from uuid import uuid4

import asyncpg
import pytest
from bankdb import users

from local.demo import DEMO_USERS
from local.errors import StackError
from local.seed import seed
from local.verify import verify
from tests.conftest import Database, Stack

NO_SERVER = "127.0.0.1:1"


def target(stack: Stack) -> str:
    return f"127.0.0.1:{stack.environment['SERVER_PORT']}"


async def rows(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


class TestSeed:
    async def test_demo_users_are_verified_and_have_their_roles(self, stack: Stack) -> None:
        found = await rows(stack.owner_url, "SELECT username, roles, email_verified FROM users")
        roles = {str(username): granted for username, granted, verified in found if verified}
        assert {username: roles[username] for username in DEMO_USERS} == {
            "admin": ["ADMIN", "DEPOSITOR"],
            "banker": ["BANKER", "DEPOSITOR"],
            "merchant": ["DEPOSITOR", "MERCHANT"],
            "alice": ["DEPOSITOR"],
            "bob": ["DEPOSITOR"],
        }

    async def test_second_run_adds_nothing(self, stack: Stack) -> None:
        counts = (
            "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM accounts), (SELECT count(*) FROM transfers)"
        )
        before = await rows(stack.owner_url, counts)
        await seed("local", stack.app_url, target(stack), print)
        assert await rows(stack.owner_url, counts) == before

    async def test_other_environment_is_refused_and_nothing_written(self, database: Database) -> None:
        with pytest.raises(StackError, match="demo users exist in a local stack only"):
            await seed("production", database.app_url, NO_SERVER, print)
        assert await rows(database.owner_url, "SELECT username FROM users") == []

    async def test_database_with_users_of_its_own_is_left_alone(self, database: Database) -> None:
        await users.insert_user(
            database.pool, id=uuid4(), username="carol", password_hash="x", full_name="Carol", email="c@example.com"
        )
        said: list[str] = []
        await seed("local", database.app_url, NO_SERVER, said.append)
        assert said == ["This database has users of its own: the demo users were left out."]
        assert await rows(database.owner_url, "SELECT username FROM users") == [("carol",)]

    async def test_silent_server_is_named(self, database: Database) -> None:
        with pytest.raises(StackError, match="the server refuses alice: UNAVAILABLE"):
            await seed("local", database.app_url, NO_SERVER, print)


class TestVerify:
    async def test_sound_ledger_is_counted(self, stack: Stack) -> None:
        assert " entries: no difference" in await verify(target(stack))

    async def test_broken_balance_is_named(self, stack: Stack) -> None:
        ((account_id,),) = await rows(
            stack.owner_url,
            "SELECT accounts.id FROM accounts JOIN users ON users.id = owner_user_id WHERE username = 'bob'"
            " ORDER BY accounts.id LIMIT 1",  # other tests of the run may have opened more
        )
        change = "UPDATE accounts SET posted_minor = posted_minor {} 7 WHERE id = '{}'"
        await rows(stack.owner_url, change.format("+", account_id))
        try:
            with pytest.raises(StackError, match=rf"LEDGER_RULE_BALANCE {account_id}: ") as caught:
                await verify(target(stack))
            assert str(caught.value).startswith("The ledger does not add up:\n")
        finally:
            await rows(stack.owner_url, change.format("-", account_id))
