"""A running system filled through its API, again, and after a run that was killed."""

import asyncio
import io
import re
import sys
from pathlib import Path

import asyncpg
import pytest

from local.errors import StackError
from local.filling import fill
from local.population import Population
from local.progress import Progress
from local.settings import ROOT
from local.verify import verify
from tests.conftest import Stack

COUNTED = ("users", "accounts", "products", "inventory_movements", "orders", "holds", "transfers", "requests")
"""Tables that nothing else of this module writes to."""


async def counts(stack: Stack) -> dict[str, int]:
    connection = await asyncpg.connect(stack.owner_url)
    try:
        return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in COUNTED}
    finally:
        await connection.close()


async def filled(stack: Stack, population: Population) -> str:
    return await fill(stack.grpc_target, stack.mail_dir, population, Progress(io.StringIO()))


async def start(stack: Stack, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "local", "seed"),
        *arguments,
        cwd=ROOT,
        env={**stack.environment, "PYTHONPATH": f"{ROOT}:{ROOT / 'gen'}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


class TestFill:
    @pytest.mark.timeout(120)
    async def test_everybody_and_everything_is_there_and_a_second_run_adds_nothing(self, stack: Stack) -> None:
        population = Population(3, 2, 12)
        before = await counts(stack)
        said = await filled(stack, population)
        assert re.fullmatch(r"3 users \(3 new\), 2 products \(2 new\), 12 orders \(12 new\) in [0-9.]+ s", said)
        after = await counts(stack)
        grown = {table: after[table] - before[table] for table in COUNTED}
        assert {table: grown[table] for table in ("users", "accounts", "products", "orders", "holds")} == {
            "users": 3,
            "accounts": 3,
            "products": 2,
            "orders": 12,
            "holds": 12,
        }
        connection = await asyncpg.connect(stack.owner_url)
        names = [customer.username for customer in population.customers]
        verified = await connection.fetch(
            "SELECT full_name, email_verified FROM users WHERE username = ANY ($1)", names
        )
        bought = await connection.fetch(
            "SELECT username, count(*) FROM orders JOIN users ON users.id = buyer_user_id"
            " WHERE username = ANY ($1) GROUP BY 1",
            names,
        )
        sessions = await connection.fetchval(
            "SELECT count(*) FROM sessions JOIN users ON users.id = user_id"
            " WHERE username = ANY ($1) AND revoke_time IS NULL",
            names,
        )
        await connection.close()
        assert {tuple(row) for row in verified} == {(customer.full_name, True) for customer in population.customers}
        assert {row[0]: row[1] for row in bought} == {
            customer.username: len(orders) for customer, orders in population.purchases.items()
        }
        assert sessions == 0

        assert "(0 new), 2 products (0 new), 12 orders (0 new)" in await filled(stack, population)
        assert await counts(stack) == after
        assert "no difference" in await verify(f"127.0.0.1:{stack.environment['SERVER_PORT']}")

    @pytest.mark.timeout(120)
    async def test_run_after_a_killed_one_does_what_is_left(self, stack: Stack) -> None:
        asked = ("--users", "6", "--products", "3", "--orders", "40")
        before = await counts(stack)
        for stage, reached in (("signing up", "2/"), ("verifying", "1/"), ("offering", "2/"), ("ordering", "16/")):
            killed = await start(stack, *asked)
            assert killed.stdout is not None
            while line := (await killed.stdout.readline()).decode():
                if line.startswith(stage) and reached in line:
                    break
            killed.kill()
            await killed.wait()
        last = await start(stack, *asked)
        printed = (await last.communicate())[0].decode()
        assert last.returncode == 0, printed
        assert re.search(r"6 users \(0 new\), 3 products \(0 new\), 40 orders \([0-9]+ new\)", printed)
        grown = {table: count - before[table] for table, count in (await counts(stack)).items()}
        # Three users and two products may be those of the other test.
        assert grown["orders"] == grown["holds"] == 40
        assert grown["users"] in (3, 6)
        assert grown["accounts"] == grown["users"]
        assert "no difference" in await verify(f"127.0.0.1:{stack.environment['SERVER_PORT']}")

    async def test_absent_service_is_named_and_nothing_is_tried_for_ever(self, tmp_path: Path) -> None:
        with pytest.raises(StackError, match=r"^the service refuses: UNAVAILABLE"):
            await fill("127.0.0.1:1", tmp_path, Population(1, 1, 1), Progress(io.StringIO()))


class TestArguments:
    @pytest.mark.parametrize(
        ("arguments", "status", "told"),
        [
            (("--orders", "5"), 1, "orders need users who place them and products: say how many of each\n"),
            (("--orders", "5", "--users", "1"), 1, "orders need users who place them and products"),
            (("--users", "many"), 2, "argument --users: must be a number from 0 to 1000000, not 'many'\n"),
            (("--users", "-1"), 2, "argument --users: "),
            (("--products", "1000001"), 2, "argument --products: must be a number from 0 to 1000000"),
        ],
    )
    async def test_numbers_that_cannot_be_meant_are_refused(
        self, stack: Stack, arguments: tuple[str, ...], status: int, told: str
    ) -> None:
        before = await counts(stack)
        process = await start(stack, *arguments)
        printed = (await process.communicate())[0].decode()
        assert process.returncode == status
        assert told in printed
        assert await counts(stack) == before
