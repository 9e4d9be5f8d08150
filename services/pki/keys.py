"""Private keys as files hold them, and the hashes by which OCSP knows the keys of issuers.

Error texts name what is wrong and the cure; nothing of a key or a passphrase is ever in them.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from services.errors import FailedPrecondition
from services.pki.der import key_bits
from services.pki.issuers import PrivateKey

KeyKind = Literal["p256", "p384", "p521", "rsa2048", "rsa3072", "rsa4096", "ed25519", "mldsa44", "mldsa65", "mldsa87"]
KEY_KINDS: tuple[KeyKind, ...] = get_args(KeyKind)

_ML_DSA: dict[str, type[mldsa.MLDSA44PrivateKey | mldsa.MLDSA65PrivateKey | mldsa.MLDSA87PrivateKey]] = {
    "mldsa44": mldsa.MLDSA44PrivateKey,
    "mldsa65": mldsa.MLDSA65PrivateKey,
    "mldsa87": mldsa.MLDSA87PrivateKey,
}
_CURVES: dict[str, type[ec.EllipticCurve]] = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}
_RSA_BITS = {"rsa2048": 2048, "rsa3072": 3072, "rsa4096": 4096}
_HASHES = frozenset({"sha1", "sha256", "sha384", "sha512"})
_MAX_BYTES = 64 * 1024


class KeyUnusable(FailedPrecondition):
    """A private key cannot be used.

    Reasons: KEY_MALFORMED, KEY_TYPE_NOT_ALLOWED, KEY_PASSPHRASE_MISSING, KEY_PASSPHRASE_WRONG.
    """


def generate_key(kind: KeyKind = "p256") -> PrivateKey:
    """Make a new private key. Raises ValueError for an unknown kind."""
    if kind in _CURVES:
        return ec.generate_private_key(_CURVES[kind]())
    if kind in _RSA_BITS:
        return rsa.generate_private_key(65537, _RSA_BITS[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind in _ML_DSA:
        return _ML_DSA[kind].generate()
    raise ValueError(f"not a kind of key: {kind}")


def encrypt_key(key: PrivateKey, passphrase: bytes) -> bytes:
    """Write PKCS #8 in PEM, encrypted with AES-256. Raises ValueError for an empty passphrase.

    The key comes from the passphrase by 2,048 rounds of PBKDF2, which is all that the library offers here: fine for a
    random passphrase, little for a word. `openssl pkcs8 -topk8 -scrypt` makes files that resist more; they load too.
    """
    if not passphrase:
        raise ValueError("an empty passphrase encrypts nothing")
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def plain_key(key: PrivateKey) -> bytes:
    """Write PKCS #8 in PEM, not encrypted. Whoever reads the file has the key."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_key(pem: bytes, passphrase: bytes | None) -> PrivateKey:
    """Read a private key in PEM. A passphrase for a key that is not encrypted is an error too. Raises KeyUnusable."""
    if b"PRIVATE KEY-----" not in pem or len(pem) > _MAX_BYTES:
        raise KeyUnusable("KEY_MALFORMED", "not a private key in PEM: expected a block BEGIN ENCRYPTED PRIVATE KEY")
    key = _load(pem, passphrase)
    if not isinstance(key, PrivateKey) or (isinstance(key, ec.EllipticCurvePrivateKey) and not _on_known_curve(key)):
        raise KeyUnusable("KEY_TYPE_NOT_ALLOWED", "the private key must be P-256, P-384, P-521, RSA, Ed25519 or ML-DSA")
    return key


def _load(pem: bytes, passphrase: bytes | None) -> object:
    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in pem or b"Proc-Type: 4,ENCRYPTED" in pem
    if encrypted and not passphrase:
        raise KeyUnusable("KEY_PASSPHRASE_MISSING", "the private key is encrypted: give its passphrase")
    if passphrase and not encrypted:
        text = "there is a passphrase, but the private key is not encrypted: openssl pkcs8 -topk8 -scrypt encrypts it"
        raise KeyUnusable("KEY_MALFORMED", text)
    try:
        return load_pem_private_key(pem, passphrase if encrypted else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # The cause is left out on purpose (from None): it may quote what it could not read.
        if encrypted:
            text = "the passphrase does not open the private key: is it the one that belongs to this file?"
            raise KeyUnusable("KEY_PASSPHRASE_WRONG", text) from None
        raise KeyUnusable("KEY_MALFORMED", "the private key is damaged: restore it from a backup") from None


def _on_known_curve(key: ec.EllipticCurvePrivateKey) -> bool:
    return isinstance(key.curve, tuple(_CURVES.values()))


@lru_cache(maxsize=8192)  # all issuers are indexed anew where one of them changes
def issuer_hashes(subject_der: bytes, public_key_der: bytes, algorithm: str) -> tuple[bytes, bytes]:
    """The issuerNameHash and issuerKeyHash of a CertID (RFC 6960, section 4.1.1; R27).

    `subject_der` and `public_key_der` as they stand in the issuer's certificate (`services.pki.der`). `algorithm` is
    `sha1`, `sha256`, `sha384` or `sha512`. Raises ValueError for another.
    """
    if algorithm not in _HASHES:
        raise ValueError(f"not a hash for CertIDs: {algorithm}")
    return _digest(algorithm, subject_der), _digest(algorithm, key_bits(public_key_der))


def _digest(algorithm: str, data: bytes) -> bytes:
    return hashlib.new(algorithm, data, usedforsecurity=False).digest()
