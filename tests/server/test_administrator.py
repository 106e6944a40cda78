"""`python -m server.administrator`: the first administrator, made by whoever has the database and by nobody else."""

import asyncio
import json
import os
import pty
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping
from uuid import UUID, uuid4

import argon2
import asyncpg
import pytest

from local.settings import ROOT
from server.administrator import appoint
from server.database import Database, open_pool
from tests.conftest import Database as MigratedDatabase

PASSWORD = "seven blue herons at dusk"
CREATE = ("root", "--create", "--email", "Root@Example.org", "--full-name", "Root Example")
TABLES = ("users", "sessions", "mail_tokens", "outbox", "events", "audit_events")
EMAIL = "Root@example.org"
"""The address of CREATE as it is stored."""


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "BANK_ENVIRONMENT": "production", "PUBLIC_URL": "https://bank.example"}


async def run(environment: Mapping[str, str], *arguments: str, typed: str = "") -> tuple[int | None, str]:
    """Exit status and what was written."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.administrator", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=PIPE,
        stdout=PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(typed.encode()), 20)
    return process.returncode, output.decode().strip()


async def run_at_terminal(environment: Mapping[str, str], *arguments: str, typed: list[str]) -> tuple[int | None, str]:
    """As `run`, each line typed after its prompt; what the terminal shows."""
    terminal, end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.administrator", *arguments),
        cwd=ROOT,
        env=environment,
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
    )
    os.close(end)
    shown = ""
    for prompt, line in zip(("Password: ", "Again: "), typed, strict=True):
        while not shown.endswith(prompt):
            shown += (await asyncio.to_thread(os.read, terminal, 1000)).decode()
        os.write(terminal, f"{line}\n".encode())
    status = await asyncio.wait_for(process.wait(), 20)
    try:
        while chunk := os.read(terminal, 1000):
            shown += chunk.decode()
    except OSError:  # how Linux says that the other end is closed
        os.close(terminal)
    return status, shown.replace("\r\n", "\n").strip()


async def sign_up(database: MigratedDatabase, username: str = "root", **columns: object) -> UUID:
    values = {
        "id": uuid4(),
        "username": username,
        "password_hash": "-",
        "full_name": "Somebody",
        "email": f"{username}@example.com",
        **columns,
    }
    places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    await database.pool.execute(f"INSERT INTO users ({', '.join(values)}) VALUES ({places})", *values.values())
    return values["id"]  # type: ignore[return-value]  # see above


async def everything(database: MigratedDatabase) -> dict[str, list[asyncpg.Record]]:
    return {table: await database.pool.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES}


async def recorded(database: MigratedDatabase) -> list[tuple[object, ...]]:
    """What the audit log says, in its order."""
    rows = await database.pool.fetch(
        "SELECT type, user_id, actor_user_id, session_id, details FROM audit_events ORDER BY id"
    )
    return [(*tuple(row)[:4], json.loads(row["details"])) for row in rows]


class TestDefaultUsers:
    async def test_new_database_has_none(self, database: MigratedDatabase) -> None:
        assert all(rows == [] for rows in (await everything(database)).values())


class TestAppoint:
    async def test_user_gets_the_role_beside_what_they_have(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        user_id = await sign_up(database, roles=["DEPOSITOR", "BANKER"])
        assert await run(environment, "Root") == (0, "root is an administrator now")
        roles = await database.pool.fetchval("SELECT roles FROM users")
        assert roles == ["DEPOSITOR", "BANKER", "ADMIN"]
        details = {"roles": "DEPOSITOR,BANKER,ADMIN"}
        assert await recorded(database) == [("ADMINISTRATOR_APPOINTED", user_id, None, None, details)]
        event = await database.pool.fetchrow("SELECT type, subject_id, user_id, data FROM events")
        assert tuple(event)[:3] == ("user.roles_changed", user_id, user_id)
        assert json.loads(event["data"]) == {"roles": roles}

    async def test_second_time_changes_nothing(self, database: MigratedDatabase, environment: dict[str, str]) -> None:
        await sign_up(database)
        await run(environment, "root")
        before = await everything(database)
        assert await run(environment, "root") == (0, "root is an administrator already: nothing was changed")
        assert await everything(database) == before

    async def test_two_at_once_appoint_once(self, database: MigratedDatabase) -> None:
        user_id = await sign_up(database)
        service = Database(await open_pool(database.app_url, size=2))
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", user_id)
            both = [asyncio.create_task(appoint(service, "root")) for _ in range(2)]
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            async with asyncio.timeout(5):
                while await database.pool.fetchval(waiting) < len(both):
                    await asyncio.sleep(0.01)
        assert sorted(await asyncio.gather(*both)) == [False, True]
        assert len(await recorded(database)) == 1
        await service.close()

    async def test_unknown_user_is_refused(self, database: MigratedDatabase, environment: dict[str, str]) -> None:
        status, said = await run(environment, "root")
        assert (status, said.split(":")[0]) == (1, "there is no user root")

    async def test_disabled_user_is_refused(self, database: MigratedDatabase, environment: dict[str, str]) -> None:
        await sign_up(database, disabled=True)
        before = await everything(database)
        status, said = await run(environment, "root")
        assert (status, said.split(":")[0]) == (1, "root is disabled")
        assert await everything(database) == before


class TestCreate:
    async def test_new_user_is_verified_and_signs_in_with_the_password(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        assert await run(environment, *CREATE, typed=f"{PASSWORD}\n") == (0, "root is an administrator now")
        user = await database.pool.fetchrow("SELECT * FROM users")
        assert (user["username"], user["full_name"], user["email"]) == ("root", "Root Example", EMAIL)
        assert (user["email_verified"], user["roles"]) == (True, ["DEPOSITOR", "ADMIN"])
        assert argon2.PasswordHasher().verify(user["password_hash"], PASSWORD)
        assert await recorded(database) == [
            ("USER_CREATED", user["id"], None, None, {}),
            ("ADMINISTRATOR_APPOINTED", user["id"], None, None, {"roles": "DEPOSITOR,ADMIN"}),
        ]
        jobs = await database.pool.fetch("SELECT job, payload FROM outbox")
        assert [(row["job"], json.loads(row["payload"])) for row in jobs] == [
            ("open_first_account", {"user_id": str(user["id"])})
        ]
        events = await database.pool.fetch("SELECT type FROM events ORDER BY id")
        assert [row["type"] for row in events] == ["user.created", "user.roles_changed"]

    async def test_second_time_asks_for_no_password_and_changes_none(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        await run(environment, *CREATE, typed=PASSWORD)
        before = await everything(database)
        status, said = await run(environment, *CREATE, typed="another password altogether")
        assert (status, said) == (0, "root is an administrator already: nothing was changed")
        assert await everything(database) == before

    async def test_name_of_a_user_is_refused(self, database: MigratedDatabase, environment: dict[str, str]) -> None:
        """Who has it may be a stranger; so no password is asked for."""
        await sign_up(database)
        before = await everything(database)
        status, said = await run(environment, *CREATE, typed="")
        assert (status, said.split(":")[0]) == (1, "there is a user root already")
        assert await everything(database) == before

    async def test_address_that_another_has_proven_is_refused(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        await sign_up(database, "carol", email=EMAIL.upper(), email_verified=True)
        before = await everything(database)
        status, said = await run(environment, *CREATE, typed=PASSWORD)
        assert (status, said.split(":")[0]) == (1, f"another user has proven {EMAIL}")
        assert await everything(database) == before

    async def test_address_that_another_only_claims_is_taken(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        await sign_up(database, "carol", email=EMAIL)
        assert (await run(environment, *CREATE, typed=PASSWORD))[0] == 0

    async def test_everything_that_is_wrong_is_told(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        wrong = ("1", "--create", "--email", "nowhere", "--full-name", "\t")
        status, said = await run(environment, *wrong, typed="short")
        assert status == 1
        assert [fault.split()[0] for fault in said.split("; ")] == ["username", "password", "full_name", "email"]
        assert await database.pool.fetch("SELECT FROM users") == []

    @pytest.mark.parametrize("password", ["", "fourteen chars", "password password", "my name is root, and I rule"])
    async def test_password_follows_the_policy(
        self, database: MigratedDatabase, environment: dict[str, str], password: str
    ) -> None:
        status, said = await run(environment, *CREATE, typed=password)
        assert (status, said.split(" must ")[0].split(" is ")[0]) == (1, "password")
        assert password not in said or not password
        assert await database.pool.fetch("SELECT FROM users") == []


class TestTerminal:
    async def test_password_is_typed_twice_and_not_shown(
        self, database: MigratedDatabase, environment: dict[str, str]
    ) -> None:
        status, shown = await run_at_terminal(environment, *CREATE, typed=[PASSWORD, PASSWORD])
        assert (status, shown) == (0, "Password: \nAgain: \nroot is an administrator now")
        password_hash = await database.pool.fetchval("SELECT password_hash FROM users")
        assert argon2.PasswordHasher().verify(password_hash, PASSWORD)

    async def test_two_that_differ_are_refused(self, database: MigratedDatabase, environment: dict[str, str]) -> None:
        status, shown = await run_at_terminal(environment, *CREATE, typed=[PASSWORD, f"{PASSWORD}!"])
        assert (status, shown) == (1, "Password: \nAgain: \nthe two passwords differ: try again")
        assert await database.pool.fetch("SELECT FROM users") == []


class TestCommandLine:
    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("root", "--create"),
            ("root", "--create", "--email", "root@example.org"),
            ("root", "--email", "root@example.org", "--full-name", "Root"),
            (*CREATE, "--password", PASSWORD),
        ],
    )
    async def test_arguments_that_do_not_fit_are_refused(
        self, database: MigratedDatabase, environment: dict[str, str], arguments: tuple[str, ...]
    ) -> None:
        status, said = await run(environment, *arguments, typed=PASSWORD)
        assert (status, said.split(":")[0]) == (2, "usage")
        assert await database.pool.fetch("SELECT FROM users") == []

    async def test_missing_setting_is_named(self, environment: dict[str, str]) -> None:
        del environment["DATABASE_URL"]
        assert await run(environment, "root") == (2, "refusing to start: DATABASE_URL: Field required")

    async def test_database_that_does_not_answer_is_told_in_one_line(self, environment: dict[str, str]) -> None:
        environment["DATABASE_URL"] = "postgresql://bank_app:database-secret@127.0.0.1:1/bank"
        assert await run(environment, "root") == (1, "the database cannot be used: ConnectionRefusedError")
