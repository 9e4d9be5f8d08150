"""Records on their way to the ca service: one call, message after message, as fast as the service records them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from goodstanding.ca.v1 import import_pb2, import_pb2_grpc
from services.cli.client import connect
from services.cli.importing.records import Record, Tick
from services.cli.options import Connection
from services.openssl_ca.index import Revocation
from services.pki.reasons import Reason

IN_A_MESSAGE = 1000
OCTETS_IN_A_MESSAGE = 512 * 1024
# What a record takes beside its certificate and its subject.
_OCTETS_OF_A_RECORD = 200
_MAX_SOURCE = 200


@dataclass
class Sending:
    """What is sent, and how far it came."""

    header: import_pb2.ImportHeader
    records: Iterable[Record]
    tick: Tick = field(default=lambda _: None)
    ended: bool = field(default=False, init=False)
    """Whether the end was handed over: from then on, a call that fails may have been carried out all the same."""

    def messages(self) -> Iterator[import_pb2.ImportCertificatesRequest]:
        """The messages of the call. Called from another thread."""
        yield import_pb2.ImportCertificatesRequest(header=self.header)
        message, octets = import_pb2.ImportCertificatesRequest(), 0
        entries, count, sent = message.certificates.certificates, 0, 0
        for record in self.records:
            size = len(record.certificate or b"") + len(record.subject) + _OCTETS_OF_A_RECORD
            if count == IN_A_MESSAGE or octets + size > OCTETS_IN_A_MESSAGE:
                yield message
                sent += count
                self.tick(sent)
                message, octets = import_pb2.ImportCertificatesRequest(), 0
                entries, count = message.certificates.certificates, 0
            put_into(entries.add(), record)
            octets += size
            count += 1
        if count:
            yield message
            self.tick(sent + count)
        self.ended = True
        yield import_pb2.ImportCertificatesRequest(end=import_pb2.ImportEnd())


def send(connection: Connection, sending: Sending, *, retry: str) -> import_pb2.ImportCertificatesResponse:
    """Send it all. Raises Failed; `retry` says what to do then."""
    with connect(connection, "ca") as ca:
        stub = import_pb2_grpc.ImportServiceStub(ca.channel)
        return ca.upload(stub.ImportCertificates, sending.messages(), retry=retry)


def header_of(
    issuer: str,
    certificate_der: bytes,
    *,
    key_reference: str,
    crl_number: int | None,
    source: str,
    validate_only: bool,
) -> import_pb2.ImportHeader:
    """The first message."""
    return import_pb2.ImportHeader(
        issuer=issuer,
        certificates_der=[certificate_der],
        key_reference=key_reference,
        crl_number=f"{crl_number:x}" if crl_number is not None else "",
        source="".join(c if c.isprintable() else "?" for c in source)[-_MAX_SOURCE:],
        validate_only=validate_only,
    )


def put_into(message: import_pb2.ImportedCertificate, record: Record) -> None:
    """A record as the contract has it. Times are whole seconds."""
    message.origin = record.origin[-200:]
    message.serial_number = record.serial
    message.not_after_time.seconds = _seconds(record.expiry)
    if record.certificate is not None:
        message.certificate_der = record.certificate
    else:
        message.subject = record.subject
    if record.revocation is not None:
        _put_revocation(message.revocation, record.revocation)


def _put_revocation(message: import_pb2.ImportedRevocation, revocation: Revocation) -> None:
    message.revocation_time.seconds = _seconds(revocation.time)
    # removeFromCRL means something in delta lists only (RFC 5280, section 5.3.1).
    if revocation.reason is not None and revocation.reason is not Reason.REMOVE_FROM_CRL:
        message.reason = int(revocation.reason)  # type: ignore[assignment]
    if revocation.invalidity_time is not None:
        message.invalidity_time.seconds = _seconds(revocation.invalidity_time)
    if revocation.hold_instruction is not None:
        message.hold_instruction = revocation.hold_instruction


def _seconds(time: datetime) -> int:
    return int(time.timestamp())
