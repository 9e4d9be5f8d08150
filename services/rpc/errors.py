"""Domain errors as gRPC statuses with google.rpc details; the only place that converts them (docs/errors.md).

A caller gets the error's message, its stable reason in ErrorInfo, and the fields at fault in BadRequest. Of a failure
that nobody foresaw a caller gets nothing but an id to ask about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import code_pb2, error_details_pb2, status_pb2

from services.errors import (
    AlreadyExists,
    DomainError,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

DOMAIN = "goodstanding"

# Message and details travel in the trailers, of which many clients refuse more than 8 KiB.
_TRAILER_BYTES = 7 << 10
_OVERHEAD = 100
"""Around the violations: the name of their type, and lengths."""
_MAX_TEXT = 300
_PLAIN = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")

CODES: Mapping[type[DomainError], grpc.StatusCode] = {
    InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
}


def code_of(error: DomainError) -> grpc.StatusCode:
    """The status code of an error's class. A subclass has the code of the class it refines."""
    return next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), grpc.StatusCode.UNKNOWN)


def to_status(error: DomainError) -> status_pb2.Status:
    """The google.rpc.Status of an error, with ErrorInfo and, where fields are at fault, BadRequest."""
    status = make_status(code_of(error), error.reason, error.message, error.metadata)
    if error.violations:
        status.details.append(_packed(_violations(error.violations, _room(status))))
    return status


def _room(status: status_pb2.Status) -> int:
    """How many octets more the details may have: they go as base64, beside the message in percent encoding."""
    size: int = status.ByteSize()
    return (_TRAILER_BYTES - len(quote(status.message, safe=_PLAIN))) * 3 // 4 - size - _OVERHEAD


def _violations(given: Sequence[FieldViolation], room: int) -> error_details_pb2.BadRequest:
    """As many as there is room for, the first in any case; then how many more there are."""
    found = error_details_pb2.BadRequest()
    room -= _violation(_more(given)).ByteSize()
    for place, each in enumerate(given):
        violation = _violation(each)
        if place and found.ByteSize() + violation.ByteSize() > room:
            found.field_violations.append(_violation(_more(given[place:])))
            break
        found.field_violations.append(violation)
    return found


def _more(left_out: Sequence[FieldViolation]) -> FieldViolation:
    first = left_out[0]
    return FieldViolation(first.field.rpartition("[")[0] or first.field, first.reason, f"and {len(left_out)} more")


def _violation(each: FieldViolation) -> error_details_pb2.BadRequest.FieldViolation:
    return error_details_pb2.BadRequest.FieldViolation(
        field=_cut(each.field), reason=each.reason, description=_cut(each.description)
    )


def make_status(
    code: grpc.StatusCode, reason: str, message: str, metadata: Mapping[str, str] | None = None
) -> status_pb2.Status:
    """A status with ErrorInfo, for what the servers themselves say rather than a use case."""
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=dict(metadata or {}))
    number = code_pb2.Code.Value(code.name)
    return status_pb2.Status(code=number, message=_cut(message), details=[_packed(info)])


def internal_status(call_id: str) -> status_pb2.Status:
    """The status of a failure that nobody foresaw: an id that is also in the log, and nothing of its text."""
    message = f"internal error; request id {call_id}"
    return make_status(grpc.StatusCode.INTERNAL, "INTERNAL", message, {"request_id": call_id})


def _cut(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # protobuf refuses lone surrogates
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _packed(detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
