"""Certificates that anybody may have made: one kind of error, whatever is wrong with them, and no warnings."""

from __future__ import annotations

import hashlib
import warnings

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.ocsp.matching import KnownIssuer
from services.pki import der
from services.pki.unreadable import UNREADABLE as UNREADABLE


def load_certificate(certificate_der: bytes) -> x509.Certificate:
    """The certificate in DER, whose name and key can be read. Raises ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as about a serial number that is not positive
            certificate = x509.load_der_x509_certificate(certificate_der)
            known_issuer("", certificate)
            _ = (
                certificate.issuer,
                certificate.serial_number,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
            )
    except UNREADABLE as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return certificate


def serial_number(certificate: x509.Certificate) -> int:
    """The serial number, also one that cannot be one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return certificate.serial_number


def known_issuer(name: str, certificate: x509.Certificate) -> KnownIssuer:
    """Name and key of a certificate, for CertIDs. Raises one of UNREADABLE."""
    return KnownIssuer(name, certificate.subject.public_bytes(), public_key_der(certificate))


def public_key_der(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo, as it stands in the certificate. Raises one of UNREADABLE."""
    try:
        return der.public_key_der(certificate)
    except ValueError:  # a certificate of version 1
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_hash(certificate: x509.Certificate) -> bytes:
    """KeyHash of the key (RFC 6960, section 4.2.1). Raises one of UNREADABLE."""
    return hashlib.sha1(der.key_bits(public_key_der(certificate)), usedforsecurity=False).digest()
