"""The DER of what is signed: a certificate's first part (TBSCertificate, RFC 5280, section 4.1), from a checked draft.

The library's builder turns every name, date and extension into DER again for each certificate, and reads the whole of
it once more after signing. Here what many certificates have in common is encoded once, by the library: this only puts
the parts together. Tests compare the result with the builder's, octet by octet.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from services.pki.der import header
from services.pki.issuers import Issuer, PrivateKey

_VERSION_3 = bytes.fromhex("a003020102")
_CRITICAL = bytes.fromhex("0101ff")
_LAST_UTC_TIME = 2049


class EncodedExtension(x509.Extension[x509.ExtensionType]):
    """An extension that knows its own DER. It cannot be changed, so the two cannot differ."""

    def __init__(self, value: x509.ExtensionType, *, critical: bool) -> None:
        super().__init__(value.oid, critical, value)
        self._der = _extension_der(self)

    @property
    def der(self) -> bytes:
        """Extension (RFC 5280, section 4.1)."""
        return self._der


def signed_part(
    *,
    serial: bytes,
    issuer: Issuer,
    not_before: datetime,
    not_after: datetime,
    subject: x509.Name,
    public_key_der: bytes,
    extensions: Iterable[x509.Extension[x509.ExtensionType]],
) -> bytes:
    """TBSCertificate. `serial` is positive, times are UTC, and there is at least one extension."""
    return _nested(
        0x30,
        _VERSION_3,
        _serial_der(serial),
        issuer.signature_algorithm,
        issuer.subject_der,
        _validity_der(not_before, not_after),
        subject.public_bytes(),
        public_key_der,
        _nested(0xA3, _nested(0x30, *map(_der_of, extensions))),
    )


def signed(part: bytes, issuer: Issuer, key: PrivateKey) -> bytes:
    """The certificate (DER): what is signed, and the signature. `key` is the issuer's, or another of the same kind."""
    signature = _signature(key, issuer, part)
    return _nested(0x30, part, issuer.signature_algorithm, _nested(0x03, b"\x00", signature))


def _signature(key: PrivateKey, issuer: Issuer, part: bytes) -> bytes:
    algorithm = issuer.hash_algorithm
    if algorithm is None:  # Ed25519 and ML-DSA
        return key.sign(part)  # type: ignore[call-arg]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(part, ec.ECDSA(algorithm))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(part, padding.PKCS1v15(), algorithm)
    raise TypeError("a key that signs hashes is RSA or EC")


def _nested(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return header(tag, len(content)) + content


def _serial_der(serial: bytes) -> bytes:
    """INTEGER: the first bit is the sign."""
    return _nested(0x02, b"\x00" if serial[0] & 0x80 else b"", serial)


@lru_cache(maxsize=256)
def _validity_der(not_before: datetime, not_after: datetime) -> bytes:
    """Whoever is issued to in the same second gets the same, as a rule."""
    return _nested(0x30, _time_der(not_before), _time_der(not_after))


def _time_der(moment: datetime) -> bytes:
    """UTCTime up to 2049, GeneralizedTime from then on (RFC 5280, section 4.1.2.5)."""
    if moment.year <= _LAST_UTC_TIME:
        return _nested(0x17, f"{moment:%y%m%d%H%M%S}Z".encode())
    return _nested(0x18, f"{moment.year:04}{moment:%m%d%H%M%S}Z".encode())


def _der_of(extension: x509.Extension[x509.ExtensionType]) -> bytes:
    return extension.der if isinstance(extension, EncodedExtension) else _extension_der(extension)


def _extension_der(extension: x509.Extension[x509.ExtensionType]) -> bytes:
    value = _nested(0x04, extension.value.public_bytes())
    return _nested(0x30, _oid_der(extension.oid), _CRITICAL if extension.critical else b"", value)


@lru_cache(maxsize=256)
def _oid_der(oid: x509.ObjectIdentifier) -> bytes:
    return asn1.encode_der(oid)
