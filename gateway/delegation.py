"""What makes a certificate one that may speak for an issuer (RFC 6960, section 4.2.2.2; R65)."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.issuers import Issuer


def public_key_of(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, in DER."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def check_issued_by(certificate: x509.Certificate, issuer: Issuer) -> None:
    """Check that a delegate is signed by the very key that it answers for (R65); clients would reject any other.

    Raises ValueError.
    """
    for der in issuer.certificates_der:
        authority = x509.load_der_x509_certificate(der)
        if public_key_of(authority) != issuer.public_key_der:
            continue
        try:
            certificate.verify_directly_issued_by(authority)
        except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("it is not signed by the issuer") from error
        return
    raise ValueError("the issuer has no certificate for its own key")


def end_of(issuer: Issuer) -> datetime | None:
    """When nobody can speak for an issuer any more; None if that is not known."""
    return None if math.isinf(issuer.not_after) else datetime.fromtimestamp(issuer.not_after, UTC)
