"""Verifies the signature on an OCSP response, whatever usual algorithm made it: old and weak ones too, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding, rsa

from gateway.ocsp.cursor import Cursor, Unreadable, object_identifier
from gateway.ocsp.reading import ReadAlgorithm

_MAX_RSA_BITS: Final = 16384
_MAX_EXPONENT_BITS: Final = 32
"""Larger ones make verifying slow; nobody uses them."""
_PSS: Final = "1.2.840.113549.1.1.10"


class Algorithm(NamedTuple):
    """A signature algorithm: its name, its hash (None: it hashes by itself), and whether nobody should use it."""

    name: str
    digest: hashes.HashAlgorithm | None
    weak: bool = False


ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "1.2.840.113549.1.1.4": Algorithm("md5WithRSAEncryption", hashes.MD5(), weak=True),  # noqa: S303 - to verify what is old
    "1.2.840.113549.1.1.5": Algorithm("sha1WithRSAEncryption", hashes.SHA1(), weak=True),  # noqa: S303
    "1.2.840.113549.1.1.14": Algorithm("sha224WithRSAEncryption", hashes.SHA224()),
    "1.2.840.113549.1.1.11": Algorithm("sha256WithRSAEncryption", hashes.SHA256()),
    "1.2.840.113549.1.1.12": Algorithm("sha384WithRSAEncryption", hashes.SHA384()),
    "1.2.840.113549.1.1.13": Algorithm("sha512WithRSAEncryption", hashes.SHA512()),
    _PSS: Algorithm("RSASSA-PSS", None),
    "1.2.840.10045.4.1": Algorithm("ecdsa-with-SHA1", hashes.SHA1(), weak=True),  # noqa: S303
    "1.2.840.10045.4.3.1": Algorithm("ecdsa-with-SHA224", hashes.SHA224()),
    "1.2.840.10045.4.3.2": Algorithm("ecdsa-with-SHA256", hashes.SHA256()),
    "1.2.840.10045.4.3.3": Algorithm("ecdsa-with-SHA384", hashes.SHA384()),
    "1.2.840.10045.4.3.4": Algorithm("ecdsa-with-SHA512", hashes.SHA512()),
    "1.2.840.10040.4.3": Algorithm("dsa-with-sha1", hashes.SHA1(), weak=True),  # noqa: S303
    "2.16.840.1.101.3.4.3.2": Algorithm("dsa-with-sha256", hashes.SHA256(), weak=True),
    "1.3.101.112": Algorithm("Ed25519", None),
    "1.3.101.113": Algorithm("Ed448", None),
    "2.16.840.1.101.3.4.3.17": Algorithm("ML-DSA-44", None),
    "2.16.840.1.101.3.4.3.18": Algorithm("ML-DSA-65", None),
    "2.16.840.1.101.3.4.3.19": Algorithm("ML-DSA-87", None),
}
_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "1.3.14.3.2.26": hashes.SHA1(),  # noqa: S303
    "2.16.840.1.101.3.4.2.4": hashes.SHA224(),
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}


def algorithm_name(oid: str) -> str:
    """The name of a signature algorithm, or its OID."""
    return ALGORITHMS[oid].name if oid in ALGORITHMS else oid


def verifies(certificate: x509.Certificate, algorithm: ReadAlgorithm, signature: bytes, data: bytes) -> bool:
    """Whether the key of `certificate` made the signature. Raises ValueError: an algorithm that is not known."""
    if algorithm.oid not in ALGORITHMS:
        raise ValueError(f"the signature algorithm {algorithm.oid} is not known here")
    digest = ALGORITHMS[algorithm.oid].digest
    try:
        key = certificate.public_key()
        match key:
            case rsa.RSAPublicKey():
                return _rsa(key, algorithm, digest, signature, data)
            case ec.EllipticCurvePublicKey() if digest:
                key.verify(signature, data, ec.ECDSA(digest))
            case dsa.DSAPublicKey() if digest:
                key.verify(signature, data, digest)
            case (
                ed25519.Ed25519PublicKey()
                | ed448.Ed448PublicKey()
                | mldsa.MLDSA44PublicKey()
                | mldsa.MLDSA65PublicKey()
                | mldsa.MLDSA87PublicKey()
            ) if not digest:
                key.verify(signature, data)
            case _:
                return False
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _rsa(
    key: rsa.RSAPublicKey, algorithm: ReadAlgorithm, digest: hashes.HashAlgorithm | None, signature: bytes, data: bytes
) -> bool:
    if key.key_size > _MAX_RSA_BITS or key.public_numbers().e.bit_length() > _MAX_EXPONENT_BITS:
        return False
    scheme: padding.AsymmetricPadding = padding.PKCS1v15()
    if algorithm.oid == _PSS:
        digest, scheme = _pss(algorithm.parameters)
    if digest is None:
        return False
    key.verify(signature, data, scheme, digest)
    return True


def _pss(parameters: bytes) -> tuple[hashes.HashAlgorithm, padding.PSS]:
    """What RSASSA-PSS-params say (RFC 4055, section 3.1); what is left out is SHA-1 and 20. Raises ValueError."""
    digest: hashes.HashAlgorithm = hashes.SHA1()  # noqa: S303
    mask: hashes.HashAlgorithm = digest
    salt = 20
    fields = Cursor(parameters).take("RSASSA-PSS-params", 0x30).inside("RSASSA-PSS-params")
    while not fields.at_end():
        value = fields.take("RSASSA-PSS-params", 0xA0, 0xA1, 0xA2, 0xA3)
        inner = value.inside("RSASSA-PSS-params")
        if value.tag == 0xA0:
            digest = _hash(inner)
        elif value.tag == 0xA1:
            generator = inner.take("maskGenAlgorithm", 0x30).inside("maskGenAlgorithm")
            generator.take("maskGenAlgorithm", 0x06)
            mask = _hash(generator)
        elif value.tag == 0xA2:
            salt = inner.take("saltLength", 0x02).number()
    if not 0 <= salt <= 512:
        raise ValueError("a salt of that length")
    return digest, padding.PSS(padding.MGF1(mask), salt)


def _hash(fields: Cursor) -> hashes.HashAlgorithm:
    oid = object_identifier(fields.take("hashAlgorithm", 0x30).inside("hashAlgorithm").take("algorithm", 0x06))
    if oid not in _HASHES:
        raise Unreadable("hashAlgorithm", f"{oid} is not known here")
    return _HASHES[oid]
