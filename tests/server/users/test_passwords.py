"""How passwords are changed by who knows them and reset by mail, and what ends with the old one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import argon2
import pytest
from bankdb.models import User

from server.caller import Caller, Origin, Role, set_origin
from server.credentials import CredentialCheck
from server.errors import BadCredentials, LoginThrottled, NotFound, RateLimited, SessionRevoked, TokenInvalid
from server.passwords import Passwords
from server.throttles import Action
from server.tokens import RESET_PASSWORD, VERIFY_EMAIL, MailTokens
from server.users.addresses import AddressChange, UserAddresses
from server.users.links import MAILS_PER_ADDRESS_MAX
from server.users.operations import Users
from server.users.passwords import PasswordReset, UserPasswords
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for, everything, identity_on, matches, mutilated, new_user
from tests.server.users.conftest import KEYS
from tests.server.users.mail import Mailbox, Notice, assert_as_long_for_nobody, audit
from tests.server.users.scenes import (
    NEW_PASSWORD,
    change_of,
    held,
    is_password,
    live_sessions,
    replace_password,
    reset_link,
    revoke_session,
    session_of,
)


class TestChange:
    async def test_new_password_counts_and_the_old_one_does_not(
        self, user_passwords: UserPasswords, credentials: CredentialCheck, database: MigratedDatabase, alice: User
    ) -> None:
        await user_passwords.change(change_of(alice), await session_of(database, alice))
        assert not await is_password(credentials, alice, PASSWORD)
        assert await is_password(credentials, alice, NEW_PASSWORD)

    async def test_hash_is_argon2id_with_at_least_the_documented_cost(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        await user_passwords.change(change_of(alice), await session_of(database, alice))
        stored = await database.pool.fetchval("SELECT password_hash FROM users WHERE id = $1", alice.id)
        parameters = argon2.extract_parameters(stored)
        assert (parameters.type, parameters.parallelism) == (argon2.Type.ID, 1)
        assert (parameters.memory_cost >= 19456, parameters.time_cost >= 2, parameters.salt_len >= 16) == (True,) * 3

    async def test_all_other_sessions_end(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User, users: Users
    ) -> None:
        kept, *_ = [await session_of(database, alice) for _ in range(3)]
        bob = await users.create(new_user("bob"))
        bobs = await session_of(database, bob)
        await user_passwords.change(change_of(alice), kept)
        assert await live_sessions(database, alice) == {kept.session_id}
        assert await live_sessions(database, bob) == {bobs.session_id}

    async def test_pending_address_and_its_link_end(
        self,
        user_passwords: UserPasswords,
        addresses: UserAddresses,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        caller = await session_of(database, alice)
        await addresses.change(AddressChange(alice.id, PASSWORD, "mallory@example.com"), caller)
        link = await mailbox.newest_token(alice)
        await user_passwords.change(change_of(alice), caller)
        with pytest.raises(TokenInvalid):
            await addresses.verify(link)
        assert await mailbox.good_links(alice) == 0
        row = await database.pool.fetchrow("SELECT email, pending_email FROM users WHERE id = $1", alice.id)
        assert row is not None
        assert tuple(row) == (alice.email, None)

    async def test_link_that_sets_a_password_ends(
        self, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        await user_passwords.change(change_of(alice), await session_of(database, alice))
        with pytest.raises(TokenInvalid):
            await user_passwords.reset(PasswordReset(link, "another new pass phrase"))

    async def test_link_that_proves_the_first_address_stays(
        self,
        users: Users,
        addresses: UserAddresses,
        user_passwords: UserPasswords,
        database: MigratedDatabase,
        mailbox: Mailbox,
    ) -> None:
        user = await users.create(new_user())
        link = await mailbox.newest_token(user)
        await user_passwords.change(change_of(user), await session_of(database, user))
        assert (await addresses.verify(link)).email_verified

    async def test_it_is_recorded_and_told(
        self, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        await user_passwords.change(change_of(alice), caller)
        [event] = await audit(database, "PASSWORD_CHANGED")
        assert (event["user_id"], event["actor_user_id"], event["session_id"]) == (
            alice.id,
            alice.id,
            caller.session_id,
        )
        assert await mailbox.notices(alice.id) == [Notice("PASSWORD_CHANGED", {})]

    async def test_somebody_else_is_refused_also_for_admins_whatever_the_password(
        self, users: Users, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        bob = await session_of(database, await users.create(new_user("bob")))
        before = await everything(database.pool)
        for caller in (bob, caller_for(NOBODY, Role.ADMIN, Role.BANKER)):
            for password in (PASSWORD, "another pass phrase"):
                with pytest.raises(NotFound):
                    await user_passwords.change(change_of(alice, password), caller)
        assert await everything(database.pool) == before

    async def test_too_many_wrong_passwords_throttle_the_right_one_too(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        for _ in range(10):
            with pytest.raises(BadCredentials):
                await user_passwords.change(change_of(alice, "another pass phrase"), caller)
        before = await everything(database.pool)
        with pytest.raises(LoginThrottled):
            await user_passwords.change(change_of(alice), caller)
        assert await everything(database.pool) == before

    async def test_wrong_password_is_refused_and_recorded_and_changes_nothing(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        before = await everything(database.pool)
        for wrong in ("another pass phrase", "", PASSWORD.upper(), PASSWORD + "x", "x" * 60_000):
            with pytest.raises(BadCredentials):
                await user_passwords.change(change_of(alice, wrong), caller)
        after = await everything(database.pool)
        assert {**after, "audit_events": ()} == {**before, "audit_events": ()}
        assert [event["actor_user_id"] for event in await audit(database, "SIGN_IN_FAILED")] == [alice.id] * 5

    @pytest.mark.parametrize(("event", "error"), [(revoke_session, SessionRevoked), (replace_password, BadCredentials)])
    async def test_what_ends_between_check_and_change_refuses(
        self,
        user_passwords: UserPasswords,
        database: MigratedDatabase,
        alice: User,
        event: Callable[[Any, Caller], Awaitable[None]],
        error: type[Exception],
    ) -> None:
        caller = await session_of(database, alice)
        async with held(database, "SELECT FROM users WHERE id = $1 FOR UPDATE", alice.id) as connection:
            changing = asyncio.create_task(user_passwords.change(change_of(alice), caller))
            done, _ = await asyncio.wait([changing], timeout=0.5)
            assert not done
            await event(connection, caller)
        with pytest.raises(error):
            await changing
        assert await audit(database, "PASSWORD_CHANGED") == []

    async def test_one_of_two_at_once_wins(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        callers = [await session_of(database, alice) for _ in range(2)]
        outcomes = await asyncio.gather(
            *(user_passwords.change(change_of(alice), caller) for caller in callers), return_exceptions=True
        )
        assert len([outcome for outcome in outcomes if outcome is None]) == 1
        assert len(await live_sessions(database, alice)) == 1

    async def test_it_waits_for_a_debit_that_is_under_way(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        await database.pool.execute(
            "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", uuid4(), alice.id
        )
        caller = await session_of(database, alice)
        query = "SELECT FROM accounts WHERE owner_user_id = $1 FOR NO KEY UPDATE"
        async with held(database, query, alice.id):
            changing = asyncio.create_task(user_passwords.change(change_of(alice), caller))
            done, _ = await asyncio.wait([changing], timeout=0.5)
            assert not done
        await asyncio.wait_for(changing, 2)


class TestRequestReset:
    async def test_link_goes_to_the_proven_address_and_lives_an_hour(
        self, user_passwords: UserPasswords, database: MigratedDatabase, mail_tokens: MailTokens, alice: User
    ) -> None:
        await user_passwords.request_reset("ALICE@Example.com")
        row = await database.pool.fetchrow(
            "SELECT mail_tokens.*, extract(epoch FROM expire_time - mail_tokens.create_time)::integer AS ttl_s"
            " FROM mail_tokens JOIN outbox USING (id) WHERE job = 'send_password_reset_email'"
        )
        assert row is not None
        assert (row["user_id"], row["email"], row["ttl_s"]) == (alice.id, alice.email, 3600)
        assert mail_tokens.make(RESET_PASSWORD, row["id"], alice.id) not in str(await everything(database.pool))

    async def test_at_most_one_mail_a_minute(
        self, user_passwords: UserPasswords, mailbox: Mailbox, alice: User
    ) -> None:
        before = await mailbox.count()
        await asyncio.gather(*(user_passwords.request_reset(alice.email) for _ in range(20)))
        assert await mailbox.count() == before + 1
        await mailbox.age(61)
        await asyncio.gather(*(user_passwords.request_reset(alice.email) for _ in range(20)))
        assert await mailbox.count() == before + 2

    async def test_links_that_others_had_sent_to_the_address_do_not_count(
        self, user_passwords: UserPasswords, users: Users, mailbox: Mailbox, alice: User
    ) -> None:
        for number in range(MAILS_PER_ADDRESS_MAX):
            await users.create(new_user(f"mallory{number}", alice.email.upper()))
        sent = await mailbox.count()
        await user_passwords.request_reset(alice.email)
        assert await mailbox.count() == sent + 1

    async def test_unknown_unproven_pending_and_disabled_are_not_written_to(
        self,
        users: Users,
        addresses: UserAddresses,
        user_passwords: UserPasswords,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        await users.create(new_user("bob"))
        await addresses.change(
            AddressChange(alice.id, PASSWORD, "pending@example.com"), await session_of(database, alice)
        )
        carol = await users.create(new_user("carol"))
        await addresses.verify(await mailbox.newest_token(carol))
        await users.disable(carol.id, caller_for(NOBODY, Role.ADMIN))
        before = {**await everything(database.pool), "audit_events": ()}
        for email in ("nobody@example.com", "bob@example.com", "pending@example.com", carol.email):
            await user_passwords.request_reset(email)
        assert {**await everything(database.pool), "audit_events": ()} == before

    async def test_every_request_is_recorded_with_its_user_if_there_is_one(
        self, user_passwords: UserPasswords, database: MigratedDatabase, alice: User
    ) -> None:
        set_origin(Origin("192.0.2.1"))
        for email in (alice.email, alice.email, "nobody@example.com"):
            await user_passwords.request_reset(email)
        events = await audit(database, "PASSWORD_RESET_REQUESTED")
        assert [event["user_id"] for event in events] == [alice.id, alice.id, None]
        assert {event["client_address"] for event in events} == {"192.0.2.1"}

    async def test_mails_used_up_are_refused_for_known_and_unknown_alike(
        self, database: MigratedDatabase, passwords: Passwords, alice: User
    ) -> None:
        user_passwords = identity_on(database.pool, passwords, KEYS, {Action.MAIL: 2}).passwords
        set_origin(Origin("192.0.2.1"))
        for _ in range(2):
            await user_passwords.request_reset("nobody@example.com")
        before = await everything(database.pool)
        for email in (alice.email, "nobody@example.com"):
            with pytest.raises(RateLimited):
                await user_passwords.request_reset(email)
        assert await everything(database.pool) == before

    async def test_known_and_unknown_addresses_take_the_same_time(
        self, user_passwords: UserPasswords, mailbox: Mailbox, alice: User
    ) -> None:
        await assert_as_long_for_nobody(user_passwords.request_reset, mailbox, alice.email)


class TestReset:
    async def test_token_sets_the_password_once(
        self, user_passwords: UserPasswords, credentials: CredentialCheck, mailbox: Mailbox, alice: User
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        await user_passwords.reset(PasswordReset(link, NEW_PASSWORD))
        assert await is_password(credentials, alice, NEW_PASSWORD)
        assert not await is_password(credentials, alice, PASSWORD)
        with pytest.raises(TokenInvalid):
            await user_passwords.reset(PasswordReset(link, "another new pass phrase"))
        assert await is_password(credentials, alice, NEW_PASSWORD)

    async def test_all_sessions_end(
        self, users: Users, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        bob = await users.create(new_user("bob"))
        for user in (alice, alice, bob):
            await session_of(database, user)
        await user_passwords.reset(PasswordReset(await reset_link(user_passwords, mailbox, alice), NEW_PASSWORD))
        assert await live_sessions(database, alice) == set()
        assert len(await live_sessions(database, bob)) == 1

    async def test_throttled_user_signs_in_again(
        self, user_passwords: UserPasswords, credentials: CredentialCheck, mailbox: Mailbox, alice: User
    ) -> None:
        for _ in range(10):
            assert not await is_password(credentials, alice, "another pass phrase")
        with pytest.raises(LoginThrottled):
            await credentials.verify(alice.username, PASSWORD)
        await user_passwords.reset(PasswordReset(await reset_link(user_passwords, mailbox, alice), NEW_PASSWORD))
        assert await is_password(credentials, alice, NEW_PASSWORD)

    async def test_pending_address_of_a_thief_and_its_link_end(
        self,
        user_passwords: UserPasswords,
        addresses: UserAddresses,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        await addresses.change(
            AddressChange(alice.id, PASSWORD, "mallory@example.com"), await session_of(database, alice)
        )
        thiefs = await mailbox.newest_token(alice)
        await user_passwords.reset(PasswordReset(await reset_link(user_passwords, mailbox, alice), NEW_PASSWORD))
        with pytest.raises(TokenInvalid):
            await addresses.verify(thiefs)
        assert await mailbox.good_links(alice) == 0
        row = await database.pool.fetchrow("SELECT email, pending_email FROM users WHERE id = $1", alice.id)
        assert row is not None
        assert tuple(row) == (alice.email, None)

    async def test_it_is_recorded_and_told(
        self, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        await user_passwords.reset(PasswordReset(await reset_link(user_passwords, mailbox, alice), NEW_PASSWORD))
        [event] = await audit(database, "PASSWORD_RESET")
        assert (event["user_id"], event["actor_user_id"]) == (alice.id, None)
        assert await mailbox.notices(alice.id) == [Notice("PASSWORD_RESET", {})]

    async def test_newer_link_supersedes_the_older(
        self, user_passwords: UserPasswords, mailbox: Mailbox, alice: User
    ) -> None:
        older = await reset_link(user_passwords, mailbox, alice)
        await mailbox.age(61)
        newer = await reset_link(user_passwords, mailbox, alice)
        with pytest.raises(TokenInvalid):
            await user_passwords.reset(PasswordReset(older, NEW_PASSWORD))
        await user_passwords.reset(PasswordReset(newer, NEW_PASSWORD))

    async def test_expired_token_is_refused(
        self, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        await mailbox.age(3601)
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await user_passwords.reset(PasswordReset(link, NEW_PASSWORD))
        assert await everything(database.pool) == before

    async def test_disabled_user_sets_nothing(
        self, users: Users, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        await users.disable(alice.id, caller_for(NOBODY, Role.ADMIN))
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await user_passwords.reset(PasswordReset(link, NEW_PASSWORD))
        assert await everything(database.pool) == before

    async def test_wrong_token_is_refused_with_one_text_before_a_password_is_hashed(
        self,
        users: Users,
        user_passwords: UserPasswords,
        database: MigratedDatabase,
        mailbox: Mailbox,
        mail_tokens: MailTokens,
        alice: User,
    ) -> None:
        bob = await users.create(new_user("bob"))
        proves_address = await mailbox.newest_token(bob)
        token = await reset_link(user_passwords, mailbox, alice)
        row_id = await database.pool.fetchval("SELECT id FROM mail_tokens WHERE purpose = 'RESET_PASSWORD'")
        closed = Passwords(1, places=2)
        await closed.close()
        refusing = identity_on(database.pool, closed, KEYS, {}).passwords
        before = await everything(database.pool)
        for wrong in (
            *mutilated(token),
            mail_tokens.make(RESET_PASSWORD, row_id, bob.id),
            mail_tokens.make(VERIFY_EMAIL, row_id, alice.id),
            MailTokens(bytes(32)).make(RESET_PASSWORD, row_id, alice.id),
            proves_address,
        ):
            with pytest.raises(TokenInvalid) as refused:
                await refusing.reset(PasswordReset(wrong, NEW_PASSWORD))
            assert str(refused.value) == str(TokenInvalid())
        assert await everything(database.pool) == before

    async def test_full_pool_refuses_and_the_token_is_still_good(
        self, user_passwords: UserPasswords, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        link = await reset_link(user_passwords, mailbox, alice)
        busy = Passwords(1, places=2)
        refusing = identity_on(database.pool, busy, KEYS, {}).passwords
        before = await everything(database.pool)
        outcomes = await asyncio.gather(
            *(matches(busy, None, "x") for _ in range(2)),
            refusing.reset(PasswordReset(link, NEW_PASSWORD)),
            return_exceptions=True,
        )
        await busy.close()
        assert isinstance(outcomes[-1], LoginThrottled)
        assert await everything(database.pool) == before
        await user_passwords.reset(PasswordReset(link, NEW_PASSWORD))
