"""What the certificates that nobody asks for begin with: those of CAs, and the credentials of the gRPC services."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from services.pki.certificates import BACK_DATING, subject_key_identifier
from services.pki.issuers import PrivateKey, public_key_of
from services.pki.serials import new_serial, serial_to_int


def begin_certificate(
    issuer: x509.Name, subject: x509.Name, key: PrivateKey, now: datetime, last: datetime, serial: bytes | None
) -> x509.CertificateBuilder:
    """Names, key, serial number (a new one if None) and validity; `last` is the last second of it (UTC)."""
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(serial_to_int(serial or new_serial()))
        .not_valid_before((now - BACK_DATING).replace(microsecond=0))
        .not_valid_after(last.replace(microsecond=0))
    )


def key_identifier(key: PrivateKey) -> x509.SubjectKeyIdentifier:
    """The subject key identifier of a key's certificates."""
    return subject_key_identifier(public_key_of(key))
