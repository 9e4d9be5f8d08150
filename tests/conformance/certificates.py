"""Certificates to ask about: issued and revoked over gRPC on one connection, or written straight into the database."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, Self

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import ca_pb2
from goodstanding.ca.v1.ca_pb2_grpc import CertificateAuthorityServiceStub
from goodstanding.types.v1 import types_pb2
from services.db import certificates, issuers, position, status
from services.pki.issuers import signature_hash
from tests.conformance import wire
from tests.conformance.estate import Estate
from tests.conformance.hierarchy import Authority, recorded_certificate
from tests.conformance.subjects import Subject
from tests.conformance.wire import Reply, Responder
from tests.e2e.client import csr

TIMEOUT = 15.0


class Certified(Subject):
    """A certificate to ask about."""

    def __init__(self, authority: bytes, certificate: x509.Certificate) -> None:
        super().__init__(authority, certificate.serial_number)
        self.certificate = certificate

    def request(self, **options: Any) -> bytes:
        """The plainest request about it."""
        return wire.request(self.cert_id(**options))


class Certificates:
    """What the tests issue and revoke, as the administrator of an estate."""

    def __init__(self, estate: Estate, channel: grpc.Channel) -> None:
        self._estate = estate
        self._stub = CertificateAuthorityServiceStub(channel)

    @classmethod
    @contextmanager
    def of(cls, estate: Estate, credential: Path | None = None) -> Iterator[Self]:
        """Over one connection, as the administrator or with the credential in a folder that is named after it."""
        tls = estate.system.data / "tls"
        folder, name = (credential, credential.name) if credential else (tls, "admin")
        files = (tls / "ca.pem", folder / f"{name}.key", folder / f"{name}.pem")
        credentials = grpc.ssl_channel_credentials(*(file.read_bytes() for file in files))
        with grpc.secure_channel(estate.system.ca, credentials) as channel:
            yield cls(estate, channel)

    def authority(self, issuer: str) -> Certified:
        """The certificate of an issuer, to ask its parent about."""
        certificate = self._estate.hierarchy.authorities[issuer].certificate
        parents = {each.certificate.subject: name for name, each in self._estate.hierarchy.authorities.items()}
        return Certified(self._estate.ca(parents[certificate.issuer]), certificate)

    def issue(self, name: str, issuer: str = "issuing", *, validity: timedelta | None = None) -> Certified:
        """Issue a certificate with the profile `server`."""
        request = ca_pb2.IssueCertificateRequest(issuer=issuer, csr_der=csr(name))
        if validity is not None:
            request.validity.FromTimedelta(validity)
        reply = self._stub.IssueCertificate(request, timeout=TIMEOUT)
        return Certified(self._estate.ca(issuer), x509.load_der_x509_certificate(reply.certificate.certificate_der))

    def request_signing(self, request: ca_pb2.IssueCertificateRequest) -> x509.Certificate:
        """Issue for any request. Raises grpc.RpcError."""
        reply = self._stub.IssueCertificate(request, timeout=TIMEOUT)
        return x509.load_der_x509_certificate(reply.certificate.certificate_der)

    def revoke(
        self, subject: Certified, reason: str = "SUPERSEDED", *, invalidity_time: datetime | None = None
    ) -> datetime:
        """Revoke a certificate. Returns when the service says that it was revoked. Raises grpc.RpcError."""
        request = ca_pb2.RevokeCertificateRequest(
            certificate_der=subject.certificate.public_bytes(Encoding.DER),
            reason=types_pb2.RevocationReason.Value(f"REVOCATION_REASON_{reason}"),
        )
        if invalidity_time is not None:
            request.invalidity_time.FromDatetime(invalidity_time)
        reply = self._stub.RevokeCertificate(request, timeout=TIMEOUT)
        return reply.certificate.revocation.revocation_time.ToDatetime(UTC)

    def sign(self, name: str, issuer: str, begin: datetime, end: datetime) -> Certified:
        """Sign a certificate that nobody knows of yet, with the key of an issuer."""
        authority = self._estate.hierarchy.authorities[issuer]
        return Certified(self._estate.ca(issuer), _signed(name, authority, begin, end))

    def record(self, subject: Certified, issuer: str, *, issued_at: datetime | None = None) -> None:
        """Write a certificate into the database, as an import would; issued now, unless it says when."""
        with self._estate.hierarchy.database() as db, db.write() as conn:
            issuer_id = next(each.id for each in issuers.list_issuers(conn) if each.name == issuer)
            row = recorded_certificate(subject.certificate, issuer_id, "server", issued_at or datetime.now(UTC))
            ids = certificates.insert_certificates(conn, [row])
            status.insert_statuses(conn, [row], ids, position.advance(conn, 1))


def _signed(name: str, authority: Authority, begin: datetime, end: datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        authority.certificate.subject,
        subject,
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        x509.random_serial_number(),
        begin.replace(microsecond=0),
        end.replace(microsecond=0),
    ).add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    algorithm: hashes.HashAlgorithm | None = signature_hash(authority.key)
    return builder.sign(authority.key, algorithm)  # type: ignore[arg-type]


class KeepAlive:
    """One HTTP/1.1 connection that stays open."""

    def __init__(self, responder: Responder) -> None:
        host, port = responder.address.rsplit(":", 1)
        self._address = responder.address
        self._socket = socket.create_connection((host, int(port)), wire.TIMEOUT)
        self._stream: BinaryIO = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def post(self, der: bytes) -> Reply:
        """POST a request."""
        head = f"POST / HTTP/1.1\r\nhost: {self._address}\r\ncontent-type: {wire.OCSP_REQUEST}\r\n"
        self._socket.sendall(f"{head}content-length: {len(der)}\r\n\r\n".encode() + der)
        reply = wire.read_reply(self._stream)
        Responder.hear(reply)
        return reply
