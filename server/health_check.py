"""`python -m server.health_check [SERVICE]`: ask every server process on this machine how it is, for a container.

Without SERVICE it is asked whether it takes calls, with `liveness` whether it runs at all.
"""

import sys
from collections.abc import Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.config import Settings, SettingsRefusedError, read_settings

_TIMEOUT_S = 2.0
_EVERY_ADDRESS = ("0.0.0.0", "::", "")


def is_serving(target: str, service: str) -> bool:
    """Whether the health service of one process says SERVING."""
    with grpc.insecure_channel(target) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def targets(settings: Settings) -> list[str]:
    host = "127.0.0.1" if settings.server_host in _EVERY_ADDRESS else settings.server_host
    return [f"{host}:{settings.server_port + process}" for process in range(settings.server_processes)]


def main(arguments: Sequence[str]) -> int:
    """Ask all of them.

    Returns:
        0 if all are SERVING, 1 if not, 2 if the settings are refused.
    """
    try:
        settings = read_settings()
    except SettingsRefusedError as error:
        print(error, file=sys.stderr)
        return 2
    service = arguments[0] if arguments else ""
    silent = [target for target in targets(settings) if not is_serving(target, service)]
    for target in silent:
        print(f"{target} is not serving", file=sys.stderr)
    return 1 if silent else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
