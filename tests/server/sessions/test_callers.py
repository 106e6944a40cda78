"""How soon an ended session, a disabled user or a lost role is noticed."""

from uuid import uuid4

import asyncpg
import pytest
from bankdb.models import User

from server.caller import Caller, Origin, Role
from server.database import Database
from server.errors import SessionRevoked, Unauthenticated
from server.sessions.callers import REMEMBERED_S, CallerStates
from server.sessions.operations import Credentials, Sessions
from server.users.operations import Users
from tests.clocks import Clock
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for

ADMIN = caller_for(NOBODY, Role.ADMIN)


@pytest.fixture
def clock() -> Clock:
    return Clock(1000.0)


@pytest.fixture
def states(database: MigratedDatabase, clock: Clock) -> CallerStates:
    return CallerStates(Database(database.pool), clock)


@pytest.fixture
async def caller(alice: User, sessions: Sessions) -> Caller:
    signed_in = await sessions.create(Credentials("alice", PASSWORD), Origin("", ""))
    return caller_for(alice.id, session_id=signed_in.session.id)


class TestRead:
    async def test_live_session_has_the_roles_of_its_user(
        self, states: CallerStates, caller: Caller, users: Users, clock: Clock
    ) -> None:
        assert await states.read(caller.session_id, caller.user_id) == caller
        await users.set_roles(caller.user_id, frozenset({Role.DEPOSITOR, Role.BANKER}), ADMIN)
        clock.now += REMEMBERED_S
        assert (await states.read(caller.session_id, caller.user_id)).roles == {Role.DEPOSITOR, Role.BANKER}

    async def test_answer_is_used_again_for_half_a_second_at_most(
        self, states: CallerStates, caller: Caller, sessions: Sessions, clock: Clock
    ) -> None:
        await states.read(caller.session_id, caller.user_id)
        await sessions.revoke(caller.session_id, caller)
        clock.now += REMEMBERED_S - 0.001
        await states.read(caller.session_id, caller.user_id)
        clock.now += 0.001
        with pytest.raises(SessionRevoked):
            await states.read(caller.session_id, caller.user_id)
        assert REMEMBERED_S <= 0.5

    async def test_refusal_is_not_remembered(
        self, states: CallerStates, caller: Caller, database: MigratedDatabase
    ) -> None:
        await database.pool.execute("UPDATE users SET disabled = true")
        with pytest.raises(Unauthenticated) as refused:
            await states.read(caller.session_id, caller.user_id)
        assert type(refused.value) is Unauthenticated
        await database.pool.execute("UPDATE users SET disabled = false")
        await states.read(caller.session_id, caller.user_id)

    async def test_absent_or_foreign_session_is_refused(self, states: CallerStates, caller: Caller) -> None:
        await states.read(caller.session_id, caller.user_id)
        for session_id, user_id in ((uuid4(), caller.user_id), (caller.session_id, uuid4())):
            with pytest.raises(SessionRevoked):
                await states.read(session_id, user_id)

    @pytest.mark.parametrize("column", ["idle_expire_time", "expire_time"])
    async def test_session_past_its_time_is_refused(
        self, states: CallerStates, caller: Caller, database: MigratedDatabase, column: str
    ) -> None:
        connection = await asyncpg.connect(database.owner_url)
        await connection.execute(f"UPDATE sessions SET {column} = clock_timestamp() - interval '1 ms'")
        await connection.close()
        with pytest.raises(SessionRevoked):
            await states.read(caller.session_id, caller.user_id)

    async def test_remembered_callers_are_bounded(
        self, states: CallerStates, alice: User, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("server.sessions.callers.REMEMBERED_MAX", 2)
        for _ in range(4):
            signed_in = await sessions.create(Credentials("alice", PASSWORD), Origin("", ""))
            await states.read(signed_in.session.id, alice.id)
        assert len(states._remembered) == 2
