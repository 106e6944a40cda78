"""A server that shows what the gateway handed to it; `python -m tests.envoy.upstream PORT` runs one alone."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

import grpc
from bank.v1 import transfer_service_pb2, transfer_service_pb2_grpc, user_service_pb2, user_service_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details
from google.rpc.code_pb2 import INVALID_ARGUMENT
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

INT64_MAX = 2**63 - 1

DETAILS: list[Message] = [
    details.ErrorInfo(reason="INSUFFICIENT_FUNDS", domain="bank.v1", metadata={"needed_minor": "5"}),
    details.BadRequest(field_violations=[{"field": "amount_minor", "description": "must be above zero"}]),
    details.PreconditionFailure(violations=[{"type": "FUNDS", "subject": "a", "description": "too little"}]),
    details.RetryInfo(retry_delay=Duration(nanos=500_000_000)),
    details.RequestInfo(request_id="trace"),
    details.ResourceInfo(resource_type="account", resource_name="a", description="gone"),
    details.QuotaFailure(violations=[{"subject": "user", "description": "too many"}]),
    details.Help(links=[{"description": "Errors", "url": "/docs/"}]),
]


@dataclass
class Users(user_service_pb2_grpc.UserServiceServicer):
    """GetUser answers with the metadata it got in `full_name`; some ids and tokens stand for a behaviour."""

    calls: int = 0
    cancelled: int = 0
    verifications: int = 0
    resets: int = 0

    async def GetUser(self, request: Any, context: Any) -> Any:
        self.calls += 1
        behaviour, _, value = request.user_id.partition(".")
        if behaviour == "code":
            await context.abort(next(code for code in grpc.StatusCode if code.value[0] == int(value)), "refused")
        if behaviour == "details":
            status = Status(code=INVALID_ARGUMENT, message="refused")
            for detail in DETAILS:
                status.details.add().Pack(detail)
            await context.abort_with_status(rpc_status.to_status(status))
        if behaviour == "sleep":
            try:
                await asyncio.sleep(float(value.replace("_", ".")))
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        metadata["deadline"] = str(context.time_remaining())
        metadata["process"] = str(os.getpid())
        user = user_service_pb2.User(id=request.user_id, full_name=json.dumps(metadata))
        return user_service_pb2.GetUserResponse(user=user)

    async def CreateUser(self, request: Any, context: Any) -> Any:
        self.calls += 1
        user = user_service_pb2.User(username=request.username, full_name=request.full_name, email=request.email)
        return user_service_pb2.CreateUserResponse(user=user)

    async def VerifyEmail(self, request: Any, context: Any) -> Any:
        self.verifications += 1
        if request.token == "used":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the link was used")
        if request.token == "unavailable-once" and self.verifications % 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "come back")
        return user_service_pb2.VerifyEmailResponse(user={"email": "alice@example.org"})

    async def ResetPassword(self, request: Any, context: Any) -> Any:
        self.resets += 1
        if request.token == "used":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the link was used")
        if request.token == "unavailable-once" and self.resets % 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "come back")
        if request.new_password == "short":
            status = Status(code=INVALID_ARGUMENT, message="refused")
            violation = {"field": "new_password", "description": "must have 15 characters or more"}
            status.details.add().Pack(details.BadRequest(field_violations=[violation]))
            await context.abort_with_status(rpc_status.to_status(status))
        return user_service_pb2.ResetPasswordResponse()


class Transfers(transfer_service_pb2_grpc.TransferServiceServicer):
    """CreateTransfer answers with the request; ListTransfers with a page of 1 MB, or 8 MB if asked for `huge`."""

    async def CreateTransfer(self, request: Any, context: Any) -> Any:
        transfer = transfer_service_pb2.Transfer(
            request_id=request.request_id,
            amount_minor=request.amount_minor,
            description=request.description,
            reference=dict(context.invocation_metadata()).get("idempotency-key", ""),
        )
        return transfer_service_pb2.CreateTransferResponse(transfer=transfer)

    async def ListTransfers(self, request: Any, context: Any) -> Any:
        description = "d" * (40_000 if request.reference == "huge" else 5_000)
        transfer = transfer_service_pb2.Transfer(reference=request.reference, description=description)
        return transfer_service_pb2.ListTransfersResponse(transfers=[transfer] * 200)


@dataclass
class Upstream:
    """A running server and what it was asked."""

    server: grpc.aio.Server
    port: int
    users: Users = field(default_factory=Users)
    health: health_aio.HealthServicer = field(default_factory=health_aio.HealthServicer)

    async def set_serving(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        await self.health.set("", states.SERVING if serving else states.NOT_SERVING)


async def start_upstream(port: int) -> Upstream:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    upstream = Upstream(server, server.add_insecure_port(f"127.0.0.1:{port}"))
    user_service_pb2_grpc.add_UserServiceServicer_to_server(upstream.users, server)
    transfer_service_pb2_grpc.add_TransferServiceServicer_to_server(Transfers(), server)
    health_pb2_grpc.add_HealthServicer_to_server(upstream.health, server)
    reflection.enable_server_reflection(["bank.v1.UserService", reflection.SERVICE_NAME], server)
    await server.start()
    await upstream.set_serving(True)
    return upstream


async def main() -> None:
    upstream = await start_upstream(int(sys.argv[1]))
    await upstream.server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
