"""Requests of UserService: what is accepted, and that all violations are told at once."""

import pytest
from bank.v1 import user_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from server.caller import Role
from server.errors import InvalidRequest
from server.passwords import PasswordPolicy
from server.users.addresses import AddressChange
from server.users.messages import (
    parse_change_email,
    parse_change_password,
    parse_create_user,
    parse_email,
    parse_list_users,
    parse_reset_password,
    parse_set_user_roles,
    parse_update_user,
    parse_user_id,
)
from server.users.operations import NewUser, ProfileChange
from server.users.passwords import PasswordChange, PasswordReset
from tests.server.identity import NOBODY, PASSWORD, caller_for

EmailRequest = pb.ResendVerificationEmailRequest | pb.RequestPasswordResetRequest
CALLER = caller_for(NOBODY)
OTHER = "018f6b3e-5a1c-7c3d-9a57-0242ac12ffff"
BAD_EMAILS = [
    "",
    "alice",
    "alice@",
    "@example.com",
    "alice@example",
    "alice@@example.com",
    "alice@example.com,bob@example.com",
    "alice@example.com;bob@example.com",
    "alice@example.com bob@example.com",
    "Alice <alice@example.com>",
    "<alice@example.com>",
    '"alice"@example.com',
    "alice(comment)@example.com",
    "alice@example.com\r\nBcc: bob@example.com",
    "alice@example.com\n",
    "alice\n@example.com",
    "alice\0@example.com",
    " alice@example.com",
    "alice@example.com ",
    "alice\t@example.com",
    "alice@[127.0.0.1]",
    "alice@127.0.0.1",
    "alice@-example.com",
    "alice@example-.com",
    "alice@exa_mple.com",
    "alice@.example.com",
    "alice@example..com",
    "alice@example.com.",
    ".alice@example.com",
    "alice.@example.com",
    "al..ice@example.com",
    "ålice@example.com",
    "alice@exämple.com",
    "alice@example.com\u2028",
    "alice\u202e@example.com",
    "alice\\@example.com",
    "alice:bob@example.com",
    "a" * 65 + "@example.com",
    "alice@" + "a" * 64 + ".com",
    "alice@" + "a." * 125 + "com",
]
GOOD_EMAILS = [
    "alice@example.com",
    "a@b.co",
    "alice+bank@sub.domain.example.com",
    "al.ice_1-2@example.co",
    "o'brien@example.com",
    "alice@xn--exmple-cua.com",
    "a" * 64 + "@example.com",
    "alice@3m.com",
]


@pytest.fixture(scope="module")
def policy() -> PasswordPolicy:
    return PasswordPolicy()


def create(**changed: str) -> pb.CreateUserRequest:
    good = {
        "username": "alice",
        "password": PASSWORD,
        "full_name": "Alice Example",
        "email": "alice@example.com",
    }
    return pb.CreateUserRequest(**{**good, **changed})


def wrong_fields(refused: pytest.ExceptionInfo[InvalidRequest]) -> list[str]:
    return [violation.field for violation in refused.value.violations]


class TestParseCreateUser:
    def test_good_request_becomes_a_command(self, policy: PasswordPolicy) -> None:
        assert parse_create_user(create(), policy) == NewUser("alice", PASSWORD, "Alice Example", "alice@example.com")

    def test_every_violation_is_told(self, policy: PasswordPolicy) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_create_user(pb.CreateUserRequest(), policy)
        assert sorted(wrong_fields(refused)) == ["email", "full_name", "password", "username"]

    @pytest.mark.parametrize("username", ["Alice", "ALICE"])
    def test_user_name_is_folded_to_lower_case(self, policy: PasswordPolicy, username: str) -> None:
        assert parse_create_user(create(username=username), policy).username == "alice"

    @pytest.mark.parametrize("username", ["abc", "a" * 32, "a-b_c", "a1-"])
    def test_user_name_of_the_documented_form_is_accepted(self, policy: PasswordPolicy, username: str) -> None:
        assert parse_create_user(create(username=username), policy).username == username

    @pytest.mark.parametrize(
        "username",
        [
            "",
            "ab",
            "a" * 33,
            "1abc",
            "_abc",
            "-abc",
            "al ice",
            "alice\n",
            "alice\0",
            "al.ice",
            "alicé",
            "аlice",
            "\u212aate",  # the Kelvin sign, whose lower case is k
            "al\u200bice",
            "alice\u202e",
            "alice;--",
        ],
    )
    def test_other_user_names_are_refused(self, policy: PasswordPolicy, username: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_create_user(create(username=username), policy)
        assert wrong_fields(refused) == ["username"]

    def test_password_with_the_user_name_in_it_is_refused(self, policy: PasswordPolicy) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_create_user(create(username="HERON", password=PASSWORD), policy)
        assert wrong_fields(refused) == ["password"]
        assert PASSWORD not in str(refused.value)

    @pytest.mark.parametrize("email", GOOD_EMAILS)
    def test_plain_address_is_accepted(self, policy: PasswordPolicy, email: str) -> None:
        assert parse_create_user(create(email=email), policy).email == email

    def test_domain_is_folded_to_lower_case(self, policy: PasswordPolicy) -> None:
        assert parse_create_user(create(email="Alice@EXAMPLE.Com"), policy).email == "Alice@example.com"

    @pytest.mark.parametrize("email", BAD_EMAILS, ids=lambda email: repr(email[:40]))
    def test_other_addresses_are_refused(self, policy: PasswordPolicy, email: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_create_user(create(email=email), policy)
        assert wrong_fields(refused) == ["email"]

    def test_full_name_is_trimmed_and_composed(self, policy: PasswordPolicy) -> None:
        command = parse_create_user(create(full_name="  Zoe\u0308 Ngũgĩ 山田 "), policy)
        assert command.full_name == "Zoë Ngũgĩ 山田"

    @pytest.mark.parametrize("full_name", ["", "   ", "a" * 101, "Al\nice", "Al\0ice", "\u202ealice", "a\u2028b"])
    def test_other_full_names_are_refused(self, policy: PasswordPolicy, full_name: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_create_user(create(full_name=full_name), policy)
        assert wrong_fields(refused) == ["full_name"]


class TestParseUserId:
    def test_me_is_the_caller(self) -> None:
        assert parse_user_id(pb.GetUserRequest(user_id="me"), CALLER) == CALLER.user_id

    def test_id_is_taken_in_any_case(self) -> None:
        assert str(parse_user_id(pb.GetUserRequest(user_id=OTHER.upper()), CALLER)) == OTHER

    @pytest.mark.parametrize("user_id", ["", "ME", "alice", OTHER[:-1], "{" + OTHER + "}", OTHER.replace("-", "")])
    def test_other_ids_are_refused(self, user_id: str) -> None:
        with pytest.raises(InvalidRequest):
            parse_user_id(pb.GetUserRequest(user_id=user_id), CALLER)


class TestParseListUsers:
    @pytest.mark.parametrize(("asked", "given"), [(0, 50), (1, 1), (200, 200), (201, 200), (2**31 - 1, 200)])
    def test_page_size_has_a_default_and_a_cap(self, asked: int, given: int) -> None:
        assert parse_list_users(pb.ListUsersRequest(page_size=asked, page_token="x")) == (given, "x")

    def test_negative_page_size_is_refused(self) -> None:
        with pytest.raises(InvalidRequest):
            parse_list_users(pb.ListUsersRequest(page_size=-1))


class TestParseUpdateUser:
    def update(self, *paths: str, **fields: str) -> pb.UpdateUserRequest:
        """A change of the caller, with these fields instead of good ones."""
        fields = {"id": "me", "full_name": "Alice", "email": "", **fields}
        user = pb.User(id=fields["id"], full_name=fields["full_name"], email=fields["email"])
        return pb.UpdateUserRequest(user=user, update_mask=FieldMask(paths=paths))

    def test_full_name_is_changed(self) -> None:
        assert parse_update_user(self.update("full_name"), CALLER) == ProfileChange(CALLER.user_id, full_name="Alice")

    @pytest.mark.parametrize("payable", [True, False])
    def test_whether_to_be_found_is_changed(self, payable: bool) -> None:
        request = self.update("payable_by_name", full_name="")
        request.user.payable_by_name = payable
        assert parse_update_user(request, CALLER) == ProfileChange(CALLER.user_id, payable_by_name=payable)

    def test_both_are_changed_at_once(self) -> None:
        request = self.update("payable_by_name", "full_name")
        request.user.payable_by_name = True
        assert parse_update_user(request, CALLER) == ProfileChange(CALLER.user_id, "Alice", payable_by_name=True)

    def test_fields_that_are_not_named_are_not_looked_at(self) -> None:
        request = self.update("full_name", email="not an address")
        request.user.roles.append(pb.ROLE_ADMIN)
        request.user.email_verified = True
        request.user.payable_by_name = True
        assert parse_update_user(request, CALLER) == ProfileChange(CALLER.user_id, full_name="Alice")

    @pytest.mark.parametrize("paths", [["email"], ["full_name", "email"], ["email"] * 1000])
    def test_address_is_refused_with_the_call_that_changes_it(self, paths: list[str]) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_update_user(self.update(*paths, email="alice@example.com"), CALLER)
        assert wrong_fields(refused) == ["update_mask"]
        assert "ChangeEmail" in str(refused.value)

    @pytest.mark.parametrize(
        "paths",
        [
            [],
            ["*"],
            ["role"],
            ["roles"],
            ["email_verified"],
            ["id"],
            ["username"],
            ["disabled"],
            ["create_time"],
            ["password_hash"],
            ["full_name", "roles"],
            ["full_name", "full_name"],
            ["user.full_name"],
            ["full_name.x"],
            ["Email"],
            ["pending_email"],
            [""],
            ["full_name"] * 1000,
        ],
    )
    def test_other_masks_are_refused(self, paths: list[str]) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_update_user(self.update(*paths), CALLER)
        assert "update_mask" in wrong_fields(refused)

    def test_every_violation_is_told(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_update_user(self.update("full_name", id="x", full_name=""), CALLER)
        assert wrong_fields(refused) == ["user.id", "user.full_name"]

    def test_absent_user_is_refused(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_update_user(pb.UpdateUserRequest(update_mask=FieldMask(paths=["full_name"])), CALLER)
        assert wrong_fields(refused) == ["user.id", "user.full_name"]


class TestParseSetUserRoles:
    def test_depositor_is_always_kept(self) -> None:
        assert parse_set_user_roles(pb.SetUserRolesRequest(user_id=OTHER), CALLER)[1] == {Role.DEPOSITOR}

    def test_each_role_of_the_contract_is_known(self) -> None:
        named = [name for name in pb.Role.DESCRIPTOR.values_by_name if name != "ROLE_UNSPECIFIED"]
        request = pb.SetUserRolesRequest(user_id=OTHER, roles=[*named, *named])
        assert parse_set_user_roles(request, CALLER)[1] == set(Role)

    def test_unspecified_and_unknown_roles_are_refused(self) -> None:
        request = pb.SetUserRolesRequest(user_id=OTHER)
        request.MergeFromString(pb.SetUserRolesRequest(roles=[pb.ROLE_BANKER, pb.ROLE_UNSPECIFIED]).SerializeToString())
        request.MergeFromString(b"\x12\x01\x63")  # role 99, as a newer client may send it
        with pytest.raises(InvalidRequest) as refused:
            parse_set_user_roles(request, CALLER)
        assert wrong_fields(refused) == ["roles[1]", "roles[2]"]


class TestParseEmail:
    @pytest.mark.parametrize("request_class", [pb.ResendVerificationEmailRequest, pb.RequestPasswordResetRequest])
    def test_domain_is_folded_to_lower_case(self, request_class: type[EmailRequest]) -> None:
        assert parse_email(request_class(email="Alice@EXAMPLE.Com")) == "Alice@example.com"

    @pytest.mark.parametrize("request_class", [pb.ResendVerificationEmailRequest, pb.RequestPasswordResetRequest])
    @pytest.mark.parametrize("email", BAD_EMAILS, ids=lambda email: repr(email[:40]))
    def test_what_is_no_plain_address_is_refused(self, request_class: type[EmailRequest], email: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_email(request_class(email=email))
        assert wrong_fields(refused) == ["email"]


class TestParseChangeEmail:
    def test_good_request_becomes_a_command(self) -> None:
        request = pb.ChangeEmailRequest(user_id="me", current_password="x", new_email="Alice@EXAMPLE.com")
        assert parse_change_email(request, CALLER) == AddressChange(CALLER.user_id, "x", "Alice@example.com")

    @pytest.mark.parametrize("email", BAD_EMAILS, ids=lambda email: repr(email[:40]))
    def test_what_is_no_plain_address_is_refused(self, email: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_change_email(pb.ChangeEmailRequest(user_id="me", new_email=email), CALLER)
        assert wrong_fields(refused) == ["new_email"]

    def test_every_violation_is_told(self) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_change_email(pb.ChangeEmailRequest(), CALLER)
        assert wrong_fields(refused) == ["user_id", "new_email"]


class TestParseChangePassword:
    def change(self, new_password: str, current_password: str = "", user_id: str = "me") -> pb.ChangePasswordRequest:
        return pb.ChangePasswordRequest(user_id=user_id, current_password=current_password, new_password=new_password)

    def test_good_request_becomes_a_command(self, policy: PasswordPolicy) -> None:
        command = parse_change_password(self.change(PASSWORD), CALLER, "alice", policy)
        assert command == PasswordChange(CALLER.user_id, "", PASSWORD)

    @pytest.mark.parametrize("password", ["", "short", "alice in the woods", "passwordpassword", "x" * 1025])
    def test_policy_of_sign_up_applies(self, policy: PasswordPolicy, password: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_change_password(self.change(password, "another"), CALLER, "alice", policy)
        assert wrong_fields(refused) == ["new_password"]
        assert not password or password not in str(refused.value)

    @pytest.mark.parametrize(
        ("new_password", "current_password"), [(PASSWORD, PASSWORD), ("cafe\u0301 de la gare", "café de la gare")]
    )
    def test_current_password_is_refused(
        self, policy: PasswordPolicy, new_password: str, current_password: str
    ) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_change_password(self.change(new_password, current_password), CALLER, "alice", policy)
        assert str(refused.value) == "new_password: must differ from the current one"

    def test_every_violation_is_told(self, policy: PasswordPolicy) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_change_password(self.change("short", "short", "x"), CALLER, "alice", policy)
        assert wrong_fields(refused) == ["user_id", "new_password", "new_password"]


class TestParseResetPassword:
    def test_good_request_becomes_a_command(self, policy: PasswordPolicy) -> None:
        request = pb.ResetPasswordRequest(token="anything", new_password=PASSWORD)
        assert parse_reset_password(request, "alice", policy) == PasswordReset("anything", PASSWORD)

    @pytest.mark.parametrize("password", ["", "short", "alice in the woods", "passwordpassword", "x" * 1025])
    def test_policy_of_sign_up_applies(self, policy: PasswordPolicy, password: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            parse_reset_password(pb.ResetPasswordRequest(new_password=password), "alice", policy)
        assert wrong_fields(refused) == ["new_password"]
