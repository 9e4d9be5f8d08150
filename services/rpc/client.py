"""The client's side: a channel with mTLS, and failures explained in one line with a cure.

What went wrong in a handshake is told to the server's log alone: gRPC says no more than that the connection was closed.
So the explanation comes from a look at the client's own certificate, and then from a connection made for that purpose.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.rpc.errors import DOMAIN
from services.rpc.probe import certificate_problem, connection_problem

_OPTIONS = (("grpc.max_receive_message_length", 16 << 20),)
# What the details of an UNAVAILABLE begin with while there is no connection yet.
_NO_CONNECTION = ("failed to connect to all addresses", "errors resolving ", "DNS resolution failed")
PROBING = 1.5


def open_channel(address: str, ca_pem: bytes, cert_pem: bytes, key_pem: bytes) -> grpc.Channel:
    """A (synchronous) channel. Nothing is connected yet.

    Raises ValueError for material that cannot be used; gRPC would take it and fail later, without a word.
    """
    _check_material(ca_pem, cert_pem, key_pem)
    credentials = grpc.ssl_channel_credentials(ca_pem, key_pem, cert_pem)
    return grpc.secure_channel(address, credentials, options=_OPTIONS)


def explain(
    error: grpc.RpcError,
    *,
    address: str = "",
    ca_pem: bytes = b"",
    cert_pem: bytes = b"",
    key_pem: bytes = b"",
    within: float = PROBING,
) -> str:
    """A line for people: what failed, and the cure; and one more for each further field that a service refused.

    With address and material it probes when no connection came about, to tell a refused connection from a certificate
    that the server does not take; that takes `within` seconds at the most. What a service answered reads
    "<message> [REASON] (field x: …)", and "  field y: … [REASON]" for the others.
    """
    answered = _service_error(error)
    if answered is not None:
        return answered
    code = error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN
    details = (error.details() if hasattr(error, "details") else str(error)) or "no details"
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED) and address:
        found = _connection_error(address, ca_pem, cert_pem, key_pem, within)
        if found is not None:
            return _one_line(found)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"no answer in time from {address or 'the service'}; see its log, and try again"
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return _one_line(f"a limit of the service is reached: {details}; ask for less, or try again later")
    return _one_line(f"{details} [{code.name}]")


def never_sent(error: grpc.RpcError) -> bool:
    """Whether a call certainly did not reach the service, because no connection came about."""
    code = error.code() if hasattr(error, "code") else None
    details = (error.details() if hasattr(error, "details") else None) or ""
    return code is grpc.StatusCode.UNAVAILABLE and details.startswith(_NO_CONNECTION)


def metadata_of(error: BaseException | None) -> Mapping[str, str]:
    """What a service of ours told programs about an error beside its reason; nothing for any other error."""
    told = _told(error) if isinstance(error, grpc.RpcError) else None
    return {} if told is None else told[1].metadata


def reason_of(error: BaseException | None) -> str:
    """The reason that a service of ours gave for an error; empty for any other error."""
    told = _told(error) if isinstance(error, grpc.RpcError) else None
    return "" if told is None else told[1].reason


def fields_of(error: BaseException | None) -> tuple[str, ...]:
    """The fields of the request that a service of ours refused; none for any other error."""
    told = _told(error) if isinstance(error, grpc.RpcError) else None
    return () if told is None else tuple(each.field for each in told[2].field_violations)


def _service_error(error: grpc.RpcError) -> str | None:
    """What a service of ours said, if it was one that answered."""
    told = _told(error)
    if told is None:
        return None
    message, info, request = told
    first, *others = [each for each in request.field_violations if each.field] or [None]
    lines = [f"{message} [{info.reason}]" + (f" {_field(first, message)}" if first else "")]
    lines += [f"field {each.field}: {each.description} [{each.reason}]" for each in others if each]
    return "\n  ".join(_one_line(line) for line in lines)


def _told(error: grpc.RpcError) -> tuple[str, error_details_pb2.ErrorInfo, error_details_pb2.BadRequest] | None:
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]  # it is a Call as well
    except (ValueError, AttributeError):
        return None
    if status is None:
        return None
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(request)
    return (status.message, info, request) if info.domain == DOMAIN else None


def _field(violation: error_details_pb2.BadRequest.FieldViolation, message: str) -> str:
    """The field, with its description where that says more than the message."""
    if violation.description in ("", message):
        return f"(field {violation.field})"
    return f"(field {violation.field}: {violation.description})"


def _connection_error(address: str, ca_pem: bytes, cert_pem: bytes, key_pem: bytes, within: float) -> str | None:
    if not (ca_pem and cert_pem and key_pem):
        return None
    return certificate_problem(ca_pem, cert_pem, datetime.now(UTC)) or connection_problem(
        address, ca_pem, cert_pem, key_pem, within
    )


def _check_material(ca_pem: bytes, cert_pem: bytes, key_pem: bytes) -> None:
    certificate = _first_certificate(cert_pem, "the client certificate")
    _first_certificate(ca_pem, "the root certificate")
    try:
        key = load_pem_private_key(key_pem, password=None)
    except TypeError:
        raise ValueError("the client key is encrypted; gRPC needs it in plain PEM") from None
    except ValueError:
        raise ValueError("the client key is not a private key in PEM") from None
    if key.public_key() != certificate.public_key():
        raise ValueError("the client key does not belong to the client certificate")


def _first_certificate(pem: bytes, what: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ValueError(f"{what} is not a certificate in PEM") from None


def _one_line(text: str) -> str:
    return " ".join(text.split())
