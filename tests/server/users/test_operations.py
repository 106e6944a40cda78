"""What happens to users in the database."""

import asyncio
import json
from uuid import UUID, uuid4

import pytest
from bankdb.models import User

from server.caller import Origin, Role, set_origin
from server.errors import InvalidPageToken, InvalidRequest, LoginThrottled, NotFound, RateLimited, UsernameTaken
from server.passwords import Passwords
from server.quotas import CallQuota
from server.throttles import Action
from server.tokens import VERIFY_EMAIL, MailTokens, digest
from server.users.operations import ProfileChange, Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, caller_for, everything, identity_on, matches, new_keys, new_user
from tests.server.users.mail import audit
from tests.server.users.scenes import live_sessions, session_of


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

    async def test_full_pool_refuses_and_writes_nothing(self, database: MigratedDatabase) -> None:
        busy = Passwords(1, places=2)
        users = identity_on(database.pool, busy, new_keys(), {}).users
        waiting = [asyncio.create_task(matches(busy, None, "x")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(LoginThrottled):
            await users.create(new_user())
        await asyncio.gather(*waiting)
        await busy.close()
        assert await database.pool.fetchval("SELECT count(*) FROM users") == 0

    async def test_address_that_used_up_its_sign_ups_is_refused_before_a_password_is_hashed(
        self, database: MigratedDatabase, passwords: Passwords
    ) -> None:
        users = identity_on(database.pool, passwords, new_keys(), {Action.SIGN_UP: 2}).users
        set_origin(Origin("192.0.2.1"))
        for name in ("alice", "bob"):
            await users.create(new_user(name))
        before = await everything(database.pool)
        two = Passwords(1, CallQuota(1, clock=lambda: 1000.0))
        users = identity_on(database.pool, two, new_keys(), {Action.SIGN_UP: 2}).users
        for _ in range(5):
            with pytest.raises(RateLimited) as refused:
                await users.create(new_user("carol"))
            assert (refused.value.reason, 0 < refused.value.retry_after_s <= 1800) == ("RATE_LIMITED", True)
        assert await everything(database.pool) == before
        assert [await two.hash(PASSWORD) for _ in range(2)]
        await two.close()

    async def test_more_passwords_a_second_than_allowed_are_refused_and_cost_the_address_nothing(
        self, database: MigratedDatabase
    ) -> None:
        two = Passwords(1, CallQuota(1, clock=lambda: 1000.0))
        set_origin(Origin("192.0.2.1"))
        users = identity_on(database.pool, two, new_keys(), {Action.SIGN_UP: 3}).users
        for name in ("alice", "bob"):
            await users.create(new_user(name))
        before = await everything(database.pool), await database.pool.fetch("SELECT * FROM rate_limits")
        for _ in range(5):
            with pytest.raises(LoginThrottled) as refused:
                await users.create(new_user("carol"))
            assert refused.value.retry_after_s >= 1
        assert (await everything(database.pool), await database.pool.fetch("SELECT * FROM rate_limits")) == before
        await two.close()

    async def test_another_address_signs_up_meanwhile(self, database: MigratedDatabase, passwords: Passwords) -> None:
        users = identity_on(database.pool, passwords, new_keys(), {Action.SIGN_UP: 1}).users
        for number, address in enumerate(["192.0.2.1", "192.0.2.2", "", ""]):
            set_origin(Origin(address))
            await users.create(new_user(f"user{number}"))

    async def test_sign_up_is_recorded_with_where_it_came_from(self, users: Users, database: MigratedDatabase) -> None:
        set_origin(Origin("192.0.2.1", "a browser", "trace"))
        user = await users.create(new_user())
        [event] = await audit(database)
        assert (event["type"], event["user_id"], event["actor_user_id"]) == ("USER_CREATED", user.id, None)
        assert (event["client_address"], event["user_agent"], event["trace_id"]) == ("192.0.2.1", "a browser", "trace")


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
    async def test_full_name_changes_and_nothing_else(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        before = await everything(database.pool)
        changed = await users.update(ProfileChange(user.id, full_name="Alice Liddell"), caller_for(user.id))
        assert changed.full_name == "Alice Liddell"
        assert changed._replace(full_name=user.full_name, update_time=user.update_time) == user
        after = await everything(database.pool)
        assert {table: rows for table, rows in after.items() if table != "users"} == {
            table: rows for table, rows in before.items() if table != "users"
        }

    async def test_user_is_found_by_name_once_they_say_so_and_until_they_say_no(self, users: Users) -> None:
        user = await users.create(new_user())
        assert not user.payable_by_name
        for payable in (True, True, False):
            changed = await users.update(ProfileChange(user.id, payable_by_name=payable), caller_for(user.id))
            assert changed.payable_by_name == payable
            assert changed._replace(payable_by_name=False, update_time=user.update_time) == user

    async def test_somebody_else_is_refused_also_for_admins(self, users: Users, database: MigratedDatabase) -> None:
        user = await users.create(new_user())
        before = await everything(database.pool)
        for caller in (caller_for(NOBODY), caller_for(NOBODY, Role.ADMIN, Role.BANKER)):
            with pytest.raises(NotFound):
                await users.update(ProfileChange(user.id, "Mallory", payable_by_name=True), caller)
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

    async def test_change_of_roles_is_recorded_with_who_made_it(self, users: Users, database: MigratedDatabase) -> None:
        user, admin = await users.create(new_user()), caller_for(uuid4(), Role.ADMIN, session_id=uuid4())
        await users.set_roles(user.id, frozenset({Role.DEPOSITOR, Role.BANKER}), admin)
        [event] = await audit(database, "ROLES_CHANGED")
        assert (event["user_id"], event["actor_user_id"], event["session_id"]) == (
            user.id,
            admin.user_id,
            admin.session_id,
        )
        assert json.loads(event["details"]) == {"roles": "DEPOSITOR,BANKER"}

    async def test_sessions_of_a_disabled_user_do_not_come_back(self, users: Users, database: MigratedDatabase) -> None:
        user, other, admin = await users.create(new_user()), await users.create(new_user("bob")), caller_for(NOBODY)
        await session_of(database, user)
        kept = await session_of(database, other)
        await users.disable(user.id, admin)
        await users.enable(user.id, admin)
        assert await live_sessions(database, user) == set()
        assert await live_sessions(database, other) == {kept.session_id}

    async def test_disabling_and_enabling_are_recorded_once(self, users: Users, database: MigratedDatabase) -> None:
        user, admin = await users.create(new_user()), caller_for(NOBODY, Role.ADMIN)
        for _ in range(2):
            assert (await users.disable(user.id, admin)).disabled
        for _ in range(2):
            assert not (await users.enable(user.id, admin)).disabled
        types = await database.pool.fetch("SELECT type FROM events ORDER BY id")
        assert [row["type"] for row in types] == ["user.created", "user.disabled", "user.enabled"]
        recorded = await audit(database, "USER_DISABLED", "USER_ENABLED")
        assert [(row["type"], row["user_id"], row["actor_user_id"]) for row in recorded] == [
            ("USER_DISABLED", user.id, NOBODY),
            ("USER_ENABLED", user.id, NOBODY),
        ]

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
            await users.enable(uuid4(), admin)

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
                else users.enable(user.id, admin)
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
