"""The hash functions of CertIDs, by their octets, and the signature algorithm that goes with each kind of key.

No SHA-1 or MD5 signature can be made, and no key too weak for the baseline requirements (7.1.3.2) is accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, padding, rsa
from cryptography.x509 import ObjectIdentifier
from cryptography.x509.oid import SignatureAlgorithmOID

from gateway.ocsp.types import AlgorithmIdentifier, AlgorithmIdentifierWithParameters, SubjectPublicKeyInfo

MIN_RSA_BITS: Final = 2048
_NULL: Final = asn1.decode_der(asn1.TLV, bytes.fromhex("05 00"))

Signer = Callable[[bytes, bool], bytes]
"""Signs octets. With `True`, the same octets give the same signature if the algorithm can do that."""


class UnsupportedKey(ValueError):
    """No signature algorithm is defined here for this key."""


@dataclass(frozen=True, slots=True)
class HashAlgorithm:
    """A hash function that a CertID may use."""

    name: str
    size: int
    """Length of its output, in octets."""


@dataclass(frozen=True, slots=True)
class SignatureAlgorithm:
    """How one key signs."""

    identifier: bytes
    """AlgorithmIdentifier, in DER."""
    spellings: frozenset[bytes]
    """AlgorithmIdentifiers that mean it when others write them: parameters absent or NULL."""
    repeatable: bool
    """Whether it can give the same signature for the same octets."""
    sign: Signer
    quick: bool = False
    """Whether a signature takes tens of microseconds, rather than hundreds or thousands."""


def _hash_table() -> dict[bytes, HashAlgorithm]:
    """Map AlgorithmIdentifiers to hash functions; NULL and absent parameters mean the same (RFC 5754 section 2)."""
    table = {}
    for dotted, name, size in (
        ("1.3.14.3.2.26", "sha1", 20),
        ("2.16.840.1.101.3.4.2.1", "sha256", 32),
        ("2.16.840.1.101.3.4.2.2", "sha384", 48),
        ("2.16.840.1.101.3.4.2.3", "sha512", 64),
    ):
        algorithm = ObjectIdentifier(dotted)
        table[_bare(algorithm)] = table[_with_null(algorithm)] = HashAlgorithm(name, size)
    return table


def _spellings(algorithm: ObjectIdentifier) -> frozenset[bytes]:
    return frozenset({_bare(algorithm), _with_null(algorithm)})


def _bare(algorithm: ObjectIdentifier) -> bytes:
    return asn1.encode_der(AlgorithmIdentifier(algorithm=algorithm))


def _with_null(algorithm: ObjectIdentifier) -> bytes:
    return asn1.encode_der(AlgorithmIdentifierWithParameters(algorithm=algorithm, parameters=_NULL))


CERT_ID_HASHES: Final[Mapping[bytes, HashAlgorithm]] = _hash_table()
"""From the DER of an AlgorithmIdentifier to the hash function. SHA-224, MD5 and all others are not supported."""

_ECDSA: Final[Mapping[str, tuple[hashes.HashAlgorithm, ObjectIdentifier]]] = {
    "secp256r1": (hashes.SHA256(), SignatureAlgorithmOID.ECDSA_WITH_SHA256),
    "secp384r1": (hashes.SHA384(), SignatureAlgorithmOID.ECDSA_WITH_SHA384),
    "secp521r1": (hashes.SHA512(), SignatureAlgorithmOID.ECDSA_WITH_SHA512),
}


def signature_algorithm(private_key: object) -> SignatureAlgorithm:
    """Return the one signature algorithm that is used with this key.

    RSA: PKCS #1 v1.5 with SHA-256 (what every client takes, RFC 6960 section 4.3). P-256, P-384 and P-521: ECDSA with
    SHA-256, -384 and -512. Ed25519 (RFC 8410). ML-DSA-44, -65 and -87 (RFC 9881), whose signatures are randomised.

    Raises UnsupportedKey: another kind of key, another curve, or RSA below 2048 bits.
    """
    match private_key:
        case rsa.RSAPrivateKey():
            return _rsa(private_key)
        case ec.EllipticCurvePrivateKey():
            return _ecdsa(private_key)
        case ed25519.Ed25519PrivateKey():
            return _direct(private_key, SignatureAlgorithmOID.ED25519, repeatable=True)
        case mldsa.MLDSA44PrivateKey():
            return _direct(private_key, SignatureAlgorithmOID.ML_DSA_44, repeatable=False)
        case mldsa.MLDSA65PrivateKey():
            return _direct(private_key, SignatureAlgorithmOID.ML_DSA_65, repeatable=False)
        case mldsa.MLDSA87PrivateKey():
            return _direct(private_key, SignatureAlgorithmOID.ML_DSA_87, repeatable=False)
    raise UnsupportedKey(f"OCSP responses cannot be signed with a {type(private_key).__name__}")


def _rsa(key: rsa.RSAPrivateKey) -> SignatureAlgorithm:
    if key.key_size < MIN_RSA_BITS:
        raise UnsupportedKey(f"an RSA key of {key.key_size} bits; {MIN_RSA_BITS} or more are needed")
    scheme, digest = padding.PKCS1v15(), hashes.SHA256()
    algorithm = SignatureAlgorithmOID.RSA_WITH_SHA256
    return SignatureAlgorithm(
        _with_null(algorithm), _spellings(algorithm), True, lambda data, _: key.sign(data, scheme, digest)
    )


def _ecdsa(key: ec.EllipticCurvePrivateKey) -> SignatureAlgorithm:
    if key.curve.name not in _ECDSA:
        raise UnsupportedKey(f"a key on curve {key.curve.name}; P-256, P-384 or P-521 is needed")
    digest, algorithm = _ECDSA[key.curve.name]
    schemes = (ec.ECDSA(digest), ec.ECDSA(digest, deterministic_signing=True))  # the second: RFC 6979
    return SignatureAlgorithm(
        _bare(algorithm),
        _spellings(algorithm),
        True,
        lambda data, repeatably: key.sign(data, schemes[repeatably]),
        quick=key.curve.name == "secp256r1",
    )


class _SignsOctets(Protocol):
    def sign(self, data: bytes, /) -> bytes: ...


def _direct(key: _SignsOctets, algorithm: ObjectIdentifier, *, repeatable: bool) -> SignatureAlgorithm:
    """An algorithm without parameters that hashes by itself."""
    quick = algorithm == SignatureAlgorithmOID.ED25519
    return SignatureAlgorithm(
        _bare(algorithm), _spellings(algorithm), repeatable, lambda data, _: key.sign(data), quick
    )


def key_algorithm_spellings(public_key_der: bytes) -> frozenset[bytes]:
    """What a client may write as pubKeyAlgIdentifier to mean this key (DER): with its parameters, or without any."""
    algorithm = asn1.encode_der(asn1.decode_der(SubjectPublicKeyInfo, public_key_der).algorithm)
    try:
        with_parameters = asn1.decode_der(AlgorithmIdentifierWithParameters, algorithm)
    except ValueError:  # it has none
        return frozenset({algorithm})
    return frozenset({algorithm, _bare(with_parameters.algorithm)})
