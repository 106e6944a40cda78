"""What goes on while a password is replaced, and what must not outlive the old one."""

import asyncio

import pytest
from bankdb.models import User

from server.caller import Origin
from server.credentials import CredentialCheck
from server.errors import BadCredentials, SessionRevoked, Unauthenticated
from server.sessions.operations import Credentials, Sessions
from server.users.passwords import PasswordReset, UserPasswords
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import PASSWORD
from tests.server.users.mail import Mailbox, audit
from tests.server.users.scenes import NEW_PASSWORD, change_of, held, is_password, live_sessions, reset_link, session_of


class TestRaces:
    async def test_one_of_twenty_resets_by_one_token_wins(
        self,
        user_passwords: UserPasswords,
        credentials: CredentialCheck,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        new = [f"{NEW_PASSWORD} number {number}" for number in range(20)]
        outcomes = await asyncio.gather(
            *(user_passwords.reset(PasswordReset(link, each)) for each in new), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["NoneType", *["TokenInvalid"] * 19]
        assert await is_password(credentials, alice, new[outcomes.index(None)])
        assert len(await audit(database, "PASSWORD_RESET")) == 1

    async def test_sign_in_whose_password_was_checked_before_a_reset_begins_no_session_after_it(
        self,
        user_passwords: UserPasswords,
        sessions: Sessions,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        async with held(database, "SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", alice.id):
            resetting = asyncio.create_task(user_passwords.reset(PasswordReset(link, NEW_PASSWORD)))
            await asyncio.wait([resetting], timeout=0.5)
            signing_in = asyncio.create_task(sessions.create(Credentials("alice", PASSWORD), Origin()))
            done, _ = await asyncio.wait([resetting, signing_in], timeout=0.5)
            assert not done
        await resetting
        with pytest.raises(BadCredentials):
            await signing_in
        assert await live_sessions(database, alice) == set()

    async def test_no_session_of_the_old_password_outlives_a_reset(
        self,
        user_passwords: UserPasswords,
        sessions: Sessions,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        signing_in = [sessions.create(Credentials("alice", PASSWORD), Origin()) for _ in range(15)]
        outcomes = await asyncio.gather(
            *signing_in[:8],
            user_passwords.reset(PasswordReset(link, NEW_PASSWORD)),
            *signing_in[8:],
            return_exceptions=True,
        )
        assert outcomes[8] is None
        assert await live_sessions(database, alice) == set()

    async def test_no_refresh_outlives_a_change_of_the_password(
        self, user_passwords: UserPasswords, sessions: Sessions, database: MigratedDatabase, alice: User
    ) -> None:
        others = [await sessions.create(Credentials("alice", PASSWORD), Origin()) for _ in range(8)]
        kept = await session_of(database, alice)
        tokens = [other.refresh_token for other in others]

        async def refresh_on(token: str) -> str:
            while True:
                token = (await sessions.refresh(token)).refresh_token

        refreshing = [asyncio.create_task(refresh_on(token)) for token in tokens]
        await user_passwords.change(change_of(alice), kept)
        async with asyncio.timeout(10):
            outcomes = await asyncio.gather(*refreshing, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {SessionRevoked}
        assert await live_sessions(database, alice) == {kept.session_id}
        for token in tokens:
            with pytest.raises(Unauthenticated):
                await sessions.refresh(token)
