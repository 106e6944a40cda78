"""Sessions through the gateway: tokens that are exchanged, times that pass, and ends that every process notices."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from time import monotonic
from uuid import UUID, uuid4

import grpc
import pytest

from local.demo import DEMO_PASSWORD
from server.sessions.operations import LIVE_SESSIONS_MAX
from tests.e2e.conftest import ABSENT, Bank, Person, transfer_fields
from tests.e2e.wire import Answer, GrpcWire

REVOKED = ("UNAUTHENTICATED", "SESSION_REVOKED")
NOTICED_S = 1.0
"""How late a process may notice what ends a session, for calls that move no money."""


@pytest.fixture(scope="module")
async def processes(bank: Bank) -> AsyncIterator[list[GrpcWire]]:
    """Every server process, past the gateway."""
    first = int(bank.stack.environment["SERVER_PORT"])
    async with AsyncExitStack() as stack:
        yield [
            GrpcWire(await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{first + number}")))
            for number in range(int(bank.stack.environment["SERVER_PROCESSES"]))
        ]


async def refresh(bank: Bank, token: str) -> Answer:
    return await bank.json.call("RefreshSession", {"refresh_token": token})


async def age_used_tokens(bank: Bank, person: Person, seconds: float) -> None:
    """As if the tokens of the session had been used so much earlier."""
    await bank.owner.execute(
        "UPDATE refresh_tokens SET use_time = use_time - make_interval(secs => $1) WHERE session_id = $2",
        seconds,
        UUID(person.session_id),
    )


async def is_revoked(bank: Bank, session_id: str) -> bool:
    """Seen by another connection than the service's."""
    return bool(
        await bank.owner.fetchval("SELECT revoke_time IS NOT NULL FROM sessions WHERE id = $1", UUID(session_id))
    )


async def audited(bank: Bank, user_id: str) -> list[str]:
    """What was recorded of a user, oldest first."""
    rows = await bank.owner.fetch("SELECT type FROM audit_events WHERE user_id = $1 ORDER BY id", UUID(user_id))
    return [row["type"] for row in rows]


class TestRefresh:
    async def test_repeat_within_ten_seconds_returns_the_same_successor_over_both_wires(self, bank: Bank) -> None:
        person = await bank.person()
        first = await refresh(bank, person.refresh_token)
        await age_used_tokens(bank, person, 6)
        again = [await wire.call("RefreshSession", {"refresh_token": person.refresh_token}) for wire in bank.wires]
        assert {answer.reply["refresh_token"] for answer in again} == {first.reply["refresh_token"]}
        assert (await refresh(bank, first.reply["refresh_token"])).code == "OK"

    async def test_reuse_revokes_and_it_stays_so_though_the_call_errs(self, bank: Bank) -> None:
        person = await bank.person()
        first = await refresh(bank, person.refresh_token)
        await age_used_tokens(bank, person, 11)
        refused = await refresh(bank, person.refresh_token)
        assert (refused.code, refused.reason) == REVOKED
        assert await is_revoked(bank, person.session_id)
        for token in (first.reply["refresh_token"], person.refresh_token):
            refused = await refresh(bank, token)
            assert (refused.code, refused.reason) == REVOKED
        assert (await audited(bank, person.user_id)).count("REFRESH_TOKEN_REUSED") == 1
        refused = await bank.grpc.call(
            "CreateTransfer", transfer_fields(ABSENT, str(uuid4())), first.reply["access_token"]
        )
        assert (refused.code, refused.reason) == REVOKED

    async def test_twenty_at_once_over_all_processes_leave_one_lineage(
        self, bank: Bank, processes: list[GrpcWire]
    ) -> None:
        person = await bank.person()
        answers = await asyncio.gather(
            *(
                processes[number % len(processes)].call("RefreshSession", {"refresh_token": person.refresh_token})
                for number in range(20)
            )
        )
        assert {answer.code for answer in answers} == {"OK"}
        (successor,) = {answer.reply["refresh_token"] for answer in answers}
        tokens = "SELECT count(*) FROM refresh_tokens WHERE session_id = $1"
        assert await bank.owner.fetchval(tokens, UUID(person.session_id)) == 2
        assert (await refresh(bank, successor)).code == "OK"


class TestTimes:
    @pytest.mark.parametrize("column", ["idle_expire_time", "expire_time"])
    async def test_session_ends_by_the_clock_of_the_database(
        self, bank: Bank, processes: list[GrpcWire], column: str
    ) -> None:
        person = await bank.person()
        await bank.owner.execute(
            f"UPDATE sessions SET {column} = clock_timestamp() - interval '1 ms' WHERE id = $1",
            UUID(person.session_id),
        )
        await refused_everywhere(bank, processes, person)
        assert not await is_revoked(bank, person.session_id)

    async def test_refresh_lengthens_the_idle_time_and_never_the_whole(self, bank: Bank) -> None:
        person = await bank.person()
        session_id = UUID(person.session_id)
        whole = "UPDATE sessions SET expire_time = clock_timestamp() + '1 h' WHERE id = $1 RETURNING expire_time"
        expire_time = await bank.owner.fetchval(whole, session_id)
        assert (await refresh(bank, person.refresh_token)).code == "OK"
        row = await bank.owner.fetchrow("SELECT expire_time, idle_expire_time FROM sessions WHERE id = $1", session_id)
        assert row is not None
        assert tuple(row) == (expire_time, expire_time)


class TestOrigin:
    async def test_address_and_program_are_those_the_gateway_saw(self, bank: Bank) -> None:
        username = await bank.sign_up()
        claims = [("x-forwarded-for", "6.6.6.6"), ("x-envoy-external-address", "6.6.6.6"), ("user-agent", "a" * 300)]
        answer = await bank.json.call("CreateSession", {"username": username, "password": DEMO_PASSWORD}, "", claims)
        session = answer.reply["session"]
        assert (session["client_address"], session["user_agent"]) == ("127.0.0.1", "a" * 200)
        listed = await bank.grpc.call("ListSessions", {}, answer.reply["access_token"])
        assert [each["client_address"] for each in listed.reply["sessions"]] == ["127.0.0.1"]


class TestEnd:
    """What ends is refused to money at once and to all else within a second, by every process."""

    async def test_session_revoked(self, bank: Bank, processes: list[GrpcWire]) -> None:
        person = await bank.person()
        await seen_everywhere(processes, person)
        assert (await bank.json.call("RevokeSession", {"session_id": person.session_id}, person.token)).code == "OK"
        await refused_everywhere(bank, processes, person)
        assert (await audited(bank, person.user_id))[-1] == "SESSION_REVOKED"

    async def test_all_sessions_revoked(self, bank: Bank, processes: list[GrpcWire]) -> None:
        username = await bank.sign_up()
        people = [await bank.sign_in(username) for _ in range(3)]
        for person in people:
            await seen_everywhere(processes, person)
        assert (await bank.json.call("RevokeAllSessions", {}, people[0].token)).code == "OK"
        await asyncio.gather(*(refused_everywhere(bank, processes, person) for person in people))
        assert (await audited(bank, people[0].user_id))[-1] == "ALL_SESSIONS_REVOKED"

    async def test_user_disabled(self, bank: Bank, processes: list[GrpcWire]) -> None:
        person = await bank.person()
        await seen_everywhere(processes, person)
        admin = bank.people["admin"].token
        assert (await bank.json.call("DisableUser", {"user_id": person.user_id}, admin)).code == "OK"
        await refused_everywhere(bank, processes, person)

    async def test_role_lost(self, bank: Bank, processes: list[GrpcWire]) -> None:
        banker = await bank.person(roles=("BANKER", "DEPOSITOR"))
        account_id = await bank.account(await bank.person())
        admin = bank.people["admin"].token
        for process in processes:
            assert (await process.call("ListUsers", {}, banker.token)).code == "OK"
        lost = await bank.json.call("SetUserRoles", {"user_id": banker.user_id, "roles": []}, admin)
        assert lost.code == "OK"
        returned = monotonic()
        deposit = {"account_id": account_id, "amount_minor": 1, "currency_code": "USD"}
        for process in processes:
            answer = await process.call("DepositFunds", {**deposit, "request_id": str(uuid4())}, banker.token)
            assert answer.code == "PERMISSION_DENIED", answer
        for process in processes:
            await refused_soon(process, "ListUsers", banker, "PERMISSION_DENIED", returned)
        assert await bank.posted_minor(account_id) == 0

    async def test_revoking_all_while_tokens_are_exchanged_leaves_nothing_alive(
        self, bank: Bank, processes: list[GrpcWire]
    ) -> None:
        username = await bank.sign_up()
        people = [await bank.sign_in(username) for _ in range(4)]
        refreshes = [
            process.call("RefreshSession", {"refresh_token": person.refresh_token})
            for person in people
            for process in processes * 3
        ]
        half = len(refreshes) // 2
        revoke = bank.json.call("RevokeAllSessions", {}, people[0].token)
        answers = await asyncio.gather(*refreshes[:half], revoke, *refreshes[half:])
        revoked = answers.pop(half)
        assert revoked.code == "OK"
        assert {(answer.code, answer.reason) for answer in answers} <= {("OK", ""), REVOKED}
        live = "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoke_time IS NULL"
        assert await bank.owner.fetchval(live, UUID(people[0].user_id)) == 0
        for token in {answer.reply["refresh_token"] for answer in answers if answer.code == "OK"}:
            refused = await refresh(bank, token)
            assert (refused.code, refused.reason) == REVOKED

    async def test_no_debit_commits_once_it_has_returned(self, bank: Bank, processes: list[GrpcWire]) -> None:
        person = await bank.person()
        source, destination = await bank.account(person, 10_000), await bank.account(await bank.person())
        stop = asyncio.Event()

        async def pay(process: GrpcWire) -> None:
            while not stop.is_set():
                await process.call("CreateTransfer", transfer_fields(source, destination), person.token)

        paying = [asyncio.create_task(pay(process)) for process in processes for _ in range(4)]
        async with asyncio.timeout(15):
            while await bank.posted_minor(source) == 10_000:
                await asyncio.sleep(0.02)
        assert (await bank.grpc.call("RevokeAllSessions", {}, person.token)).code == "OK"
        left = await bank.posted_minor(source)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*paying)
        assert await bank.posted_minor(source) == left < 10_000

    async def test_session_of_somebody_else_looks_like_none(self, bank: Bank) -> None:
        person, stranger = await bank.person(), await bank.person()
        answers = [
            await bank.both("RevokeSession", {"session_id": session_id}, stranger.token)
            for session_id in (person.session_id, ABSENT)
        ]
        assert [answer.code for answer in answers] == ["NOT_FOUND"] * 2
        assert answers[0].without(person.session_id) == answers[1].without(ABSENT)
        assert not await is_revoked(bank, person.session_id)


class TestCount:
    async def test_sign_in_beyond_the_most_ends_the_session_refreshed_longest_ago(self, bank: Bank) -> None:
        username = await bank.sign_up()
        oldest, second = await bank.sign_in(username), await bank.sign_in(username)
        await bank.owner.execute(
            "INSERT INTO sessions (id, user_id, user_agent, client_address, idle_expire_time, expire_time)"
            " SELECT gen_random_uuid(), $1, '', '', now() + '1 h', now() + '1 h' FROM generate_series(3, $2)",
            UUID(oldest.user_id),
            LIVE_SESSIONS_MAX,
        )
        assert (await refresh(bank, oldest.refresh_token)).code == "OK"
        newest = await bank.sign_in(username)
        ended = [await is_revoked(bank, each.session_id) for each in (oldest, second, newest)]
        assert ended == [False, True, False]
        refused = await refresh(bank, second.refresh_token)
        assert (refused.code, refused.reason) == REVOKED
        assert "SESSION_DISPLACED" in await audited(bank, oldest.user_id)
        listed = await bank.json.call("ListSessions", {"page_size": 200}, newest.token)
        assert len(listed.reply["sessions"]) == LIVE_SESSIONS_MAX


async def seen_everywhere(processes: list[GrpcWire], person: Person) -> None:
    """Every process has just found the session in force, and remembers."""
    for process in processes:
        assert (await process.call("ListSessions", {}, person.token)).code == "OK"


async def refused_everywhere(bank: Bank, processes: list[GrpcWire], person: Person) -> None:
    """What has just ended: money at once, all else within a second, and its refresh token too."""
    returned = monotonic()
    for process in processes:
        answer = await process.call("CreateTransfer", transfer_fields(ABSENT, str(uuid4())), person.token)
        assert (answer.code, answer.reason) == REVOKED
    for process in processes:
        await refused_soon(process, "ListSessions", person, "UNAUTHENTICATED", returned)
    answer = await refresh(bank, person.refresh_token)
    assert (answer.code, answer.reason) == REVOKED


async def refused_soon(process: GrpcWire, rpc: str, person: Person, code: str, since: float) -> None:
    """The last call that is let through was made within NOTICED_S."""
    while True:
        made = monotonic()
        if (await process.call(rpc, {}, person.token)).code == code:
            return
        assert made - since < NOTICED_S
        await asyncio.sleep(0.02)
