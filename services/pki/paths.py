"""Whether one CA certificate may stand below another (RFC 5280, section 6.1), before either is relied upon."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from services.pki import der


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Whether a certificate is signed with the very key that it is for."""
    return certificate.subject == certificate.issuer and is_signed_by(certificate, certificate)


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether names and signature say that `authority` issued the certificate."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, TypeError, ValueError):
        return False
    return True


def check_path(certificate: x509.Certificate, above: Sequence[x509.Certificate]) -> None:
    """Raise ValueError where a path length above forbids a CA here, or an end comes before a beginning.

    `above` are the CA certificates over it, nearest first. Those that are self-issued don't count (section 6.1.4).
    """
    depth = 0
    for authority in above:
        constraints = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        if constraints.path_length is not None and constraints.path_length < depth + 1:
            name = authority.subject.rfc4514_string()
            raise ValueError(f"the path length of {name} ({constraints.path_length}) leaves no room for this CA")
        depth += authority.subject != authority.issuer
        if certificate.not_valid_before_utc > authority.not_valid_after_utc:
            raise ValueError(f"{authority.subject.rfc4514_string()} has ended before it begins")


def same_issuer(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether two CA certificates are for one issuer: the same subject and the same public key, octet by octet."""
    return der.subject_der(one) == der.subject_der(other) and der.public_key_der(one) == der.public_key_der(other)
