"""The status service's messages as plain values, and plain values as its messages: the rim of this package.

Whatever a request holds, reading it raises nothing but InvalidArgument with the field at fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509

from goodstanding.status.v1 import status_pb2
from services.db.records import CrlDescription, IssuerRecord, Position, StatusRecord
from services.errors import InvalidArgument
from services.pki.serials import format_serial, parse_serial, serial_from_int
from services.rpc.messages import issuer_message, status_message, timestamp, unknown_status_message
from services.rpc.requests import read_certificate
from services.status.compromise import as_issuer_stands
from services.status.issuer_index import HASH_ALGORITHMS
from services.status.lookup import ByCertID, ByCertificate, BySerial, Finding, Findings, Reference
from services.status.watch import Changes, Message, Pong

if TYPE_CHECKING:
    from goodstanding.types.v1 import types_pb2

MAX_BATCH = 256


def read_batch(request: status_pb2.BatchGetCertificateStatusRequest) -> list[Reference]:
    """The certificates asked about. Raises InvalidArgument BATCH_SIZE_INVALID, and as `read_reference`."""
    count = len(request.certificates)
    if not 1 <= count <= MAX_BATCH:
        raise InvalidArgument(
            "BATCH_SIZE_INVALID", f"a batch has 1 to {MAX_BATCH} certificates, not {count}", field="certificates"
        )
    return [read_reference(item, f"certificates[{i}]") for i, item in enumerate(request.certificates)]


def read_reference(message: status_pb2.CertificateReference, field: str) -> Reference:
    """Which certificate is meant.

    Raises InvalidArgument TARGET_MISSING, SERIAL_INVALID, HASH_ALGORITHM_UNKNOWN, CERTIFICATE_MALFORMED.
    """
    kind = message.WhichOneof("reference")
    path = f"{field}.{kind}"
    if kind == "issuer_and_serial_number":
        return _read_issuer_and_serial(message.issuer_and_serial_number, path)
    if kind == "cert_id":
        return _read_cert_id(message.cert_id, path)
    if kind == "certificate_der":
        return _read_certificate(read_certificate(der=message.certificate_der, field=path), path)
    if kind == "certificate_pem":
        return _read_certificate(read_certificate(pem=message.certificate_pem, field=path), path)
    raise InvalidArgument("TARGET_MISSING", "say which certificate is meant", field=field)


def _read_issuer_and_serial(message: types_pb2.IssuerAndSerialNumber, path: str) -> BySerial:
    serial = parse_serial(message.serial_number, f"{path}.serial_number")
    return BySerial(message.issuer or None, serial, f"{path}.issuer")


def _read_cert_id(message: status_pb2.CertID, path: str) -> ByCertID:
    if message.hash_algorithm not in HASH_ALGORITHMS:
        raise InvalidArgument(
            "HASH_ALGORITHM_UNKNOWN",
            f"the hash algorithm is one of {', '.join(HASH_ALGORITHMS)}",
            field=f"{path}.hash_algorithm",
        )
    serial = parse_serial(message.serial_number, f"{path}.serial_number")
    return ByCertID(message.hash_algorithm, message.issuer_name_hash, message.issuer_key_hash, serial)


def _read_certificate(der: bytes, path: str) -> ByCertificate:
    return ByCertificate(der, serial_from_int(x509.load_der_x509_certificate(der).serial_number, path))


def get_response(found: Findings) -> status_pb2.GetCertificateStatusResponse:
    """The answer to GetCertificateStatus."""
    return status_pb2.GetCertificateStatusResponse(
        record=finding_message(found.findings[0]),
        history=found.position.history,
        revision=found.position.revision,
        as_of_time=timestamp(found.as_of),
    )


def batch_response(found: Findings) -> status_pb2.BatchGetCertificateStatusResponse:
    """The answer to BatchGetCertificateStatus."""
    return status_pb2.BatchGetCertificateStatusResponse(
        records=[finding_message(finding) for finding in found.findings],
        history=found.position.history,
        revision=found.position.revision,
        as_of_time=timestamp(found.as_of),
    )


def finding_message(finding: Finding) -> status_pb2.StatusRecord:
    """What was found out about one certificate."""
    if finding.record is None:
        return unknown_status_message(finding.issuer, format_serial(finding.serial))
    return status_message(finding.record, finding.issuer)


def crl_head(crl: CrlDescription, *, unchanged: bool) -> status_pb2.FetchCertificateRevocationListResponse:
    """What is said of a revocation list before its octets."""
    response = status_pb2.FetchCertificateRevocationListResponse
    return response(
        head=response.Head(
            number=crl.number,
            this_update_time=timestamp(crl.this_update),
            next_update_time=timestamp(crl.next_update),
            size=crl.size,
            sha256=crl.sha256,
            unchanged=unchanged,
        )
    )


def claim_of(start: status_pb2.WatchCertificateStatusRequest.Start) -> Position:
    """Where a watcher says it is."""
    return Position(start.history, start.from_revision)


def watch_response(message: Message, issuers: Mapping[int, IssuerRecord]) -> status_pb2.WatchCertificateStatusResponse:
    """What a watcher is told. `issuers` has every issuer whose certificates changed, as of the message or later."""
    response = status_pb2.WatchCertificateStatusResponse
    if isinstance(message, Pong):
        return response(pong=response.Pong(id=message.id, revision=message.revision))
    if isinstance(message, Changes):
        return response(
            changes=response.Changes(
                records=[_changed(record, issuers[record.issuer_id]) for record in message.statuses],
                issuers=[issuer_message(issuer) for issuer in message.issuers],
                through_revision=message.through,
            )
        )
    return response(reset=response.Reset(history=message.position.history, revision=message.position.revision))


def _changed(record: StatusRecord, issuer: IssuerRecord) -> status_pb2.StatusRecord:
    # Under its own revision: messages are in the order of revisions, and that of a compromise comes with the issuer.
    return status_message(replace(as_issuer_stands(record, issuer), revision=record.revision), issuer.name)
