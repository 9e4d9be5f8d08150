"""The parts of requests as plain values.

Whatever a request holds, reading it raises nothing but InvalidArgument with the field at fault.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from services.db.records import CertificateState
from services.errors import InvalidArgument
from services.pki.unreadable import UNREADABLE

MAX_CERTIFICATE_SIZE = 64 * 1024
"""Octets. Ours have one or two thousand."""

_PRINTABLE = re.compile(r"[!-~]{1,128}")
_STATES = {
    types_pb2.CERTIFICATE_STATE_UNSPECIFIED: None,
    types_pb2.CERTIFICATE_STATE_VALID: CertificateState.VALID,
    types_pb2.CERTIFICATE_STATE_REVOKED: CertificateState.REVOKED,
    types_pb2.CERTIFICATE_STATE_EXPIRED: CertificateState.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class CertificateTarget:
    """Which certificate a request names.

    Either `serial_number` is set (text, still to be parsed) with `issuer` (None if left out), or `certificate_der`.
    """

    issuer: str | None = None
    serial_number: str | None = None
    certificate_der: bytes | None = None


def read_time(value: Timestamp, field: str) -> datetime:
    """Whole seconds; fractions are cut. Raises InvalidArgument TIME_INVALID unless it is a time of the years 1-9999."""
    try:
        if not 0 <= value.nanos < 1_000_000_000:
            raise ValueError("nanos out of range")
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value.seconds)
    except (ValueError, OverflowError):
        raise InvalidArgument("TIME_INVALID", f"{field} must be a time of the years 1 to 9999", field=field) from None


def read_optional_time(message: Message, field: str) -> datetime | None:
    """The Timestamp field named `field` of `message`, None when absent. Raises InvalidArgument TIME_INVALID."""
    return read_time(getattr(message, field), field) if message.HasField(field) else None


def read_csr(request: ca_pb2.IssueCertificateRequest) -> tuple[bytes | None, str | None]:
    """(DER, None) or (None, PEM), unparsed. Raises InvalidArgument CSR_MISSING."""
    kind = request.WhichOneof("certificate_request")
    if kind is None:
        raise InvalidArgument(
            "CSR_MISSING", "give a certificate request (PKCS #10) as csr_pem or csr_der", field="certificate_request"
        )
    return (request.csr_der, None) if kind == "csr_der" else (None, request.csr_pem)


def read_lifetime(request: ca_pb2.IssueCertificateRequest) -> tuple[datetime | None, timedelta | None]:
    """(not_after, None), (None, validity) or (None, None). Raises InvalidArgument VALIDITY_INVALID, TIME_INVALID."""
    kind = request.WhichOneof("lifetime")
    if kind == "not_after_time":
        return read_time(request.not_after_time, "not_after_time"), None
    return None, _read_validity(request.validity) if kind else None


def _read_validity(value: Duration) -> timedelta:
    try:
        validity = timedelta(seconds=value.seconds)
    except OverflowError:
        validity = timedelta()
    if value.nanos or validity <= timedelta():
        raise InvalidArgument(
            "VALIDITY_INVALID", "validity must be a positive number of whole seconds", field="validity"
        )
    return validity


def read_revoke_target(request: ca_pb2.RevokeCertificateRequest) -> CertificateTarget:
    """Raises InvalidArgument TARGET_MISSING, SERIAL_INVALID (empty), CERTIFICATE_MALFORMED."""
    kind = request.WhichOneof("target")
    if kind == "issuer_and_serial_number":
        return read_issuer_and_serial(request.issuer_and_serial_number, kind)
    if kind == "certificate_der":
        return CertificateTarget(certificate_der=read_certificate(der=request.certificate_der, field=kind))
    if kind == "certificate_pem":
        return CertificateTarget(certificate_der=read_certificate(pem=request.certificate_pem, field=kind))
    raise InvalidArgument("TARGET_MISSING", "name a certificate: its serial number, or itself", field="target")


def read_issuer_and_serial(value: types_pb2.IssuerAndSerialNumber, field: str) -> CertificateTarget:
    """Raises InvalidArgument SERIAL_INVALID when no serial number is given."""
    if not value.serial_number:
        raise InvalidArgument("SERIAL_INVALID", "give a serial number, in hex", field=f"{field}.serial_number")
    return CertificateTarget(issuer=value.issuer or None, serial_number=value.serial_number)


def read_certificate(*, der: bytes | None = None, pem: str | None = None, field: str) -> bytes:
    """The DER of exactly one certificate; given DER comes back as it is.

    Raises InvalidArgument CERTIFICATE_MALFORMED.
    """
    given = der if der is not None else (pem or "").encode("utf-8", "surrogatepass")
    if len(given) > MAX_CERTIFICATE_SIZE:
        raise _malformed(field, f"larger than {MAX_CERTIFICATE_SIZE} octets")
    try:
        if der is not None:
            x509.load_der_x509_certificate(der)
            return der
        certificates = x509.load_pem_x509_certificates(given)
    except UNREADABLE:
        raise _malformed(field, "not a certificate") from None
    if len(certificates) != 1:
        raise _malformed(field, f"{len(certificates)} certificates; give one, the end-entity certificate")
    return certificates[0].public_bytes(Encoding.DER)


def read_reason(value: int) -> int:
    """An RFC 5280 number that the contract knows (never 7). Raises InvalidArgument REASON_NOT_ALLOWED."""
    if value not in types_pb2.RevocationReason.values():
        raise InvalidArgument(
            "REASON_NOT_ALLOWED", f"{value} is not a revocation reason (RFC 5280, section 5.3.1)", field="reason"
        )
    return value


def read_request_id(text: str) -> str:
    """Empty: there is none. Raises InvalidArgument REQUEST_ID_INVALID unless 1 to 128 printable ASCII characters."""
    if text and not _PRINTABLE.fullmatch(text):
        raise InvalidArgument(
            "REQUEST_ID_INVALID",
            "request_id must be 1 to 128 printable ASCII characters without spaces",
            field="request_id",
        )
    return text


def read_state(value: int) -> CertificateState | None:
    """None for any. Raises InvalidArgument STATE_INVALID."""
    if value not in _STATES:
        raise InvalidArgument("STATE_INVALID", f"{value} is not a certificate state", field="state")
    return _STATES[types_pb2.CertificateState.ValueType(value)]


def _malformed(field: str, what: str) -> InvalidArgument:
    return InvalidArgument("CERTIFICATE_MALFORMED", f"{field}: {what}", field=field)
