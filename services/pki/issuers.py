"""A CA certificate with its private key, ready to sign: what every certificate repeats is worked out once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha1
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.pki.der import key_algorithm, key_bits, public_key_der, subject_der
from services.pki.issuer_limits import IssuerLimits, limits_of

PrivateKey: TypeAlias = (
    rsa.RSAPrivateKey
    | ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | mldsa.MLDSA44PrivateKey
    | mldsa.MLDSA65PrivateKey
    | mldsa.MLDSA87PrivateKey
)

ExtensionType = TypeVar("ExtensionType", bound=x509.ExtensionType)

_EC_HASHES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}


def signature_hash(key: PrivateKey) -> hashes.HashAlgorithm | None:
    """The hash that belongs to a key (baseline requirements 7.1.3.2): as strong as the curve; SHA-256 for RSA.

    None for Ed25519 and ML-DSA, which hash by themselves. Raises ValueError for another curve.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in _EC_HASHES:
            raise ValueError(f"no CA key on the curve {key.curve.name}")
        return _EC_HASHES[key.curve.name]
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None


_ECDSA = {
    "sha256": bytes.fromhex("300a06082a8648ce3d040302"),
    "sha384": bytes.fromhex("300a06082a8648ce3d040303"),
    "sha512": bytes.fromhex("300a06082a8648ce3d040304"),
}
_RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")


def signature_algorithm(key: PrivateKey) -> bytes:
    """The AlgorithmIdentifier (DER) of the signatures of a key with its `signature_hash`. Raises ValueError as that."""
    algorithm = signature_hash(key)
    if algorithm is None:  # Ed25519 and ML-DSA: that of the key itself (RFC 8410, section 3; RFC 9881, section 2)
        return key_algorithm(public_key_of(key))
    return _RSA_SHA256 if isinstance(key, rsa.RSAPrivateKey) else _ECDSA[algorithm.name]


def public_key_of(key: PrivateKey) -> bytes:
    """The SubjectPublicKeyInfo that belongs to a private key (DER)."""
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@dataclass(frozen=True, slots=True)
class Issuer:
    """`Issuer(certificate, private_key, above)`; the other attributes follow from these.

    `above` are the certificates of the CAs above it, nearest first, up to the root. What limits them limits it, too.

    Raises ValueError when they don't belong together, when the certificate isn't one of a CA, or when its subject could
    not be repeated byte for byte (R90).
    """

    certificate: x509.Certificate
    private_key: PrivateKey
    above: tuple[x509.Certificate, ...] = ()
    name: x509.Name = field(init=False)
    subject_der: bytes = field(init=False)
    public_key_der: bytes = field(init=False)
    key_identifier: bytes = field(init=False)
    authority_key_identifier: x509.AuthorityKeyIdentifier = field(init=False)
    hash_algorithm: hashes.HashAlgorithm | None = field(init=False)
    signature_algorithm: bytes = field(init=False)
    """The AlgorithmIdentifier of its signatures (DER)."""
    is_quick: bool = field(init=False)
    """Whether it signs in less time than it takes to hand the work to another thread."""
    limits: IssuerLimits = field(init=False)
    not_before: datetime = field(init=False)
    not_after: datetime = field(init=False)

    def __post_init__(self) -> None:
        """Check that the parts fit, and work out the rest."""
        key_identifier = _key_identifier(self.certificate)
        values = {
            "name": self.certificate.subject,
            "subject_der": subject_der(self.certificate),
            "public_key_der": public_key_der(self.certificate),
            "key_identifier": key_identifier,
            # The key identifier alone, without issuer and serial number (R96).
            "authority_key_identifier": x509.AuthorityKeyIdentifier(key_identifier, None, None),
            "hash_algorithm": signature_hash(self.private_key),
            "signature_algorithm": signature_algorithm(self.private_key),
            "is_quick": _is_quick(self.private_key),
            "limits": limits_of((self.certificate, *self.above)),
            "not_before": self.certificate.not_valid_before_utc,
            "not_after": self.certificate.not_valid_after_utc,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if public_key_of(self.private_key) != self.public_key_der:
            raise ValueError("the private key does not belong to the CA certificate")
        if self.name.public_bytes() != self.subject_der:
            raise ValueError("the subject of the CA certificate is encoded in a way that cannot be repeated")


def _is_quick(key: PrivateKey) -> bool:
    """P-256 and Ed25519: some 30 microseconds. P-384 and P-521, RSA and ML-DSA take ten times that, or a hundred.

    What stands in for a key that is elsewhere, in a token or a service, takes longer than that.
    """
    if not type(key).__module__.startswith("cryptography."):
        return False
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.curve.name == "secp256r1"
    return isinstance(key, ed25519.Ed25519PrivateKey)


def check_ca_certificate(certificate: x509.Certificate) -> None:
    """Raise ValueError unless it is a certificate of a CA that `Issuer` could sign with, had it the key.

    Also x509.DuplicateExtension and x509.UnsupportedGeneralNameType (`services.pki.unreadable`).
    """
    _key_identifier(certificate)
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc  # there is no year 0
    _ = certificate.issuer  # the library reads it only when it is asked for
    if certificate.subject.public_bytes() != subject_der(certificate):
        raise ValueError("the subject of the CA certificate is encoded in a way that cannot be repeated")


def _key_identifier(certificate: x509.Certificate) -> bytes:
    """The key identifier of a certificate that may sign certificates (RFC 5280, 4.2.1.2, 4.2.1.3, 4.2.1.9).

    Authorities that were made by hand may lack two extensions which ours have: without a key usage, a key may be used
    for everything; without a subject key identifier, what names the key is its hash (4.2.1.2, method 1).
    """
    extensions = certificate.extensions
    constraints = _value(extensions, x509.BasicConstraints)
    if constraints is None:
        raise ValueError("not a certificate of a CA: it lacks basicConstraints")
    usage = _value(extensions, x509.KeyUsage)
    if not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise ValueError("not a certificate of a CA: it may not sign certificates")
    identifier = _value(extensions, x509.SubjectKeyIdentifier)
    if identifier is None:
        return sha1(key_bits(public_key_der(certificate)), usedforsecurity=False).digest()
    return identifier.digest


def _value(extensions: x509.Extensions, kind: type[ExtensionType]) -> ExtensionType | None:
    """The value of an extension; None where it is not there."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
