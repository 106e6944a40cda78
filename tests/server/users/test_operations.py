"""What happens to users in the database."""

import asyncio
import json
from uuid import UUID, uuid4

import asyncpg
import pytest
from bankdb.models import User

from server.caller import Role
from server.database import Database
from server.errors import (
    InvalidPageToken,
    InvalidRequest,
    LoginThrottled,
    NotFound,
    TokenInvalid,
    UsernameTaken,
)
from server.page_token import PageTokens
from server.passwords import Passwords
from server.tokens import VERIFY_EMAIL, MailTokens, digest
from server.users.operations import ProfileChange, Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, caller_for, everything, new_user


async def newest_token(database: MigratedDatabase, mail_tokens: MailTokens, user: User) -> str:
    """The token as the worker mails it."""
    row = await database.pool.fetchrow(
        "SELECT id, purpose FROM mail_tokens WHERE user_id = $1 ORDER BY id DESC LIMIT 1", user.id
    )
    assert row is not None
    return mail_tokens.make(row["purpose"], row["id"], user.id)


async def age_mail_tokens(database: MigratedDatabase, seconds: int) -> None:
    """Let time pass for all mailed tokens."""
    owner = await asyncpg.connect(database.owner_url)
    await owner.execute(
        "UPDATE mail_tokens SET create_time = create_time - make_interval(secs => $1),"
        " expire_time = expire_time - make_interval(secs => $1)",
        float(seconds),
    )
    await owner.close()


async def open_account(database: MigratedDatabase, user: User) -> UUID:
    account_id = uuid4()
    await database.pool.execute(
        "INSERT INTO accounts (id, owner_user_id, currency_code) VALUES ($1, $2, 'USD')", account_id, user.id
    )
    return account_id


class TestCreate:
    async def test_new_user_is_unverified_and_has_one_role(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        assert (user.username, user.email, user.full_name) == ("alice", "alice@example.com", "Alice Example")
        assert (user.email_verified, user.disabled, user.roles) == (False, False, ["DEPOSITOR"])
        assert user.password_hash.startswith("$argon2id$")
        assert await database.pool.fetchval("SELECT count(*) FROM users") == 1

    async def test_event_and_jobs_are_written_with_the_user(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        [event] = await database.pool.fetch("SELECT type, subject_id, user_id, data FROM events")
        assert tuple(event)[:3] == ("user.created", user.id, user.id)
        assert json.loads(event["data"]) == {"username": "alice"}
        jobs = await database.pool.fetch("SELECT job, payload FROM outbox ORDER BY job")
        assert [job["job"] for job in jobs] == ["open_first_account", "send_verification_email"]
        assert all(json.loads(job["payload"]) == {"user_id": str(user.id)} for job in jobs)

    async def test_mail_token_has_the_id_of_its_job_and_lives_a_day(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        row = await database.pool.fetchrow(
            "SELECT mail_tokens.*, extract(epoch FROM expire_time - mail_tokens.create_time)::integer AS ttl_s"
            " FROM mail_tokens JOIN outbox USING (id) WHERE job = 'send_verification_email'"
        )
        assert row is not None
        assert row["ttl_s"] == 24 * 3600
        assert row["email"] == user.email
        token = mail_tokens.make(VERIFY_EMAIL, row["id"], user.id)
        assert row["token_hash"] == digest(token)
        assert token not in str(await everything(database.pool))

    async def test_taken_name_is_refused_and_writes_nothing(self, users: Users, database: MigratedDatabase) -> None:
        await users.create(new_user())
        before = await everything(database.pool)
        with pytest.raises(UsernameTaken):
            await users.create(new_user("alice", "another@example.com"))
        assert await everything(database.pool) == before

    async def test_same_name_at_once_is_given_to_one(self, users: Users, database: MigratedDatabase) -> None:
        outcomes = await asyncio.gather(*(users.create(new_user()) for _ in range(8)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["User", *["UsernameTaken"] * 7]
        assert await database.pool.fetchval("SELECT count(*) FROM outbox") == 2

    async def test_address_of_somebody_else_is_accepted(self, users: Users) -> None:
        alice = await users.create(new_user())
        mallory = await users.create(new_user("mallory", "alice@example.com"))
        assert alice.email == mallory.email

    async def test_full_pool_refuses_and_writes_nothing(
        self, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        busy = Passwords(threads=1)
        users = Users(Database(database.pool), busy, mail_tokens, PageTokens(bytes(32)))
        waiting = [asyncio.create_task(busy.verify(None, "x")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LoginThrottled):
            await users.create(new_user())
        await asyncio.gather(*waiting)
        busy.close()
        assert await database.pool.fetchval("SELECT count(*) FROM users") == 0


class TestGet:
    async def test_user_reads_themself(self, users: Users) -> None:
        user = await users.create(new_user())
        assert await users.get(user.id, caller_for(user.id)) == user

    @pytest.mark.parametrize("role", [Role.BANKER, Role.ADMIN])
    async def test_staff_read_anyone_and_learn_who_is_absent(self, users: Users, role: Role) -> None:
        user = await users.create(new_user())
        assert await users.get(user.id, caller_for(NOBODY, role)) == user
        with pytest.raises(NotFound):
            await users.get(uuid4(), caller_for(NOBODY, role))

    @pytest.mark.parametrize("roles", [(), (Role.MERCHANT,)])
    async def test_somebody_else_looks_like_nobody(self, users: Users, roles: tuple[Role, ...]) -> None:
        user, absent = await users.create(new_user()), uuid4()
        messages = []
        for user_id in (user.id, absent):
            with pytest.raises(NotFound) as refused:
                await users.get(user_id, caller_for(NOBODY, *roles))
            messages.append(str(refused.value).replace(str(user_id), "ID"))
        assert messages[0] == messages[1]


class TestPage:
    async def test_pages_hold_everyone_once_newest_first(self, users: Users) -> None:
        created = [await users.create(new_user(f"user{number}")) for number in range(5)]
        banker, token, listed = caller_for(NOBODY, Role.BANKER), "", []
        for expected in (2, 2, 1):
            page, token = await users.page(2, token, banker)
            assert len(page) == expected
            listed += page
        assert token == ""
        assert [user.id for user in listed] == [user.id for user in reversed(created)]

    async def test_last_page_that_is_full_has_no_next(self, users: Users) -> None:
        for number in range(2):
            await users.create(new_user(f"user{number}"))
        page, token = await users.page(2, "", caller_for(NOBODY, Role.ADMIN))
        assert (len(page), token) == (2, "")

    async def test_token_of_another_caller_is_refused(self, users: Users) -> None:
        for number in range(2):
            await users.create(new_user(f"user{number}"))
        _, token = await users.page(1, "", caller_for(NOBODY, Role.BANKER))
        with pytest.raises(InvalidPageToken):
            await users.page(1, token, caller_for(uuid4(), Role.BANKER))


class TestUpdate:
    async def test_named_field_changes_and_the_other_stays(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        jobs = await database.pool.fetchval("SELECT count(*) FROM outbox")
        changed = await users.update(user.id, ProfileChange("Alice Liddell", None), caller_for(user.id))
        assert (changed.full_name, changed.email) == ("Alice Liddell", user.email)
        assert await database.pool.fetchval("SELECT count(*) FROM outbox") == jobs

    async def test_other_address_is_unverified_and_written_to(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        first = await newest_token(database, mail_tokens, user)
        await users.verify_email(first)
        changed = await users.update(user.id, ProfileChange(None, "new@example.com"), caller_for(user.id))
        assert (changed.email, changed.email_verified) == ("new@example.com", False)
        second = await newest_token(database, mail_tokens, user)
        verified = await users.verify_email(second)
        assert (verified.email, verified.email_verified) == ("new@example.com", True)

    async def test_same_address_stays_verified_and_is_not_written_to(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        await users.verify_email(await newest_token(database, mail_tokens, user))
        before = await database.pool.fetch("SELECT * FROM outbox ORDER BY id")
        changed = await users.update(user.id, ProfileChange("Alice", user.email), caller_for(user.id))
        assert changed.email_verified
        assert await database.pool.fetch("SELECT * FROM outbox ORDER BY id") == before

    async def test_link_to_the_old_address_ends(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        old = await newest_token(database, mail_tokens, user)
        await users.update(user.id, ProfileChange(None, "new@example.com"), caller_for(user.id))
        with pytest.raises(TokenInvalid):
            await users.verify_email(old)
        assert not (await users.get(user.id, caller_for(user.id))).email_verified

    async def test_somebody_else_is_refused_also_for_admins(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        before = await everything(database.pool)
        for caller in (caller_for(NOBODY), caller_for(NOBODY, Role.ADMIN, Role.BANKER)):
            with pytest.raises(NotFound):
                await users.update(user.id, ProfileChange("Mallory", None), caller)
        assert await everything(database.pool) == before


class TestStanding:
    async def test_roles_are_replaced_in_their_order_and_recorded(
        self, users: Users, database: MigratedDatabase
    ) -> None:
        user = await users.create(new_user())
        roles = frozenset({Role.ADMIN, Role.DEPOSITOR, Role.BANKER})
        changed = await users.set_roles(user.id, roles, caller_for(NOBODY, Role.ADMIN))
        assert changed.roles == ["DEPOSITOR", "BANKER", "ADMIN"]
        event = await database.pool.fetchrow("SELECT * FROM events WHERE type = 'user.roles_changed'")
        assert event is not None
        assert (event["subject_id"], json.loads(event["data"])) == (user.id, {"roles": changed.roles})

    async def test_disabling_and_enabling_are_recorded_once(self, users: Users, database: MigratedDatabase) -> None:
        user, admin = await users.create(new_user()), caller_for(NOBODY, Role.ADMIN)
        for _ in range(2):
            assert (await users.disable(user.id, admin)).disabled
        for _ in range(2):
            assert not (await users.enable(user.id)).disabled
        types = await database.pool.fetch("SELECT type FROM events ORDER BY id")
        assert [row["type"] for row in types] == ["user.created", "user.disabled", "user.enabled"]

    async def test_same_roles_again_change_nothing(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        before = await everything(database.pool)
        await users.set_roles(user.id, frozenset({Role.DEPOSITOR}), caller_for(NOBODY, Role.ADMIN))
        assert await everything(database.pool) == before

    async def test_admins_cannot_lock_themselves_out(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        admin = caller_for(user.id, Role.ADMIN)
        await users.set_roles(user.id, frozenset({Role.DEPOSITOR, Role.ADMIN}), admin)
        before = await everything(database.pool)
        with pytest.raises(InvalidRequest):
            await users.set_roles(user.id, frozenset({Role.DEPOSITOR, Role.BANKER}), admin)
        with pytest.raises(InvalidRequest):
            await users.disable(user.id, admin)
        assert await everything(database.pool) == before

    async def test_absent_user_is_not_found(self, users: Users) -> None:
        admin = caller_for(NOBODY, Role.ADMIN)
        with pytest.raises(NotFound):
            await users.set_roles(uuid4(), frozenset({Role.DEPOSITOR}), admin)
        with pytest.raises(NotFound):
            await users.disable(uuid4(), admin)
        with pytest.raises(NotFound):
            await users.enable(uuid4())

    @pytest.mark.parametrize("change", ["disable", "enable", "roles"])
    async def test_change_waits_for_a_debit_that_is_under_way(
        self, users: Users, database: MigratedDatabase, change: str
    ) -> None:
        user, admin = await users.create(new_user()), caller_for(NOBODY, Role.ADMIN)
        account_id = await open_account(database, user)
        async with database.pool.acquire() as connection:
            debit = connection.transaction()
            await debit.start()
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)
            changing = asyncio.create_task(
                users.set_roles(user.id, frozenset({Role.DEPOSITOR, Role.MERCHANT}), admin)
                if change == "roles"
                else users.disable(user.id, admin)
                if change == "disable"
                else users.enable(user.id)
            )
            done, _ = await asyncio.wait([changing], timeout=0.3)
            assert not done
            await debit.commit()
        await asyncio.wait_for(changing, 2)

    async def test_no_account_appears_while_a_user_is_being_disabled(
        self, users: Users, database: MigratedDatabase
    ) -> None:
        user = await users.create(new_user())
        account_id = await open_account(database, user)
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)
            disabling = asyncio.create_task(users.disable(user.id, caller_for(NOBODY, Role.ADMIN)))
            await asyncio.wait([disabling], timeout=0.2)
            opening = asyncio.create_task(open_account(database, user))
            done, _ = await asyncio.wait([disabling, opening], timeout=0.3)
            assert not done
        await asyncio.gather(disabling, opening)


class TestVerifyEmail:
    async def test_mailed_token_verifies_once(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        token = await newest_token(database, mail_tokens, user)
        verified = await users.verify_email(token)
        assert (verified.id, verified.email_verified) == (user.id, True)
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await users.verify_email(token)
        assert await everything(database.pool) == before

    async def test_twenty_at_once_verify_once(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        token = await newest_token(database, mail_tokens, await users.create(new_user()))
        outcomes = await asyncio.gather(*(users.verify_email(token) for _ in range(20)), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == [*["TokenInvalid"] * 19, "User"]

    async def test_wrong_token_is_refused_with_one_text(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        alice, bob = await users.create(new_user()), await users.create(new_user("bob"))
        token = await newest_token(database, mail_tokens, alice)
        row_id = await database.pool.fetchval("SELECT id FROM mail_tokens WHERE user_id = $1", alice.id)
        before = await everything(database.pool)
        for wrong in (
            "",
            "x",
            "\0",
            token[:-1],
            token + "A",
            token.swapcase(),
            token[:30] + ("A" if token[30] != "A" else "B") + token[31:],
            mail_tokens.make(VERIFY_EMAIL, row_id, bob.id),
            mail_tokens.make("RESET_PASSWORD", row_id, alice.id),
            MailTokens(bytes(32)).make(VERIFY_EMAIL, row_id, alice.id),
            "x" * 60_000,
        ):
            with pytest.raises(TokenInvalid) as refused:
                await users.verify_email(wrong)
            assert str(refused.value) == str(TokenInvalid())
        assert await everything(database.pool) == before

    async def test_user_is_locked_before_the_token(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        token = await newest_token(database, mail_tokens, user)
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE", user.id)
            verifying = asyncio.create_task(users.verify_email(token))
            done, _ = await asyncio.wait([verifying], timeout=0.3)
            assert not done
            await connection.execute("SELECT FROM mail_tokens WHERE user_id = $1 FOR UPDATE NOWAIT", user.id)
        assert (await verifying).email_verified

    async def test_expired_token_is_refused(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        token = await newest_token(database, mail_tokens, user)
        await age_mail_tokens(database, 24 * 3600 + 1)
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await users.verify_email(token)
        assert await everything(database.pool) == before

    async def test_address_proven_by_another_user_is_refused(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        alice = await users.create(new_user())
        mallory = await users.create(new_user("mallory", "ALICE@example.com"))
        await users.verify_email(await newest_token(database, mail_tokens, alice))
        before = await everything(database.pool)
        with pytest.raises(TokenInvalid):
            await users.verify_email(await newest_token(database, mail_tokens, mallory))
        assert await everything(database.pool) == before

    async def test_one_address_proven_by_two_at_once_goes_to_one(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        both = [await users.create(new_user(name, "shared@example.com")) for name in ("alice", "bob")]
        tokens = [await newest_token(database, mail_tokens, user) for user in both]
        outcomes = await asyncio.gather(*map(users.verify_email, tokens), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["TokenInvalid", "User"]


class TestResendVerificationMail:
    async def test_newer_link_supersedes_the_older(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        user = await users.create(new_user())
        older = await newest_token(database, mail_tokens, user)
        await age_mail_tokens(database, 61)
        await users.resend_verification_mail("Alice@Example.com")
        newer = await newest_token(database, mail_tokens, user)
        assert newer != older
        with pytest.raises(TokenInvalid):
            await users.verify_email(older)
        assert (await users.verify_email(newer)).email_verified

    async def test_mail_goes_to_the_address_as_it_was_given_at_sign_up(
        self, users: Users, database: MigratedDatabase
    ) -> None:
        await users.create(new_user())
        await age_mail_tokens(database, 61)
        await users.resend_verification_mail("ALICE@example.com")
        addresses = await database.pool.fetch("SELECT DISTINCT email FROM mail_tokens")
        assert [row["email"] for row in addresses] == ["alice@example.com"]

    async def test_at_most_one_mail_a_minute(self, users: Users, database: MigratedDatabase) -> None:
        await users.create(new_user())
        before = await everything(database.pool)
        await asyncio.gather(*(users.resend_verification_mail("alice@example.com") for _ in range(20)))
        assert await everything(database.pool) == before
        await age_mail_tokens(database, 61)
        await asyncio.gather(*(users.resend_verification_mail("alice@example.com") for _ in range(20)))
        assert await database.pool.fetchval("SELECT count(*) FROM mail_tokens") == 2
        assert await database.pool.fetchval("SELECT count(*) FROM outbox") == 3

    async def test_unknown_verified_and_disabled_are_not_written_to(
        self, users: Users, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        verified, disabled = await users.create(new_user()), await users.create(new_user("bob"))
        await users.verify_email(await newest_token(database, mail_tokens, verified))
        await users.disable(disabled.id, caller_for(NOBODY, Role.ADMIN))
        await age_mail_tokens(database, 61)
        before = await everything(database.pool)
        for email in ("nobody@example.com", verified.email, disabled.email):
            await users.resend_verification_mail(email)
        assert await everything(database.pool) == before

    async def test_every_unverified_user_of_the_address_is_written_to(
        self, users: Users, database: MigratedDatabase
    ) -> None:
        both = [await users.create(new_user(name, "shared@example.com")) for name in ("alice", "bob")]
        await age_mail_tokens(database, 61)
        await users.resend_verification_mail("shared@example.com")
        for user in both:
            count = await database.pool.fetchval("SELECT count(*) FROM mail_tokens WHERE user_id = $1", user.id)
            assert count == 2
