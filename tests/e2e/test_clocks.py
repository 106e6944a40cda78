"""A server whose clock is wrong, beside one whose clock is right: the database says what time it is."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest

from server.config import Settings
from server.keys import Keys, load
from server.tokens import LEEWAY_S, AccessTokens, MailTokens
from tests.clocks import WrongClock
from tests.e2e.parts import Customer, Parts, running_parts
from tests.e2e.wire import Answer, GrpcWire

PASSWORD = "seven blue herons at dusk"
TTL_S = 900
MARGIN_S = 10


@dataclass
class Clocks:
    """Two servers.

    Attributes:
        right: A server that knows the time.
        wrong: One that goes by the clock.
    """

    parts: Parts
    keys: Keys
    clock: WrongClock
    right: GrpcWire
    wrong: GrpcWire

    async def token(self, *, ended_s: float = 0, begins_s: float = 0) -> str:
        """Of somebody who has signed in; one that ended so long ago, begins in so long, or is good."""
        customer = await self.parts.sign_in()
        now = datetime.now(UTC)
        issue_time = now - timedelta(seconds=ended_s + TTL_S) if ended_s else now + timedelta(seconds=begins_s)
        session_id = await self.value("SELECT id FROM sessions WHERE user_id = $1", customer.user_id)
        return AccessTokens(self.keys, "paseto", TTL_S).issue(customer.user_id, session_id, issue_time)[0]

    async def sign_up(self) -> tuple[UUID, dict[str, Any]]:
        """A new user, who signs in at the wrong server; their id and the session."""
        username = f"u{uuid4().hex[:16]}"
        fields = {"username": username, "password": PASSWORD, "full_name": "A", "email": f"{username}@example.com"}
        signed_up = await self.wrong.call("CreateUser", fields)
        assert signed_up.code == "OK", signed_up
        signed_in = await self.wrong.call("CreateSession", {"username": username, "password": PASSWORD})
        assert signed_in.code == "OK", signed_in
        return UUID(signed_up.reply["user"]["id"]), signed_in.reply

    async def mailed_token(self, user_id: UUID) -> str:
        token_id = await self.value("SELECT id FROM mail_tokens WHERE user_id = $1", user_id)
        return MailTokens(self.keys.mail_token_key).make("VERIFY_EMAIL", token_id, user_id)

    async def value(self, query: str, *arguments: object) -> Any:
        async with self.parts.owner() as owner:
            return await owner.fetchval(query, *arguments)

    async def both(self, token: str) -> set[str]:
        """What the two servers say to a token."""
        answers = [await wire.call("GetUser", {"user_id": "me"}, token) for wire in (self.right, self.wrong)]
        return {answer.code for answer in answers}


@pytest.fixture(scope="module")
async def clocks(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Clocks]:
    folder: Path = tmp_path_factory.mktemp("clocks")
    clock = WrongClock(folder / "clock", "+0")
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(running_parts(folder))
        await restart(parts, clock)
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))
            for port in parts.server_ports
        ]
        settings = Settings(BANK_ENVIRONMENT="test", database_url="-", redis_url="-", token_keys_file=parts.keys_file)
        yield Clocks(parts, load(settings), clock, *(GrpcWire(channel) for channel in channels))


async def restart(parts: Parts, clock: WrongClock) -> None:
    """Start the second server anew, by this clock."""
    parts.servers[1].signal(signal.SIGKILL)
    await parts.servers[1].process.wait()
    await parts.start_server(1, **clock.environment)


@pytest.fixture(scope="module", params=["+5m", "-5m"])
async def skewed(clocks: Clocks, request: pytest.FixtureRequest) -> Clocks:
    """The second server was started with a clock that is this far off."""
    clocks.clock.set(request.param)
    await restart(clocks.parts, clocks.clock)
    return clocks


class TestSkewedServer:
    async def test_token_lives_as_long_as_at_any_other_server(self, skewed: Clocks) -> None:
        good = [
            await skewed.token(),
            await skewed.token(ended_s=LEEWAY_S - MARGIN_S),
            await skewed.token(begins_s=LEEWAY_S - MARGIN_S),
        ]
        bad = [
            await skewed.token(ended_s=LEEWAY_S + MARGIN_S),
            await skewed.token(begins_s=LEEWAY_S + MARGIN_S),
            await skewed.token(ended_s=300),
            await skewed.token(begins_s=300),
        ]
        assert [await skewed.both(token) for token in good] == [{"OK"}] * len(good)
        assert [await skewed.both(token) for token in bad] == [{"UNAUTHENTICATED"}] * len(bad)

    async def test_token_it_issues_is_good_everywhere_at_once(self, skewed: Clocks) -> None:
        _, session = await skewed.sign_up()
        assert await skewed.both(session["access_token"]) == {"OK"}

    async def test_session_ends_by_the_database(self, skewed: Clocks) -> None:
        user_id, session = await skewed.sign_up()
        ends = "UPDATE sessions SET idle_expire_time = now() + $2::float8 * interval '1 s' WHERE user_id = $1"
        await skewed.value(ends, user_id, 100)
        refreshed = await skewed.wrong.call("RefreshSession", {"refresh_token": session["refresh_token"]})
        assert refreshed.code == "OK", refreshed
        await skewed.value(ends, user_id, -100)
        refused = await skewed.wrong.call("RefreshSession", {"refresh_token": refreshed.reply["refresh_token"]})
        assert (refused.code, refused.reason) == ("UNAUTHENTICATED", "SESSION_REVOKED")

    async def test_mailed_link_ends_by_the_database(self, skewed: Clocks) -> None:
        ends = "UPDATE mail_tokens SET expire_time = now() + $2::float8 * interval '1 s' WHERE user_id = $1"
        answers = {}
        for left_s in (100, -100):
            user_id, _ = await skewed.sign_up()
            await skewed.value(ends, user_id, left_s)
            token = await skewed.mailed_token(user_id)
            answers[left_s] = await skewed.wrong.call("VerifyEmail", {"token": token})
        assert answers[100].code == "OK"
        assert (answers[-100].code, answers[-100].reason) == ("FAILED_PRECONDITION", "TOKEN_INVALID")

    async def test_money_moved_by_both_adds_up_in_the_order_of_the_ledger(self, skewed: Clocks) -> None:
        await assert_in_order(skewed, await move_money(skewed))


class TestServerSetBack:
    async def test_nothing_that_ended_lives_again(self, clocks: Clocks) -> None:
        clocks.clock.set("+0")
        await restart(clocks.parts, clocks.clock)
        expired = [await clocks.token(ended_s=seconds) for seconds in (45, 600, 1800, 3000)]
        good = await clocks.token()
        user_id, session = await clocks.sign_up()
        link = await clocks.mailed_token(user_id)
        await clocks.value("UPDATE mail_tokens SET expire_time = now() - interval '30 min' WHERE user_id = $1", user_id)
        await clocks.value(
            "UPDATE sessions SET idle_expire_time = now() - interval '30 min' WHERE user_id = $1", user_id
        )
        ended = [("VerifyEmail", {"token": link}), ("RefreshSession", {"refresh_token": session["refresh_token"]})]
        before = [await clocks.wrong.call(*call) for call in ended]
        for offset in ("+0", "-1h"):
            clocks.clock.set(offset)
            # Longer than anything is remembered.
            await asyncio.sleep(1)
            assert [await clocks.both(token) for token in expired] == [{"UNAUTHENTICATED"}] * len(expired)
            assert await clocks.both(good) == {"OK"}
            assert await clocks.both(session["access_token"]) == {"UNAUTHENTICATED"}
            assert [await clocks.wrong.call(*call) for call in ended] == before
        assert {answer.code for answer in before} == {"FAILED_PRECONDITION", "UNAUTHENTICATED"}

    async def test_ids_stay_unique_and_times_never_go_back(self, clocks: Clocks) -> None:
        clocks.clock.set("+0")
        await restart(clocks.parts, clocks.clock)
        customers = await move_money(clocks)
        clocks.clock.set("-1h")
        await asyncio.sleep(0.2)
        await assert_in_order(clocks, [*customers, *await move_money(clocks, customers)])


async def move_money(clocks: Clocks, customers: list[Customer] | None = None) -> list[Customer]:
    """Forty transfers between two accounts, by the two servers in turn; who has the accounts."""
    first, second = customers or await clocks.parts.customers(clocks.right, 2, 10_000)

    async def move(number: int) -> Answer:
        giver, taker = (first, second) if number % 4 < 2 else (second, first)
        fields = {
            "request_id": str(uuid4()),
            "source_account_id": giver.account_id,
            "destination_account_id": taker.account_id,
            "amount_minor": 1,
            "currency_code": "USD",
        }
        return await (clocks.right, clocks.wrong)[number % 2].call("CreateTransfer", fields, giver.token)

    answers = [*await asyncio.gather(*map(move, range(20))), *[await move(number) for number in range(20)]]
    assert [answer.code for answer in answers] == ["OK"] * 40
    assert len({answer.reply["transfer"]["id"] for answer in answers}) == 40
    return [first, second]


async def assert_in_order(clocks: Clocks, customers: list[Customer]) -> None:
    await clocks.parts.assert_ledger_adds_up()
    for account_id in {customer.account_id for customer in customers}:
        async with clocks.parts.owner() as owner:
            rows = await owner.fetch(
                "SELECT sequence, create_time FROM entries WHERE account_id = $1 ORDER BY sequence", UUID(account_id)
            )
        assert [row["sequence"] for row in rows] == list(range(1, len(rows) + 1))
        times = [row["create_time"] for row in rows]
        assert times == sorted(times)
        assert abs((times[-1] - datetime.now(UTC)).total_seconds()) < 60
