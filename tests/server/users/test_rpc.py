"""bank.v1.UserService over a real channel: answers, codes and reasons."""

import grpc
import pytest
from bank.v1 import user_service_pb2 as pb
from bank.v1.user_service_pb2_grpc import UserServiceStub
from bankdb.models import User
from google.protobuf.field_mask_pb2 import FieldMask

from server.tokens import MailTokens
from server.users.operations import Users
from tests.conftest import Database as MigratedDatabase
from tests.server.identity import NOBODY, PASSWORD, bearer, everything, new_user, refusal, sign_in
from tests.server.users.test_operations import newest_token

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
        assert (await stub.UpdateUser(request, metadata=as_alice)).user.full_name == "Alice Liddell"

    async def test_refusals_have_their_reasons_and_write_nothing(
        self, stub: UserServiceStub, users: Users, as_alice: Metadata, as_admin: Metadata, database: MigratedDatabase
    ) -> None:
        bob = await users.create(new_user("bob"))
        before = await everything(database.pool)
        mask = FieldMask(paths=["full_name"])
        request = pb.UpdateUserRequest(user=pb.User(id=str(bob.id), full_name="Mallory"), update_mask=mask)
        assert await refusal(stub.UpdateUser(request)) == ("UNAUTHENTICATED", "UNAUTHENTICATED")
        for caller in (as_alice, as_admin):
            assert await refusal(stub.UpdateUser(request, metadata=caller)) == ("NOT_FOUND", "NOT_FOUND")
        for path in ("roles", "email_verified", "*", ""):
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
        self, stub: UserServiceStub, alice: User, database: MigratedDatabase, mail_tokens: MailTokens
    ) -> None:
        request = pb.VerifyEmailRequest(token=await newest_token(database, mail_tokens, alice))
        assert (await stub.VerifyEmail(request)).user.email_verified
        before = await everything(database.pool)
        assert await refusal(stub.VerifyEmail(request)) == ("FAILED_PRECONDITION", "TOKEN_INVALID")
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
