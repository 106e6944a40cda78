"""bank.v1.UserService: parse, call, render."""

from typing import Any

import grpc
from bank.v1 import user_service_pb2 as pb
from bank.v1.user_service_pb2_grpc import UserServiceServicer

from server.caller import current_caller
from server.passwords import PasswordPolicy
from server.users.addresses import UserAddresses
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
    render_user,
)
from server.users.operations import Users
from server.users.passwords import UserPasswords

Context = grpc.aio.ServicerContext[Any, Any]


class UserServicer(UserServiceServicer):
    """bank.v1.UserService."""

    def __init__(
        self, users: Users, addresses: UserAddresses, passwords: UserPasswords, policy: PasswordPolicy
    ) -> None:
        self._users = users
        self._addresses = addresses
        self._passwords = passwords
        self._policy = policy

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> pb.CreateUserResponse:
        user = await self._users.create(parse_create_user(request, self._policy))
        return pb.CreateUserResponse(user=render_user(user))

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> pb.GetUserResponse:
        caller = current_caller()
        return pb.GetUserResponse(user=render_user(await self._users.get(parse_user_id(request, caller), caller)))

    async def ListUsers(self, request: pb.ListUsersRequest, context: Context) -> pb.ListUsersResponse:
        users, next_page_token = await self._users.page(*parse_list_users(request), current_caller())
        return pb.ListUsersResponse(users=map(render_user, users), next_page_token=next_page_token)

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> pb.UpdateUserResponse:
        caller = current_caller()
        user = await self._users.update(parse_update_user(request, caller), caller)
        return pb.UpdateUserResponse(user=render_user(user))

    async def SetUserRoles(self, request: pb.SetUserRolesRequest, context: Context) -> pb.SetUserRolesResponse:
        caller = current_caller()
        user = await self._users.set_roles(*parse_set_user_roles(request, caller), caller)
        return pb.SetUserRolesResponse(user=render_user(user))

    async def DisableUser(self, request: pb.DisableUserRequest, context: Context) -> pb.DisableUserResponse:
        caller = current_caller()
        user = await self._users.disable(parse_user_id(request, caller), caller)
        return pb.DisableUserResponse(user=render_user(user))

    async def EnableUser(self, request: pb.EnableUserRequest, context: Context) -> pb.EnableUserResponse:
        caller = current_caller()
        user = await self._users.enable(parse_user_id(request, caller), caller)
        return pb.EnableUserResponse(user=render_user(user))

    async def VerifyEmail(self, request: pb.VerifyEmailRequest, context: Context) -> pb.VerifyEmailResponse:
        return pb.VerifyEmailResponse(user=render_user(await self._addresses.verify(request.token)))

    async def ResendVerificationEmail(
        self, request: pb.ResendVerificationEmailRequest, context: Context
    ) -> pb.ResendVerificationEmailResponse:
        await self._addresses.resend(parse_email(request))
        return pb.ResendVerificationEmailResponse()

    async def ChangeEmail(self, request: pb.ChangeEmailRequest, context: Context) -> pb.ChangeEmailResponse:
        caller = current_caller()
        user = await self._addresses.change(parse_change_email(request, caller), caller)
        return pb.ChangeEmailResponse(user=render_user(user))

    async def ChangePassword(self, request: pb.ChangePasswordRequest, context: Context) -> pb.ChangePasswordResponse:
        caller = current_caller()
        user = await self._users.get(caller.user_id, caller)
        await self._passwords.change(parse_change_password(request, caller, user.username, self._policy), caller)
        return pb.ChangePasswordResponse()

    async def RequestPasswordReset(
        self, request: pb.RequestPasswordResetRequest, context: Context
    ) -> pb.RequestPasswordResetResponse:
        await self._passwords.request_reset(parse_email(request))
        return pb.RequestPasswordResetResponse()

    async def ResetPassword(self, request: pb.ResetPasswordRequest, context: Context) -> pb.ResetPasswordResponse:
        user = await self._passwords.owner_of_link(request.token)
        await self._passwords.reset(parse_reset_password(request, user.username, self._policy))
        return pb.ResetPasswordResponse()
