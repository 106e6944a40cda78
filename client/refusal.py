"""What the service refused, as an exception with the facts of its status."""

import grpc
from google.rpc.error_details_pb2 import ErrorInfo, RequestInfo, RetryInfo
from grpc_status import rpc_status


class BankRefusal(Exception):
    """A call that was refused, or did not succeed within all its tries.

    UNAVAILABLE and DEADLINE_EXCEEDED leave open whether money moved: call again with the same request id.

    Attributes:
        code: gRPC code, such as FAILED_PRECONDITION.
        reason: Stable name, such as INSUFFICIENT_FUNDS; empty if the service did not answer.
        message: English sentence that says what to do.
        metadata: The facts behind the message, such as `available_minor`.
        trace_id: What the logs call this call; empty if the service did not answer.
        retry_after_s: When the service advises to call again; None if it does not.
    """

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        info, trace, retry = ErrorInfo(), RequestInfo(), RetryInfo()
        status = rpc_status.from_call(error)
        for detail in status.details if status else ():
            for message in (info, trace, retry):
                detail.Unpack(message)
        self.code: str = error.code().name
        self.reason: str = info.reason
        self.message: str = error.details() or self.code
        self.metadata: dict[str, str] = dict(info.metadata)
        self.trace_id: str = trace.request_id
        self.retry_after_s: float | None = (
            retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None
        )
        super().__init__(f"{self.reason or self.code}: {self.message}")
