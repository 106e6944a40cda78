"""Requests of UserService to commands, users to protobuf."""

import re
from uuid import UUID

from bank.v1 import user_service_pb2 as pb
from bankdb.models import User

from server.caller import Caller, Role
from server.passwords import PasswordPolicy, same_password
from server.timestamps import to_proto
from server.users.addresses import AddressChange
from server.users.operations import NewUser, ProfileChange
from server.users.passwords import PasswordChange, PasswordReset
from server.violations import Violations

FULL_NAME_LENGTH_MAX = 100
EMAIL_LENGTH_MAX = 254
EMAIL_LOCAL_LENGTH_MAX = 64

# The dot-atom of RFC 5322 and a domain name: nothing that a mail header or a mail program reads as
# anything but one plain address. Other scripts come as their ASCII form (xn--…).
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+(?![0-9]+$){_LABEL})")

_ROLES = {getattr(pb, f"ROLE_{role}"): role for role in Role}


def parse_create_user(request: pb.CreateUserRequest, policy: PasswordPolicy) -> NewUser:
    """Check a sign-up; all violations at once."""
    check = Violations()
    username = check.username("username", request.username)
    command = NewUser(
        username=username,
        password=_new_password(check, "password", request.password, username, policy),
        full_name=_full_name(check, "full_name", request.full_name),
        email=_email(check, "email", request.email),
    )
    check.raise_if_any()
    return command


def parse_user_id(request: pb.GetUserRequest | pb.DisableUserRequest | pb.EnableUserRequest, caller: Caller) -> UUID:
    """The user asked for; `me` is the caller."""
    check = Violations()
    user_id = check.user_id("user_id", request.user_id, caller)
    check.raise_if_any()
    return user_id


def parse_list_users(request: pb.ListUsersRequest) -> tuple[int, str]:
    """Size and token of the page."""
    check = Violations()
    page_size = check.page_size(request.page_size)
    check.raise_if_any()
    return page_size, request.page_token


def parse_update_user(request: pb.UpdateUserRequest, caller: Caller) -> ProfileChange:
    """What to change of whom; fields that the mask does not name are not looked at."""
    check = Violations()
    user_id = check.user_id("user.id", request.user.id, caller)
    named: frozenset[str] = frozenset()
    if "email" in request.update_mask.paths:
        check.add("update_mask", "must not name email: call ChangeEmail, which asks for the password")
    else:
        named = check.update_mask(request.update_mask.paths, ("full_name", "payable_by_name"))
    command = ProfileChange(
        user_id=user_id,
        full_name=_full_name(check, "user.full_name", request.user.full_name) if "full_name" in named else None,
        payable_by_name=request.user.payable_by_name if "payable_by_name" in named else None,
    )
    check.raise_if_any()
    return command


def parse_set_user_roles(request: pb.SetUserRolesRequest, caller: Caller) -> tuple[UUID, frozenset[Role]]:
    """Whose roles to replace, and by which; ROLE_DEPOSITOR is added."""
    check = Violations()
    user_id = check.user_id("user_id", request.user_id, caller)
    for number, role in enumerate(request.roles):
        if role not in _ROLES:
            check.add(f"roles[{number}]", "must be one of the named roles, not ROLE_UNSPECIFIED")
    check.raise_if_any()
    return user_id, frozenset({Role.DEPOSITOR, *(_ROLES[role] for role in request.roles)})


def parse_email(request: pb.ResendVerificationEmailRequest | pb.RequestPasswordResetRequest) -> str:
    """The address to write to."""
    check = Violations()
    email = _email(check, "email", request.email)
    check.raise_if_any()
    return email


def parse_change_email(request: pb.ChangeEmailRequest, caller: Caller) -> AddressChange:
    """Another address of a user; the current password is not looked at."""
    check = Violations()
    command = AddressChange(
        user_id=check.user_id("user_id", request.user_id, caller),
        current_password=request.current_password,
        new_email=_email(check, "new_email", request.new_email),
    )
    check.raise_if_any()
    return command


def parse_change_password(
    request: pb.ChangePasswordRequest, caller: Caller, username: str, policy: PasswordPolicy
) -> PasswordChange:
    """A new password of a user; the current one is only compared with it.

    Args:
        request: As it came.
        caller: Whom `me` means.
        username: Of the caller, which the new password must not contain.
        policy: Which new passwords are accepted.
    """
    check = Violations()
    command = PasswordChange(
        user_id=check.user_id("user_id", request.user_id, caller),
        current_password=request.current_password,
        new_password=_new_password(check, "new_password", request.new_password, username, policy),
    )
    if same_password(request.new_password, request.current_password):
        check.add("new_password", "must differ from the current one")
    check.raise_if_any()
    return command


def parse_reset_password(request: pb.ResetPasswordRequest, username: str, policy: PasswordPolicy) -> PasswordReset:
    """A new password of the user with this name; the token is not looked at."""
    check = Violations()
    command = PasswordReset(
        token=request.token,
        new_password=_new_password(check, "new_password", request.new_password, username, policy),
    )
    check.raise_if_any()
    return command


def render_user(user: User) -> pb.User:
    """A user as everybody who may read them sees them."""
    return pb.User(
        id=str(user.id),
        username=user.username,
        full_name=user.full_name,
        email=user.email,
        email_verified=user.email_verified,
        pending_email=user.pending_email or "",
        roles=[number for number, role in _ROLES.items() if role in user.roles],
        disabled=user.disabled,
        create_time=to_proto(user.create_time),
        payable_by_name=user.payable_by_name,
    )


def _new_password(check: Violations, field: str, value: str, username: str, policy: PasswordPolicy) -> str:
    violation = policy.violation(value, username)
    if violation is not None:
        check.add(field, violation)
    return value


def _full_name(check: Violations, field: str, value: str) -> str:
    return check.text(field, value.strip(), longest=FULL_NAME_LENGTH_MAX, shortest=1)


def _email(check: Violations, field: str, value: str) -> str:
    match = _EMAIL.fullmatch(value) if len(value) <= EMAIL_LENGTH_MAX else None
    if match is None or len(match[1]) > EMAIL_LOCAL_LENGTH_MAX:
        check.add(field, "must be one address such as alice@example.com, at most 254 characters, without a name")
        return ""
    return f"{match[1]}@{match[2].lower()}"
