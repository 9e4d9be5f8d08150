"""The exact bytes of parts of certificates and requests, which decoding and encoding again might change.

The parts are found with declarative ASN.1; whatever is not DER raises ValueError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki.unreadable import UNREADABLE

_INTEGER = b"\x02"


@asn1.sequence
class _Signed:
    """The shape that certificates and requests share."""

    signed: asn1.TLV
    algorithm: asn1.TLV
    signature: asn1.BitString


@asn1.sequence
class _TbsCertificate:
    version: Annotated[int, asn1.Explicit(0)]
    serial: int
    algorithm: asn1.TLV
    issuer: asn1.TLV
    validity: asn1.TLV
    subject: asn1.TLV
    public_key: asn1.TLV
    issuer_unique_id: Annotated[asn1.BitString | None, asn1.Implicit(1)]
    subject_unique_id: Annotated[asn1.BitString | None, asn1.Implicit(2)]
    # An [3] EXPLICIT TLV may not be optional here; a list of one, tagged implicitly, has the same bytes.
    extensions: Annotated[list[asn1.TLV] | None, asn1.Implicit(3)]


@asn1.sequence
class _Attribute:
    type: x509.ObjectIdentifier
    value: asn1.TLV


@asn1.sequence
class _CertificationRequestInfo:
    version: int
    subject: list[asn1.SetOf[_Attribute]]
    public_key: asn1.TLV
    # A SET OF: this reads it without asking for its order, which the signature covers anyway.
    attributes: Annotated[list[asn1.TLV] | None, asn1.Implicit(0)]


@asn1.sequence
class _SubjectPublicKeyInfo:
    algorithm: asn1.TLV
    key: asn1.BitString


@asn1.sequence
class _RsaPublicKey:
    modulus: int
    exponent: int


def subject_der(certificate: x509.Certificate) -> bytes:
    """The subject as it stands in the certificate (Name)."""
    return asn1.encode_der(_tbs(certificate).subject)


def issuer_der(certificate: x509.Certificate) -> bytes:
    """The issuer's name as it stands in the certificate (Name)."""
    return asn1.encode_der(_tbs(certificate).issuer)


def crl_issuer_der(der: bytes) -> bytes:
    """The issuer's name as it stands in a revocation list (Name), whatever is in it."""
    version_or_algorithm, *others = elements(signed_parts(der)[0])
    # Version 1 does not say so (RFC 5280, section 5.1.2.1).
    place = 1 if version_or_algorithm[:1] == _INTEGER else 0
    if len(others) <= place:
        raise ValueError("a revocation list without an issuer")
    return others[place]


def public_key_der(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo as it stands in the certificate."""
    return asn1.encode_der(_tbs(certificate).public_key)


# The extension basicConstraints with anything in it. Nearly all certificates of leaves are told by its absence, which
# takes a microsecond; decoding takes forty.
_CONSTRAINED = re.compile(rb"\x06\x03\x55\x1d\x13(?:\x01\x01.)?\x04.\x30[^\x00]", re.DOTALL)


def is_ca(certificate_der: bytes) -> bool:
    """Whether this is the certificate of a CA (RFC 5280, section 4.2.1.9).

    One that says something about it and cannot be read counts as such: somebody may take it for one.
    """
    if _CONSTRAINED.search(certificate_der) is None:
        return False
    try:
        extensions = x509.load_der_x509_certificate(certificate_der).extensions
    except UNREADABLE:
        return True
    return any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in extensions)


@dataclass(frozen=True, slots=True)
class RequestParts:
    """Raw parts of a PKCS #10 request."""

    version: int
    subject: tuple[tuple[x509.ObjectIdentifier, int, int], ...]
    """Of each attribute its type, the tag of its value, and the length of its value in octets."""
    public_key_der: bytes


def request_parts(csr_der: bytes) -> RequestParts:
    """Take a PKCS #10 request apart, interpreting as little as possible."""
    info = asn1.decode_der(_Signed, csr_der).signed.parse(_CertificationRequestInfo)
    subject = tuple(
        (attribute.type, attribute.value.tag_bytes[0], len(attribute.value.data))
        for rdn in info.subject
        for attribute in rdn.as_list()
    )
    return RequestParts(info.version, subject, asn1.encode_der(info.public_key))


def signed_parts(der: bytes) -> tuple[bytes, bytes]:
    """Of a certificate, request or revocation list: the content of what is signed, and the AlgorithmIdentifier."""
    parts = asn1.decode_der(_Signed, der)
    return bytes(parts.signed.data), asn1.encode_der(parts.algorithm)


def elements(content: bytes) -> list[bytes]:
    """The elements of a SEQUENCE or SET, given the content of it. Raises ValueError for what is cut off."""
    found, start = [], 0
    while start < len(content):
        end = _end(content, start)
        found.append(content[start:end])
        start = end
    return found


def _end(content: bytes, start: int) -> int:
    first = content[start + 1] if start + 1 < len(content) else 0
    octets = first & 0x7F if first & 0x80 else 0
    length = int.from_bytes(content[start + 2 : start + 2 + octets]) if octets else first
    end = start + 2 + octets + length
    if start + 2 > len(content) or end > len(content):
        raise ValueError("an element that is cut off")
    return end


def header(tag: int, length: int) -> bytes:
    """The tag and the length in front of so many octets."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(octets))) + octets


# SubjectPublicKeyInfo of a key on P-256, up to and with the octet that says that the point is not compressed.
_P256_BEGIN = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_P256_ALGORITHM = _P256_BEGIN[2:23]
_P256_POINT = 65


def is_plain_p256(public_key_der: bytes) -> bool:
    """Whether it is a key on P-256 in its usual form, which most are: then every octet has its place."""
    return len(public_key_der) == len(_P256_BEGIN) + _P256_POINT - 1 and public_key_der.startswith(_P256_BEGIN)


def key_algorithm(public_key_der: bytes) -> bytes:
    """The AlgorithmIdentifier of a SubjectPublicKeyInfo, parameters included."""
    if is_plain_p256(public_key_der):
        return _P256_ALGORITHM
    return asn1.encode_der(asn1.decode_der(_SubjectPublicKeyInfo, public_key_der).algorithm)


def key_bits(public_key_der: bytes) -> bytes:
    """The content of subjectPublicKey, without tag, length and unused-bits octet."""
    if is_plain_p256(public_key_der):
        return public_key_der[-_P256_POINT:]
    key = asn1.decode_der(_SubjectPublicKeyInfo, public_key_der).key
    if key.padding_bits():
        raise ValueError("a public key with unused bits")
    return key.as_bytes()


def unused_bits(public_key_der: bytes) -> int:
    """How many bits at the end of subjectPublicKey are not used: none, in any key that libraries write."""
    if is_plain_p256(public_key_der):
        return 0
    return int(asn1.decode_der(_SubjectPublicKeyInfo, public_key_der).key.padding_bits())


def x_coordinate(public_key_der: bytes) -> int:
    """The x coordinate of an EC key, or whatever its octets are if they are no point; compressed or not."""
    point = key_bits(public_key_der)
    size = len(point) - 1 if point[:1] in (b"\x02", b"\x03") else len(point) // 2
    return int.from_bytes(point[1 : 1 + size])


def rsa_numbers(public_key_der: bytes) -> tuple[int, int]:
    """The modulus and the exponent of an RSA key, whatever they are."""
    key = asn1.decode_der(_RsaPublicKey, key_bits(public_key_der))
    return key.modulus, key.exponent


def _tbs(certificate: x509.Certificate) -> _TbsCertificate:
    signed = asn1.decode_der(_Signed, certificate.public_bytes(Encoding.DER)).signed
    parsed: _TbsCertificate = signed.parse(_TbsCertificate)
    return parsed
