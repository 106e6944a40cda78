"""bank.v1.UserService over a real channel: answers, codes and reasons."""

from collections.abc import AsyncIterator

import grpc
import pytest
from bank.v1 import user_service_pb2 as pb
from bank.v1.session_service_pb2 import CreateSessionRequest
from bank.v1.session_service_pb2_grpc import SessionServiceStub
from bank.v1.user_service_pb2_grpc import UserServiceStub
from bankdb.models import User
from google.protobuf.field_mask_pb2 import FieldMask

from server.passwords import Passwords
from server.throttles import Action
from server.users.addresses import UserAddresses
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, bearer, everything, new_user, refusal, serving, sign_in
from tests.server.users.conftest import KEYS
from tests.server.users.mail import Mailbox

NEW_PASSWORD = "eleven grey seals on a rock"
INVALID = ("INVALID_ARGUMENT", "INVALID_REQUEST")
ABSENT = ("NOT_FOUND", "NOT_FOUND")
UNAUTHENTICATED = ("UNAUTHENTICATED", "UNAUTHENTICATED")
BAD_CREDENTIALS = ("UNAUTHENTICATED", "BAD_CREDENTIALS")
THROTTLED = ("RESOURCE_EXHAUSTED", "LOGIN_THROTTLED")
TOKEN_INVALID = ("FAILED_PRECONDITION", "TOKEN_INVALID")
EmailRequest = pb.ResendVerificationEmailRequest | pb.RequestPasswordResetRequest
Metadata = tuple[tuple[str, str], ...]


@pytest.fixture
def stub(channel: grpc.aio.Channel) -> UserServiceStub:
    return UserServiceStub(channel)


@pytest.fixture
async def alice(users: Users) -> User:
    return await users.create(new_user())


@pytest.fixture
async def as_alice(alice: User, channel: grpc.aio.Channel) -> Metadata:
    return bearer((await sign_in(channel)).access_token)


@pytest.fixture
async def as_admin(users: Users, database: MigratedDatabase, channel: grpc.aio.Channel) -> Metadata:
    admin = await users.create(new_user("admin"))
    await database.pool.execute("UPDATE users SET roles = '{DEPOSITOR,ADMIN}' WHERE id = $1", admin.id)
    return bearer((await sign_in(channel, "admin")).access_token)


def sign_up(**changed: str) -> pb.CreateUserRequest:
    good = {"username": "Bob", "password": PASSWORD, "full_name": "Bob Example", "email": "bob@example.com"}
    return pb.CreateUserRequest(**{**good, **changed})


class TestCreateUser:
    async def test_anyone_signs_up(self, stub: UserServiceStub) -> None:
        user = (await stub.CreateUser(sign_up())).user
        assert (user.username, user.full_name, user.email) == ("bob", "Bob Example", "bob@example.com")
        assert (user.email_verified, user.disabled, list(user.roles)) == (False, False, [pb.ROLE_DEPOSITOR])
        assert user.create_time.seconds > 0

    async def test_refusals_have_their_reasons_and_write_nothing(
        self, stub: UserServiceStub, alice: User, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)
        assert await refusal(stub.CreateUser(sign_up(password="short"))) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert await refusal(stub.CreateUser(sign_up(username="ALICE"))) == ("ALREADY_EXISTS", "USERNAME_TAKEN")
        assert await everything(database.pool) == before


class TestGetUser:
    async def test_me_is_the_caller(self, stub: UserServiceStub, alice: User, as_alice: Metadata) -> None:
        for user_id in ("me", str(alice.id)):
            got = await stub.GetUser(pb.GetUserRequest(user_id=user_id), metadata=as_alice)
            assert got.user.id == str(alice.id)

    async def test_refusals_have_their_reasons(
        self, stub: UserServiceStub, users: Users, as_alice: Metadata, as_admin: Metadata
    ) -> None:
        bob = await users.create(new_user("bob"))
        request = pb.GetUserRequest(user_id=str(bob.id))
        assert await refusal(stub.GetUser(request)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await refusal(stub.GetUser(request, metadata=as_alice)) == ("NOT_FOUND", "NOT_FOUND")
        assert (await stub.GetUser(request, metadata=as_admin)).user.username == "bob"
        malformed = pb.GetUserRequest(user_id="bob")
        assert await refusal(stub.GetUser(malformed, metadata=as_admin)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


class TestListUsers:
    async def test_staff_page_through_all_users(self, stub: UserServiceStub, alice: User, as_admin: Metadata) -> None:
        first = await stub.ListUsers(pb.ListUsersRequest(page_size=1), metadata=as_admin)
        second = await stub.ListUsers(
            pb.ListUsersRequest(page_size=1, page_token=first.next_page_token), metadata=as_admin
        )
        assert [user.username for user in [*first.users, *second.users]] == ["admin", "alice"]
        assert second.next_page_token == ""

    async def test_refusals_have_their_reasons(
        self, stub: UserServiceStub, as_alice: Metadata, as_admin: Metadata
    ) -> None:
        request = pb.ListUsersRequest()
        assert await refusal(stub.ListUsers(request)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await refusal(stub.ListUsers(request, metadata=as_alice)) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        forged = pb.ListUsersRequest(page_token="x")
        assert await refusal(stub.ListUsers(forged, metadata=as_admin)) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")


class TestUpdateUser:
    async def test_caller_changes_themself(self, stub: UserServiceStub, as_alice: Metadata) -> None:
        request = pb.UpdateUserRequest(
            user=pb.User(id="me", full_name="Alice Liddell"), update_mask=FieldMask(paths=["full_name"])
        )
        user = (await stub.UpdateUser(request, metadata=as_alice)).user
        assert (user.full_name, user.payable_by_name) == ("Alice Liddell", False)
        request = pb.UpdateUserRequest(
            user=pb.User(id="me", payable_by_name=True), update_mask=FieldMask(paths=["payable_by_name"])
        )
        user = (await stub.UpdateUser(request, metadata=as_alice)).user
        assert (user.full_name, user.payable_by_name) == ("Alice Liddell", True)

    async def test_refusals_have_their_reasons_and_write_nothing(
        self, stub: UserServiceStub, users: Users, as_alice: Metadata, as_admin: Metadata, database: MigratedDatabase
    ) -> None:
        bob = await users.create(new_user("bob"))
        before = await everything(database.pool)
        mask = FieldMask(paths=["full_name", "payable_by_name"])
        mallory = pb.User(id=str(bob.id), full_name="Mallory", payable_by_name=True)
        request = pb.UpdateUserRequest(user=mallory, update_mask=mask)
        assert await refusal(stub.UpdateUser(request)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        for caller in (as_alice, as_admin):
            assert await refusal(stub.UpdateUser(request, metadata=caller)) == ("NOT_FOUND", "NOT_FOUND")
        for path in ("roles", "email", "email_verified", "*", ""):
            request = pb.UpdateUserRequest(user=pb.User(id="me"), update_mask=FieldMask(paths=[path]))
            refused = await refusal(stub.UpdateUser(request, metadata=as_alice))
            assert refused == ("INVALID_ARGUMENT", "INVALID_REQUEST")
        assert await everything(database.pool) == before


class TestStanding:
    async def test_admin_sets_roles_and_disables_and_enables(
        self, stub: UserServiceStub, alice: User, as_admin: Metadata
    ) -> None:
        user_id = str(alice.id)
        roles = pb.SetUserRolesRequest(user_id=user_id, roles=[pb.ROLE_BANKER])
        changed = await stub.SetUserRoles(roles, metadata=as_admin)
        assert list(changed.user.roles) == [pb.ROLE_DEPOSITOR, pb.ROLE_BANKER]
        disabled = await stub.DisableUser(pb.DisableUserRequest(user_id=user_id), metadata=as_admin)
        assert disabled.user.disabled
        enabled = await stub.EnableUser(pb.EnableUserRequest(user_id=user_id), metadata=as_admin)
        assert not enabled.user.disabled

    async def test_refusals_have_their_reasons_and_write_nothing(
        self, stub: UserServiceStub, alice: User, as_alice: Metadata, as_admin: Metadata, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)

        async def refusals(user_id: str, metadata: Metadata) -> set[tuple[str, str]]:
            return {
                await refusal(stub.SetUserRoles(pb.SetUserRolesRequest(user_id=user_id), metadata=metadata)),
                await refusal(stub.DisableUser(pb.DisableUserRequest(user_id=user_id), metadata=metadata)),
            }

        for user_id in (str(alice.id), "me", str(NOBODY)):
            assert await refusals(user_id, ()) == {("UNAUTHENTICATED", "UNAUTHENTICATED")}
            assert await refusals(user_id, as_alice) == {("PERMISSION_DENIED", "PERMISSION_DENIED")}
        assert await refusals(str(NOBODY), as_admin) == {("NOT_FOUND", "NOT_FOUND")}
        assert await refusals("me", as_admin) == {("INVALID_ARGUMENT", "INVALID_REQUEST")}
        enable = pb.EnableUserRequest(user_id=str(alice.id))
        assert await refusal(stub.EnableUser(enable)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        assert await refusal(stub.EnableUser(enable, metadata=as_alice)) == ("PERMISSION_DENIED", "PERMISSION_DENIED")
        enable = pb.EnableUserRequest(user_id=str(NOBODY))
        assert await refusal(stub.EnableUser(enable, metadata=as_admin)) == ("NOT_FOUND", "NOT_FOUND")
        assert await everything(database.pool) == before


class TestVerifyEmail:
    async def test_mailed_token_verifies_once(
        self, stub: UserServiceStub, alice: User, database: MigratedDatabase, mailbox: Mailbox
    ) -> None:
        request = pb.VerifyEmailRequest(token=await mailbox.newest_token(alice))
        assert (await stub.VerifyEmail(request)).user.email_verified
        before = await everything(database.pool)
        assert await refusal(stub.VerifyEmail(request)) == TOKEN_INVALID
        assert await everything(database.pool) == before

    async def test_access_token_is_no_mailed_token(self, stub: UserServiceStub, as_alice: Metadata) -> None:
        request = pb.VerifyEmailRequest(token=as_alice[0][1].removeprefix("Bearer "))
        assert await refusal(stub.VerifyEmail(request)) == ("FAILED_PRECONDITION", "TOKEN_INVALID")


class TestResendVerificationEmail:
    async def test_known_and_unknown_addresses_are_answered_alike(self, stub: UserServiceStub, alice: User) -> None:
        for email in (alice.email, "nobody@example.com"):
            answer = await stub.ResendVerificationEmail(pb.ResendVerificationEmailRequest(email=email))
            assert answer == pb.ResendVerificationEmailResponse()

    async def test_what_is_no_address_is_refused(self, stub: UserServiceStub) -> None:
        request = pb.ResendVerificationEmailRequest(email="alice@example.com\r\nBcc: bob@example.com")
        assert await refusal(stub.ResendVerificationEmail(request)) == ("INVALID_ARGUMENT", "INVALID_REQUEST")


async def without_audit(database: MigratedDatabase) -> dict[str, object]:
    """All rows that must not change; what was tried in vain is recorded all the same."""
    return {table: rows for table, rows in (await everything(database.pool)).items() if table != "audit_events"}


class TestChangeEmail:
    async def test_address_of_an_unverified_user_is_replaced(
        self, stub: UserServiceStub, alice: User, as_alice: Metadata
    ) -> None:
        request = pb.ChangeEmailRequest(user_id="me", current_password=PASSWORD, new_email="new@example.com")
        user = (await stub.ChangeEmail(request, metadata=as_alice)).user
        assert (user.email, user.email_verified, user.pending_email) == ("new@example.com", False, "")

    async def test_address_of_a_verified_user_is_pending(
        self,
        stub: UserServiceStub,
        alice: User,
        addresses: UserAddresses,
        mailbox: Mailbox,
        as_alice: Metadata,
    ) -> None:
        await addresses.verify(await mailbox.newest_token(alice))
        request = pb.ChangeEmailRequest(user_id="me", current_password=PASSWORD, new_email="new@example.com")
        user = (await stub.ChangeEmail(request, metadata=as_alice)).user
        assert (user.email, user.email_verified, user.pending_email) == (alice.email, True, "new@example.com")
        assert (await stub.GetUser(pb.GetUserRequest(user_id="me"), metadata=as_alice)).user == user

    async def test_refusals_have_their_reasons_in_order_and_write_nothing(
        self, stub: UserServiceStub, users: Users, as_alice: Metadata, as_admin: Metadata, database: MigratedDatabase
    ) -> None:
        bob = str((await users.create(new_user("bob"))).id)
        before = await without_audit(database)

        async def refused(metadata: Metadata, **fields: str) -> tuple[str, str]:
            good = {"user_id": "me", "current_password": PASSWORD, "new_email": "new@example.com"}
            return await refusal(stub.ChangeEmail(pb.ChangeEmailRequest(**{**good, **fields}), metadata=metadata))

        assert await refused((), new_email="x") == UNAUTHENTICATED
        assert await refused(as_alice, user_id=bob, current_password="", new_email="a@b\r\nBcc: c@d.e") == INVALID
        assert await refused(as_alice, user_id="bob") == INVALID
        for caller in (as_alice, as_admin):
            assert await refused(caller, user_id=bob, current_password="x") == ABSENT
        for password in ("", "x", PASSWORD.title()):
            assert await refused(as_alice, current_password=password) == BAD_CREDENTIALS
        assert await without_audit(database) == before


class TestChangePassword:
    async def test_session_of_the_call_goes_on_and_another_ends(
        self, stub: UserServiceStub, alice: User, as_alice: Metadata, channel: grpc.aio.Channel
    ) -> None:
        other = bearer((await sign_in(channel)).access_token)
        request = pb.ChangePasswordRequest(user_id="me", current_password=PASSWORD, new_password=NEW_PASSWORD)
        answer = await stub.ChangePassword(request, metadata=as_alice)
        assert answer == pb.ChangePasswordResponse()
        await stub.GetUser(pb.GetUserRequest(user_id="me"), metadata=as_alice)
        again = pb.ChangePasswordRequest(user_id="me", current_password=NEW_PASSWORD, new_password=PASSWORD)
        assert await refusal(stub.ChangePassword(again, metadata=other)) == ("UNAUTHENTICATED", "SESSION_REVOKED")

    async def test_refusals_have_their_reasons_in_order_and_write_nothing(
        self, stub: UserServiceStub, users: Users, as_alice: Metadata, as_admin: Metadata, database: MigratedDatabase
    ) -> None:
        bob = str((await users.create(new_user("bob"))).id)
        before = await without_audit(database)

        async def refused(metadata: Metadata, **fields: str) -> tuple[str, str]:
            good = {"user_id": "me", "current_password": PASSWORD, "new_password": NEW_PASSWORD}
            request = pb.ChangePasswordRequest(**{**good, **fields})
            return await refusal(stub.ChangePassword(request, metadata=metadata))

        assert await refused((), new_password="x") == UNAUTHENTICATED
        for new in (
            "short",
            "to alice in the woods",
            "passwordpassword",
            PASSWORD,
            "x" * 1025,
            "seven\0herons at dusk",
        ):
            assert await refused(as_alice, user_id=bob, new_password=new) == INVALID, new
        assert await refused(as_alice, user_id="bob") == INVALID
        for caller in (as_alice, as_admin):
            assert await refused(caller, user_id=bob, current_password="x") == ABSENT
        for password in ("", "x", PASSWORD.title()):
            assert await refused(as_alice, current_password=password) == BAD_CREDENTIALS
        assert await without_audit(database) == before

    async def test_who_guesses_with_a_stolen_session_is_throttled(
        self, stub: UserServiceStub, as_alice: Metadata, database: MigratedDatabase
    ) -> None:
        for expected in [BAD_CREDENTIALS] * 10 + [THROTTLED] * 2:
            request = pb.ChangePasswordRequest(user_id="me", current_password="x", new_password=NEW_PASSWORD)
            assert await refusal(stub.ChangePassword(request, metadata=as_alice)) == expected
        request = pb.ChangePasswordRequest(user_id="me", current_password=PASSWORD, new_password=NEW_PASSWORD)
        assert await refusal(stub.ChangePassword(request, metadata=as_alice)) == THROTTLED
        email = pb.ChangeEmailRequest(user_id="me", current_password=PASSWORD, new_email="new@example.com")
        assert await refusal(stub.ChangeEmail(email, metadata=as_alice)) == THROTTLED


class TestRequestPasswordReset:
    async def test_known_and_unknown_addresses_are_answered_alike(
        self, stub: UserServiceStub, alice: User, addresses: UserAddresses, mailbox: Mailbox
    ) -> None:
        await addresses.verify(await mailbox.newest_token(alice))
        before = await mailbox.count()
        for email in (alice.email, "nobody@example.com"):
            answer = await stub.RequestPasswordReset(pb.RequestPasswordResetRequest(email=email))
            assert answer == pb.RequestPasswordResetResponse()
        assert await mailbox.count() == before + 1

    async def test_what_is_no_address_is_refused(self, stub: UserServiceStub, database: MigratedDatabase) -> None:
        before = await everything(database.pool)
        request = pb.RequestPasswordResetRequest(email="alice@example.com\r\nBcc: bob@example.com")
        assert await refusal(stub.RequestPasswordReset(request)) == INVALID
        assert await everything(database.pool) == before


class TestResetPassword:
    @pytest.fixture
    async def token(self, stub: UserServiceStub, alice: User, addresses: UserAddresses, mailbox: Mailbox) -> str:
        await addresses.verify(await mailbox.newest_token(alice))
        await stub.RequestPasswordReset(pb.RequestPasswordResetRequest(email=alice.email))
        return await mailbox.newest_token(alice)

    async def test_new_password_signs_in_and_the_old_session_ends(
        self, stub: UserServiceStub, token: str, as_alice: Metadata, channel: grpc.aio.Channel
    ) -> None:
        request = pb.ResetPasswordRequest(token=token, new_password=NEW_PASSWORD)
        assert await stub.ResetPassword(request) == pb.ResetPasswordResponse()
        again = pb.ChangePasswordRequest(user_id="me", current_password=NEW_PASSWORD, new_password=PASSWORD)
        revoked = ("UNAUTHENTICATED", "SESSION_REVOKED")
        assert await refusal(stub.ChangePassword(again, metadata=as_alice)) == revoked
        assert await refusal(sign_in(channel)) == BAD_CREDENTIALS
        signed_in = await SessionServiceStub(channel).CreateSession(
            CreateSessionRequest(username="alice", password=NEW_PASSWORD)
        )
        assert signed_in.access_token

    async def test_refusals_have_their_reasons_in_order_and_the_token_stays_good(
        self, stub: UserServiceStub, token: str, database: MigratedDatabase
    ) -> None:
        before = await everything(database.pool)

        async def refused(token: str, new_password: str) -> tuple[str, str]:
            return await refusal(stub.ResetPassword(pb.ResetPasswordRequest(token=token, new_password=new_password)))

        for wrong in ("", token[:-1], token + "A", token.swapcase(), "\0", "x" * 60_000):
            for password in (NEW_PASSWORD, "short"):
                assert await refused(wrong, password) == TOKEN_INVALID
        for password in ("", "short", "to alice in the woods", "passwordpassword", "x" * 1025, "seven\0herons at dusk"):
            assert await refused(token, password) == INVALID
        assert await everything(database.pool) == before
        await stub.ResetPassword(pb.ResetPasswordRequest(token=token, new_password=NEW_PASSWORD))
        before = await everything(database.pool)
        for password in (PASSWORD, "short"):
            assert await refused(token, password) == TOKEN_INVALID
        assert await everything(database.pool) == before


class TestAllowances:
    ADDRESS = (("x-envoy-external-address", "192.0.2.1"),)
    LIMITED = ("RESOURCE_EXHAUSTED", "RATE_LIMITED")

    @pytest.fixture
    async def stub(self, database: MigratedDatabase, passwords: Passwords) -> AsyncIterator[UserServiceStub]:
        """A server that lets an address do each thing once an hour."""
        allowances = {Action.SIGN_UP: 1, Action.MAIL: 1}
        async with serving(database.pool, passwords, KEYS, allowances) as channel:
            yield UserServiceStub(channel)

    async def test_second_sign_up_is_refused_unless_it_is_malformed(
        self, stub: UserServiceStub, database: MigratedDatabase
    ) -> None:
        await stub.CreateUser(sign_up(), metadata=self.ADDRESS)
        before = await everything(database.pool)
        for username in ("bob", "carol"):
            assert await refusal(stub.CreateUser(sign_up(username=username), metadata=self.ADDRESS)) == self.LIMITED
        assert await refusal(stub.CreateUser(sign_up(password="short"), metadata=self.ADDRESS)) == INVALID
        assert await everything(database.pool) == before

    @pytest.mark.parametrize(
        ("rpc", "request_class"),
        [
            ("ResendVerificationEmail", pb.ResendVerificationEmailRequest),
            ("RequestPasswordReset", pb.RequestPasswordResetRequest),
        ],
    )
    async def test_second_mail_is_refused_for_any_address_unless_it_is_malformed(
        self,
        stub: UserServiceStub,
        alice: User,
        database: MigratedDatabase,
        rpc: str,
        request_class: type[EmailRequest],
    ) -> None:
        call = getattr(stub, rpc)
        await call(request_class(email="nobody@example.com"), metadata=self.ADDRESS)
        before = await everything(database.pool)
        for email in (alice.email, "nobody@example.com"):
            assert await refusal(call(request_class(email=email), metadata=self.ADDRESS)) == self.LIMITED
        assert await refusal(call(request_class(email="nobody"), metadata=self.ADDRESS)) == INVALID
        assert await everything(database.pool) == before

    async def test_second_change_of_the_address_is_refused_after_the_password_was_checked(
        self, stub: UserServiceStub, as_alice: Metadata, database: MigratedDatabase
    ) -> None:
        metadata = (*as_alice, *self.ADDRESS)

        async def change(new_email: str, current_password: str = PASSWORD) -> None:
            request = pb.ChangeEmailRequest(user_id="me", current_password=current_password, new_email=new_email)
            await stub.ChangeEmail(request, metadata=metadata)

        await change("new@example.com")
        before = await everything(database.pool)
        assert await refusal(change("newer@example.com")) == self.LIMITED
        assert await everything(database.pool) == before
        assert await refusal(change("newer@example.com", "another pass phrase")) == BAD_CREDENTIALS
