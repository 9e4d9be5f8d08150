"""Certificates that another piece of software has issued: what they say, and whether the issuer has signed them.

Nothing but the signature makes them acceptable: they were issued under other rules than ours, and are out already.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from services.pki import der as parts_of
from services.pki.names import SubjectAlternativeNames
from services.pki.unreadable import UNREADABLE

_BRIEFLY = 200


class ForeignCertificateError(ValueError):
    """A certificate that cannot be accepted. `code` is UPPER_SNAKE_CASE, the text is for people."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class ForeignCertificate:
    """What is to be known of a certificate."""

    verified: bool
    """Whether the issuer's signature was verified: not where it is of a kind that is not known here, such as MD5."""
    serial_number: int
    """As it stands there: perhaps not positive, perhaps too long."""
    subject: str
    """In the notation of RFC 4514."""
    common_name: str | None
    alternative_names: tuple[str, ...]
    """Each with its kind in front; empty as well where the extensions cannot be read."""
    extensions_readable: bool
    is_ca: bool
    public_key_sha256: bytes | None
    """None for a key in a form that has no one encoding."""
    not_before: datetime
    not_after: datetime


def read_certificate(der: bytes, authority: x509.Certificate) -> ForeignCertificate:
    """Read a certificate and verify its signature under the key in `authority`, and its issuer's name.

    Raises ForeignCertificateError: CERTIFICATE_MALFORMED, CERTIFICATE_NOT_BY_ISSUER, CERTIFICATE_SIGNATURE_INVALID.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        serial_number = certificate.serial_number
        subject, issuer = certificate.subject, certificate.issuer
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except UNREADABLE as error:
        raise ForeignCertificateError(
            "CERTIFICATE_MALFORMED", f"this is no certificate in DER: {str(error)[:_BRIEFLY]}"
        ) from None
    if issuer != authority.subject:
        text = f"the certificate names another issuer: {issuer.rfc4514_string()[:_BRIEFLY]}"
        raise ForeignCertificateError("CERTIFICATE_NOT_BY_ISSUER", text)
    verified = _verify(certificate, authority)
    extensions = _extensions(certificate)
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return ForeignCertificate(
        verified=verified,
        serial_number=serial_number,
        subject=subject.rfc4514_string(),
        common_name=str(names[0].value) if names else None,
        alternative_names=_alternative_names(extensions),
        extensions_readable=extensions is not None,
        is_ca=_is_ca(extensions),
        public_key_sha256=_public_key_sha256(certificate),
        not_before=begins,
        not_after=ends,
    )


def _verify(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether the signature could be verified, and does; False for a kind that is not known here.

    Raises ForeignCertificateError CERTIFICATE_SIGNATURE_INVALID.
    """
    try:
        certificate.verify_directly_issued_by(authority)
    except (UnsupportedAlgorithm, TypeError, ValueError):  # the names are the same: it is the algorithm
        return _verify_old(certificate, authority)
    except InvalidSignature:
        raise _forged() from None
    return True


def _verify_old(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """SHA-1, with which many have signed for long. Nothing rests on it that a row without certificate would not do."""
    key = authority.public_key()
    try:
        algorithm = certificate.signature_hash_algorithm
        if not isinstance(algorithm, hashes.SHA1 | hashes.SHA224):
            return False
        signed = certificate.signature, certificate.tbs_certificate_bytes
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(*signed, padding.PKCS1v15(), algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(*signed, ec.ECDSA(algorithm))
        else:
            return False
    except InvalidSignature:
        raise _forged() from None
    except (UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def _forged() -> ForeignCertificateError:
    return ForeignCertificateError(
        "CERTIFICATE_SIGNATURE_INVALID", "the signature does not verify under the issuer's key"
    )


def _extensions(certificate: x509.Certificate) -> x509.Extensions | None:
    """None where they cannot be read: the certificate is out all the same."""
    try:
        return certificate.extensions
    except UNREADABLE:
        return None


def _alternative_names(extensions: x509.Extensions | None) -> tuple[str, ...]:
    for each in extensions or ():
        if isinstance(each.value, x509.SubjectAlternativeName):
            return SubjectAlternativeNames.from_extension(each.value).labelled()
    return ()


def _is_ca(extensions: x509.Extensions | None) -> bool:
    return any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in extensions or ())


def _public_key_sha256(certificate: x509.Certificate) -> bytes | None:
    try:
        return hashlib.sha256(parts_of.public_key_der(certificate)).digest()
    except (ValueError, TypeError):  # version 1, for one, which our own certificates never have
        pass
    try:
        encoded = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return hashlib.sha256(encoded).digest()
