"""Certificates for the judges, issued and revoked over gRPC in process: far quicker than by the command."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from goodstanding.ca.v1 import ca_pb2
from goodstanding.types.v1 import types_pb2
from tests.conformance.estate import Estate
from tests.e2e.client import Services, csr, services


@dataclass(frozen=True)
class Revocation:
    """What the CA recorded. `reason` is the number of RFC 5280, 0 for unspecified."""

    time: datetime
    reason: int


@dataclass(frozen=True)
class Leaf:
    """An issued certificate: its files (PEM), its serial number, and its revocation."""

    issuer: str
    name: str
    file: Path
    key_file: Path
    serial: int
    not_after: datetime
    revocation: Revocation | None = None


class Nursery:
    """Issues certificates with names of their own."""

    def __init__(self, folder: Path, calls: Services) -> None:
        self._folder = folder
        self._calls = calls

    def issue(self, name: str, issuer: str = "issuing", reason: int | None = None) -> Leaf:
        """Issue, and revoke if there is a reason."""
        # A key for each: one that is compromised is never certified again.
        key = ec.generate_private_key(ec.SECP256R1())
        key_file = self._folder / f"{name}.key"
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
        reply = self._calls.ca.IssueCertificate(
            ca_pb2.IssueCertificateRequest(issuer=issuer, csr_der=csr(f"{name}.example.com", key=key)), timeout=10
        )
        file = self._folder / f"{name}.pem"
        file.write_text(reply.certificate_pem)
        certificate = x509.load_der_x509_certificate(reply.certificate.certificate_der)
        revocation = None if reason is None else self._revoke(reply.certificate.certificate_der, reason)
        return Leaf(
            issuer,
            name,
            file,
            key_file,
            certificate.serial_number,
            certificate.not_valid_after_utc,
            revocation,
        )

    def _revoke(self, der: bytes, reason: int) -> Revocation:
        value = types_pb2.RevocationReason.ValueType(reason)
        request = ca_pb2.RevokeCertificateRequest(certificate_der=der, reason=value)
        recorded = self._calls.ca.RevokeCertificate(request, timeout=10).certificate.revocation
        return Revocation(datetime.fromtimestamp(recorded.revocation_time.seconds, UTC), recorded.reason)


@contextmanager
def nursery(estate: Estate, folder: Path) -> Iterator[Nursery]:
    """A nursery that calls as the admin."""
    with services(estate.system) as calls:
        yield Nursery(folder, calls)
