"""The one map from expected failures to google.rpc.Status."""

from collections.abc import Callable

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    Help,
    PreconditionFailure,
    QuotaFailure,
    RequestInfo,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status

from server.errors import (
    AlreadyExists,
    BankError,
    Contended,
    Forbidden,
    InvalidRequest,
    NotFound,
    RateLimited,
    Retryable,
    RuleBroken,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)

DOMAIN = "bank.v1"

CODES: dict[type[BankError], grpc.StatusCode] = {
    InvalidRequest: grpc.StatusCode.INVALID_ARGUMENT,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    Forbidden: grpc.StatusCode.PERMISSION_DENIED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    RuleBroken: grpc.StatusCode.FAILED_PRECONDITION,
    StaleVersion: grpc.StatusCode.ABORTED,
    Contended: grpc.StatusCode.ABORTED,
    RateLimited: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}


def code_of(error: BankError) -> grpc.StatusCode:
    """The gRPC code of the error's family.

    Raises:
        LookupError: The class belongs to no family: a defect.
    """
    for family in type(error).__mro__:
        code = CODES.get(family)
        if code is not None:
            return code
    raise LookupError(f"{type(error).__name__} has no family")


def status_of(error: BankError, trace_id: str, help_url: str) -> Status:
    """The full answer for an expected failure.

    Args:
        error: What went wrong.
        trace_id: Sent as RequestInfo.request_id, to be found in the logs.
        help_url: Page that describes the reasons.
    """
    item = {} if error.item_index is None else {"item_index": str(error.item_index)}
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={**error.metadata, **item})
    details: list[Message] = [info, *_family_details(error), RequestInfo(request_id=trace_id)]
    if isinstance(error, RuleBroken):
        details.append(Help(links=[Help.Link(description="What this reason means", url=f"{help_url}#{error.reason}")]))
    return _status(code_of(error), error.message, details)


def plain_status(code: grpc.StatusCode, reason: str, message: str, trace_id: str) -> Status:
    """The answer for what is no BankError: a passed deadline or a defect, in fixed words."""
    return _status(code, message, [ErrorInfo(reason=reason, domain=DOMAIN), RequestInfo(request_id=trace_id)])


def _family_details(error: BankError) -> list[Message]:
    for family, make in _DETAILS.items():
        if isinstance(error, family):
            return make(error)
    return []


def _bad_request(error: InvalidRequest) -> list[Message]:
    violations = [BadRequest.FieldViolation(field=v.field, description=v.description) for v in error.violations]
    return [BadRequest(field_violations=violations)]


def _resource(error: NotFound | AlreadyExists) -> list[Message]:
    return [ResourceInfo(resource_type=error.resource, resource_name=error.name)]


def _precondition(error: RuleBroken) -> list[Message]:
    violation = PreconditionFailure.Violation(type=error.reason, subject=error.subject, description=error.message)
    return [PreconditionFailure(violations=[violation])]


def _retry(error: Retryable) -> list[Message]:
    delay = Duration()
    delay.FromMicroseconds(int(error.retry_after_s * 1_000_000))
    return [RetryInfo(retry_delay=delay)]


def _quota(error: RateLimited) -> list[Message]:
    violation = QuotaFailure.Violation(subject=error.reason, description=error.message)
    return [QuotaFailure(violations=[violation]), *_retry(error)]


_DETAILS: dict[type[BankError], Callable[..., list[Message]]] = {
    InvalidRequest: _bad_request,
    NotFound: _resource,
    AlreadyExists: _resource,
    RuleBroken: _precondition,
    RateLimited: _quota,
    Retryable: _retry,
}


def _status(code: grpc.StatusCode, message: str, details: list[Message]) -> Status:
    status = Status(code=code.value[0], message=message)
    for detail in details:
        packed = Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status
