"""How e-mail addresses are asked for, proven and fought over."""

import asyncio
import json

import pytest
from bankdb.models import User

from server.caller import Origin, Role, set_origin
from server.errors import BadCredentials, LoginThrottled, NotFound, RateLimited, SessionRevoked, TokenInvalid
from server.passwords import Passwords
from server.throttles import Action
from server.tokens import VERIFY_EMAIL, MailTokens
from server.users.addresses import AddressChange, UserAddresses
from server.users.links import ADDRESS_INTERVAL_S, MAILS_PER_ADDRESS_MAX
from server.users.operations import Users
from server.users.passwords import UserPasswords
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for, everything, identity_on, mutilated, new_user
from tests.server.users.conftest import KEYS
from tests.server.users.mail import Mailbox, Notice, assert_as_long_for_nobody, audit
from tests.server.users.scenes import as_owner, replace_password, revoke_session, session_of

NEW = "new@example.com"


def to(new_email: str, user: User, password: str = PASSWORD) -> AddressChange:
    return AddressChange(user.id, password, new_email)


class TestChange:
    async def test_unverified_user_has_the_new_address_at_once(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        user = await users.create(new_user())
        old = await mailbox.newest_token(user)
        changed = await addresses.change(to(NEW, user), await session_of(database, user))
        assert (changed.email, changed.email_verified, changed.pending_email) == (NEW, False, None)
        assert await mailbox.newest_address(user) == NEW
        with pytest.raises(TokenInvalid):
            await addresses.verify(old)
        verified = await addresses.verify(await mailbox.newest_token(user))
        assert (verified.email, verified.email_verified) == (NEW, True)
        assert await mailbox.notices(user.id) == []

    async def test_verified_user_keeps_the_old_address_until_the_link_is_opened(
        self, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        changed = await addresses.change(to(NEW, alice), await session_of(database, alice))
        assert (changed.email, changed.email_verified, changed.pending_email) == (alice.email, True, NEW)
        assert await mailbox.newest_address(alice) == NEW
        verified = await addresses.verify(await mailbox.newest_token(alice))
        assert (verified.email, verified.email_verified, verified.pending_email) == (NEW, True, None)

    async def test_old_address_is_told_when_it_is_asked_for_and_when_it_is_done(
        self, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        await addresses.change(to(NEW, alice), await session_of(database, alice))
        await addresses.verify(await mailbox.newest_token(alice))
        both = {"old_email": alice.email, "new_email": NEW}
        assert await mailbox.notices(alice.id) == [
            Notice("EMAIL_CHANGE_REQUESTED", both),
            Notice("EMAIL_CHANGED", both),
        ]

    async def test_request_is_recorded_with_who_made_it(
        self, addresses: UserAddresses, database: MigratedDatabase, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        await addresses.change(to(NEW, alice), caller)
        [event] = await audit(database, "EMAIL_CHANGE_REQUESTED")
        assert (event["user_id"], event["actor_user_id"], event["session_id"]) == (
            alice.id,
            alice.id,
            caller.session_id,
        )

    async def test_newer_pending_address_takes_the_place_of_the_older(
        self, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        await addresses.change(to(NEW, alice), caller)
        older = await mailbox.newest_token(alice)
        assert (await addresses.change(to("newer@example.com", alice), caller)).pending_email == "newer@example.com"
        with pytest.raises(TokenInvalid):
            await addresses.verify(older)
        assert (await addresses.verify(await mailbox.newest_token(alice))).email == "newer@example.com"

    async def test_asking_for_the_proven_address_gives_up_the_pending_one(
        self, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        await addresses.change(to(NEW, alice), caller)
        link, mails = await mailbox.newest_token(alice), await mailbox.count()
        changed = await addresses.change(to(alice.email, alice), caller)
        assert (changed.email, changed.email_verified, changed.pending_email) == (alice.email, True, None)
        assert await mailbox.count() == mails
        with pytest.raises(TokenInvalid):
            await addresses.verify(link)

    async def test_address_of_somebody_else_is_answered_like_any_other(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, alice: User
    ) -> None:
        bob = await users.create(new_user("bob"))
        caller = await session_of(database, bob)
        taken = await addresses.change(to(alice.email, bob), caller)
        free = await addresses.change(to(NEW, bob), caller)
        assert (taken.email, taken.email_verified, taken.pending_email) == (alice.email, False, None)
        assert (free.email, free.email_verified, free.pending_email) == (NEW, False, None)

    async def test_somebody_else_is_refused_also_for_admins_whatever_the_password(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, alice: User
    ) -> None:
        bob = await session_of(database, await users.create(new_user("bob")))
        before = await everything(database.pool)
        for caller in (bob, caller_for(NOBODY, Role.ADMIN, Role.BANKER)):
            for password in (PASSWORD, "another pass phrase"):
                with pytest.raises(NotFound):
                    await addresses.change(to(NEW, alice, password), caller)
        assert await everything(database.pool) == before

    async def test_too_many_wrong_passwords_throttle_the_right_one_too(
        self, addresses: UserAddresses, database: MigratedDatabase, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        for _ in range(10):
            with pytest.raises(BadCredentials):
                await addresses.change(to(NEW, alice, "another pass phrase"), caller)
        before = await everything(database.pool)
        with pytest.raises(LoginThrottled):
            await addresses.change(to(NEW, alice), caller)
        assert await everything(database.pool) == before

    async def test_wrong_password_is_refused_and_recorded_and_changes_nothing(
        self, addresses: UserAddresses, database: MigratedDatabase, alice: User
    ) -> None:
        caller = await session_of(database, alice)
        before = await everything(database.pool)
        with pytest.raises(BadCredentials):
            await addresses.change(to(NEW, alice, "another pass phrase"), caller)
        after = await everything(database.pool)
        assert {**after, "audit_events": ()} == {**before, "audit_events": ()}
        [event] = await audit(database, "SIGN_IN_FAILED")
        assert (event["user_id"], event["actor_user_id"]) == (alice.id, alice.id)

    async def test_address_is_sent_only_so_many_links_however_many_users_claim_it(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        for number in range(MAILS_PER_ADDRESS_MAX + 2):
            await users.create(new_user(f"user{number}", "shared@example.com"))
        await mailbox.age(61)
        await addresses.resend("Shared@Example.com")
        assert await database.pool.fetchval("SELECT count(*) FROM mail_tokens") == MAILS_PER_ADDRESS_MAX
        await mailbox.age(ADDRESS_INTERVAL_S)
        await addresses.resend("Shared@Example.com")
        assert await database.pool.fetchval("SELECT count(*) FROM mail_tokens") == 2 * MAILS_PER_ADDRESS_MAX

    async def test_mails_used_up_are_refused_and_change_nothing(
        self, database: MigratedDatabase, passwords: Passwords, alice: User
    ) -> None:
        addresses = identity_on(database.pool, passwords, KEYS, {Action.MAIL: 1}).addresses
        set_origin(Origin("192.0.2.1"))
        caller = await session_of(database, alice)
        await addresses.change(to(NEW, alice), caller)
        before = await everything(database.pool)
        with pytest.raises(RateLimited) as refused:
            await addresses.change(to("newer@example.com", alice), caller)
        assert refused.value.reason == "RATE_LIMITED"
        assert await everything(database.pool) == before

    async def test_wrong_password_uses_up_no_mail(
        self, database: MigratedDatabase, passwords: Passwords, alice: User
    ) -> None:
        addresses = identity_on(database.pool, passwords, KEYS, {Action.MAIL: 1}).addresses
        set_origin(Origin("192.0.2.1"))
        caller = await session_of(database, alice)
        for _ in range(3):
            with pytest.raises(BadCredentials):
                await addresses.change(to(NEW, alice, "another pass phrase"), caller)
        assert (await addresses.change(to(NEW, alice), caller)).pending_email == NEW

    @pytest.mark.parametrize(("event", "error"), [(revoke_session, SessionRevoked), (replace_password, BadCredentials)])
    async def test_what_ends_between_check_and_change_refuses(
        self, addresses: UserAddresses, database: MigratedDatabase, alice: User, event: object, error: type[Exception]
    ) -> None:
        caller = await session_of(database, alice)
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR UPDATE", alice.id)
            changing = asyncio.create_task(addresses.change(to(NEW, alice), caller))
            done, _ = await asyncio.wait([changing], timeout=0.5)
            assert not done
            assert callable(event)
            await event(connection, caller)
        with pytest.raises(error):
            await changing
        assert await database.pool.fetchval("SELECT pending_email FROM users WHERE id = $1", alice.id) is None


class TestVerify:
    async def test_mailed_token_verifies_once(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        user = await users.create(new_user())
        token = await mailbox.newest_token(user)
        verified = await addresses.verify(token)
        assert (verified.id, verified.email_verified) == (user.id, True)
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await addresses.verify(token)
        assert await everything(database.pool) == before

    async def test_first_proof_is_recorded_and_told_to_nobody(
        self, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        [event] = await audit(database, "EMAIL_VERIFIED")
        assert (event["user_id"], json.loads(event["details"])) == (alice.id, {"email": alice.email})
        assert await mailbox.notices(alice.id) == []

    async def test_twenty_at_once_verify_once(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        token = await mailbox.newest_token(await users.create(new_user()))
        outcomes = await asyncio.gather(*(addresses.verify(token) for _ in range(20)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [*["TokenInvalid"] * 19, "User"]
        assert len(await audit(database, "EMAIL_VERIFIED")) == 1

    async def test_wrong_token_is_refused_with_one_text(
        self,
        users: Users,
        addresses: UserAddresses,
        database: MigratedDatabase,
        mailbox: Mailbox,
        mail_tokens: MailTokens,
    ) -> None:
        alice, bob = await users.create(new_user()), await users.create(new_user("bob"))
        token = await mailbox.newest_token(alice)
        row_id = await database.pool.fetchval("SELECT id FROM mail_tokens WHERE user_id = $1", alice.id)
        before = await everything(database.pool)
        for wrong in (
            *mutilated(token),
            mail_tokens.make(VERIFY_EMAIL, row_id, bob.id),
            mail_tokens.make("RESET_PASSWORD", row_id, alice.id),
            MailTokens(bytes(32)).make(VERIFY_EMAIL, row_id, alice.id),
        ):
            with pytest.raises(TokenInvalid) as refused:
                await addresses.verify(wrong)
            assert str(refused.value) == str(TokenInvalid())
        assert await everything(database.pool) == before

    async def test_token_that_sets_a_password_proves_no_address(
        self, addresses: UserAddresses, user_passwords: UserPasswords, mailbox: Mailbox, alice: User
    ) -> None:
        await user_passwords.request_reset(alice.email)
        with pytest.raises(TokenInvalid):
            await addresses.verify(await mailbox.newest_token(alice))

    async def test_user_is_locked_before_the_token(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        user = await users.create(new_user())
        token = await mailbox.newest_token(user)
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user.id)
            verifying = asyncio.create_task(addresses.verify(token))
            done, _ = await asyncio.wait([verifying], timeout=0.3)
            assert not done
            await connection.execute("SELECT FROM mail_tokens WHERE user_id = $1 FOR UPDATE NOWAIT", user.id)
        assert (await verifying).email_verified

    async def test_expired_token_is_refused(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        token = await mailbox.newest_token(await users.create(new_user()))
        await mailbox.age(24 * 3600 + 1)
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await addresses.verify(token)
        assert await everything(database.pool) == before

    async def test_disabled_user_proves_nothing(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        user = await users.create(new_user())
        await users.disable(user.id, caller_for(NOBODY, Role.ADMIN))
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await addresses.verify(await mailbox.newest_token(user))
        assert await everything(database.pool) == before

    async def test_new_address_ends_links_that_the_old_one_got(
        self,
        addresses: UserAddresses,
        user_passwords: UserPasswords,
        database: MigratedDatabase,
        mailbox: Mailbox,
        alice: User,
    ) -> None:
        await user_passwords.request_reset(alice.email)
        sets_password = await mailbox.newest_token(alice)
        await addresses.change(to(NEW, alice), await session_of(database, alice))
        assert (await user_passwords.owner_of_link(sets_password)).id == alice.id
        await addresses.verify(await mailbox.newest_token(alice))
        with pytest.raises(TokenInvalid):
            await user_passwords.owner_of_link(sets_password)


class TestAddressOfTwo:
    async def test_address_proven_by_another_user_is_refused_and_its_owner_told(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        mallory = await users.create(new_user("mallory", "ALICE@example.com"))
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await addresses.verify(await mailbox.newest_token(mallory))
        after = await everything(database.pool)
        for table in ("users", "mail_tokens", "events", "sessions"):
            assert after[table] == before[table]
        assert await mailbox.notices(alice.id) == [Notice("EMAIL_CLAIMED", {})]
        assert await mailbox.notices(mallory.id) == []

    async def test_pending_address_proven_by_another_user_in_the_meantime_is_refused(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        await addresses.change(to(NEW, alice), await session_of(database, alice))
        link = await mailbox.newest_token(alice)
        bob = await users.create(new_user("bob", NEW))
        await addresses.verify(await mailbox.newest_token(bob))
        with pytest.raises(TokenInvalid):
            await addresses.verify(link)
        row = await database.pool.fetchrow("SELECT email, email_verified FROM users WHERE id = $1", alice.id)
        assert row is not None
        assert tuple(row) == (alice.email, True)
        assert [notice.type for notice in await mailbox.notices(bob.id)] == ["EMAIL_CLAIMED"]

    async def test_owner_is_told_at_most_once_an_hour(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        mallory = await users.create(new_user("mallory", alice.email))
        link = await mailbox.newest_token(mallory)

        async def try_them(at_once: int) -> int:
            await asyncio.gather(*(addresses.verify(link) for _ in range(at_once)), return_exceptions=True)
            return len(await mailbox.notices(alice.id))

        assert await try_them(8) == 1
        assert await try_them(1) == 1
        await age_audit_events(database, 3601)
        assert await try_them(1) == 2

    async def test_one_address_proven_by_two_at_once_goes_to_one(
        self, users: Users, addresses: UserAddresses, mailbox: Mailbox
    ) -> None:
        both = [await users.create(new_user(name, "shared@example.com")) for name in ("alice", "bob")]
        tokens = [await mailbox.newest_token(user) for user in both]
        outcomes = await asyncio.gather(*map(addresses.verify, tokens), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["TokenInvalid", "User"]


class TestResend:
    async def test_newer_link_supersedes_the_older(
        self, users: Users, addresses: UserAddresses, mailbox: Mailbox
    ) -> None:
        user = await users.create(new_user())
        older = await mailbox.newest_token(user)
        await mailbox.age(61)
        await addresses.resend("Alice@Example.com")
        newer = await mailbox.newest_token(user)
        assert newer != older
        with pytest.raises(TokenInvalid):
            await addresses.verify(older)
        assert (await addresses.verify(newer)).email_verified

    async def test_mail_goes_to_the_address_as_it_was_given_at_sign_up(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        await users.create(new_user())
        await mailbox.age(61)
        await addresses.resend("ALICE@example.com")
        rows = await database.pool.fetch("SELECT email FROM mail_tokens")
        assert [row["email"] for row in rows] == ["alice@example.com"] * 2

    async def test_pending_address_is_written_to(
        self, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        await addresses.change(to(NEW, alice), await session_of(database, alice))
        await mailbox.age(61)
        mails = await mailbox.count()
        await addresses.resend(NEW.upper())
        assert (await mailbox.count(), await mailbox.newest_address(alice)) == (mails + 1, NEW)
        assert (await addresses.verify(await mailbox.newest_token(alice))).email == NEW

    async def test_at_most_one_mail_a_minute(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        await users.create(new_user())
        before = await everything(database.pool)
        await asyncio.gather(*(addresses.resend("alice@example.com") for _ in range(20)))
        assert await everything(database.pool) == before
        await mailbox.age(61)
        await asyncio.gather(*(addresses.resend("alice@example.com") for _ in range(20)))
        assert await mailbox.count() == 2

    async def test_unknown_verified_and_disabled_are_not_written_to(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox, alice: User
    ) -> None:
        disabled = await users.create(new_user("bob"))
        await users.disable(disabled.id, caller_for(NOBODY, Role.ADMIN))
        await mailbox.age(61)
        before = await everything(database.pool)
        for email in ("nobody@example.com", alice.email, disabled.email):
            await addresses.resend(email)
        assert await everything(database.pool) == before

    async def test_every_unverified_user_of_the_address_is_written_to(
        self, users: Users, addresses: UserAddresses, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        both = [await users.create(new_user(name, "shared@example.com")) for name in ("alice", "bob")]
        await mailbox.age(61)
        await addresses.resend("shared@example.com")
        for user in both:
            count = await database.pool.fetchval("SELECT count(*) FROM mail_tokens WHERE user_id = $1", user.id)
            assert count == 2

    async def test_mails_used_up_are_refused_for_known_and_unknown_alike(
        self, users: Users, database: MigratedDatabase, passwords: Passwords, mailbox: Mailbox
    ) -> None:
        addresses = identity_on(database.pool, passwords, KEYS, {Action.MAIL: 2}).addresses
        await users.create(new_user())
        await mailbox.age(61)
        set_origin(Origin("192.0.2.1"))
        for _ in range(2):
            await addresses.resend("nobody@example.com")
        before = await everything(database.pool)
        for email in ("alice@example.com", "nobody@example.com"):
            with pytest.raises(RateLimited):
                await addresses.resend(email)
        assert await everything(database.pool) == before

    async def test_known_and_unknown_addresses_take_the_same_time(
        self, users: Users, addresses: UserAddresses, mailbox: Mailbox
    ) -> None:
        await users.create(new_user())
        await assert_as_long_for_nobody(addresses.resend, mailbox, "alice@example.com")


async def age_audit_events(database: MigratedDatabase, seconds: int) -> None:
    """Let time pass for everything that was recorded."""
    await as_owner(
        database, "UPDATE audit_events SET create_time = create_time - make_interval(secs => $1)", float(seconds)
    )
