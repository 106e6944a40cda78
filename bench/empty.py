"""`python -m bench.empty PORT…`: the server, a process for each port, with a CreateTransfer that does nothing.

Same interceptor, same token check, same messages; what is left is the price of being called.
"""

import asyncio
import sys
from collections.abc import Sequence

import grpc
import uvloop
from bank.v1.transfer_service_pb2 import CreateTransferRequest, CreateTransferResponse, Transfer
from bank.v1.transfer_service_pb2_grpc import TransferServiceServicer, add_TransferServiceServicer_to_server

from server.access import ACCESS
from server.app import OPTIONS
from server.caller import Caller
from server.config import Settings
from server.interceptor import CallInterceptor
from server.keys import load
from server.logs import configure
from server.tokens import AccessTokens


class EmptyTransferServicer(TransferServiceServicer):
    """Answers every transfer with one that was never posted."""

    async def CreateTransfer(
        self, request: CreateTransferRequest, context: "grpc.aio.ServicerContext[object, object]"
    ) -> CreateTransferResponse:
        return CreateTransferResponse(transfer=Transfer(request_id=request.request_id))


class _NobodyReads:
    async def read(self, session_id: object, user_id: object) -> Caller:
        raise AssertionError("calls that move money are checked by the ledger, which is not here")


async def _serve(settings: Settings, port: int) -> None:
    tokens = AccessTokens(load(settings), settings.token_format, settings.access_token_ttl_s)
    interceptor = CallInterceptor(ACCESS, tokens, _NobodyReads(), "")
    server = grpc.aio.server(interceptors=[interceptor], options=OPTIONS)
    add_TransferServiceServicer_to_server(EmptyTransferServicer(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


async def _serve_all(ports: Sequence[str]) -> None:
    """One child for each port; they end with this process."""
    children = [
        await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "bench.empty", "--one", port
        )
        for port in ports
    ]
    await asyncio.gather(*(child.wait() for child in children))


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        configure("info", "empty")
        uvloop.run(_serve(Settings(), int(sys.argv[2])))
    else:
        asyncio.run(_serve_all(sys.argv[1:]))
