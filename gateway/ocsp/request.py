"""From the octets of an OCSP request to what is asked (RFC 6960 section 4.1).

Whatever the octets, `parse_request` returns an `OcspRequest` or raises `MalformedRequest`, in time and memory that grow
with the input's length only. What it returns was DER throughout and had at least one CertID.

Read, and acted on: the CertIDs and the nonce (RFC 9654). Read, and left to the caller: the signature, and preferred
signature algorithms. Ignored beyond being DER: requestorName (RFC 9919 section 3.1.2), acceptable responses (clients
must take basic ones), and the service locator (following it would make us fetch addresses that strangers choose).
Ignored altogether: the values of unknown extensions that are not critical.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat import asn1
from cryptography.x509 import ObjectIdentifier

from gateway.ocsp import types
from gateway.ocsp.algorithms import CERT_ID_HASHES
from gateway.ocsp.der import check_der, tlv

MAX_NONCE: Final = 128
"""Octets in a nonce (RFC 9654 section 2.1)."""
MAX_PREFERRED: Final = 32
"""Preferred signature algorithms that are looked at; there are not that many in use."""
MAX_SERIAL: Final = 20
"""Octets in a serial number (RFC 5280 section 4.1.2.2)."""

NONCE: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.2")
ACCEPTABLE_RESPONSES: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.4")
SERVICE_LOCATOR: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.7")
PREFERRED_SIGNATURE_ALGORITHMS: Final = ObjectIdentifier("1.3.6.1.5.5.7.48.1.8")

_KNOWN_IN_REQUEST: Final = frozenset({NONCE, ACCEPTABLE_RESPONSES, PREFERRED_SIGNATURE_ALGORITHMS})
_KNOWN_IN_SINGLE_REQUEST: Final = frozenset({SERVICE_LOCATOR})
_GENERAL_NAME_TAGS: Final = frozenset(bytes.fromhex("a0 81 82 a3 a4 a5 86 87 88"))
"""First octets of the nine forms of a GeneralName (RFC 5280 section 4.2.1.6)."""
_NONCE_OID: Final = asn1.encode_der(NONCE)
_SEQUENCE: Final = 0x30
_OCTET_STRING: Final = 0x04
_CONSTRUCTED: Final = 0x20


class MalformedRequest(ValueError):
    """Not an OCSP request that can be answered: the answer is malformedRequest (RFC 6960 section 2.3)."""


@dataclass(frozen=True, slots=True)
class CertID:
    """Which certificate is asked about (RFC 6960 section 4.1.1)."""

    der: bytes
    """The whole CertID as it was received; the answer repeats it (RFC 6960 section 4.2.2.3)."""
    hash_algorithm: str | None
    """`sha1`, `sha256`, `sha384` or `sha512`; None if it is another one, or if a hash has not its length."""
    issuer_name_hash: bytes
    issuer_key_hash: bytes
    serial: bytes | None
    """Big-endian, unsigned, 1 to 20 octets, no leading zeros; None if negative, zero or longer: nobody issues those."""


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """The signature on a request, not verified (RFC 6960 section 4.1.1)."""

    tbs: bytes
    """The octets that are signed: the TBSRequest in DER."""
    algorithm: bytes
    """AlgorithmIdentifier, in DER."""
    value: bytes
    certificates: tuple[bytes, ...]
    """Certificates that came with it, in DER, not parsed."""
    requestor_name: bytes | None
    """GeneralName, in DER."""


@dataclass(frozen=True, slots=True)
class PreferredAlgorithm:
    """What a client would like an answer to be signed with (RFC 6960 section 4.4.7). Nothing of it is checked."""

    signature: bytes
    """sigIdentifier: an AlgorithmIdentifier, in DER."""
    public_key: bytes | None = None
    """pubKeyAlgIdentifier, in DER; it has the shape of an AlgorithmIdentifier."""


@dataclass(frozen=True, slots=True)
class OcspRequest:
    """What a client asks for."""

    cert_ids: tuple[CertID, ...]
    """At least one, in the order of the request, repetitions included."""
    nonce: bytes | None
    """The OCTET STRING in the nonce's extnValue, with tag and length, to be echoed as it is."""
    signature: RequestSignature | None
    preferred: tuple[PreferredAlgorithm, ...] = ()
    """In the client's order, `MAX_PREFERRED` at most; empty where what the client sent makes no sense."""

    @property
    def signed(self) -> bool:
        """Whether the request carries a signature."""
        return self.signature is not None


def parse_request(der: bytes, *, max_requests: int = 100) -> OcspRequest:
    """Parse and check an OCSPRequest.

    A nonce of 1 to 128 octets is kept; one of 0 or more than 128 is malformed (RFC 9654). A nonce that was put into
    extnValue bare, without the OCTET STRING around it (RFC 2560 left that open), is treated as absent.

    Args:
        der: The body of a POST, or what was base64 in a GET.
        max_requests: How many CertIDs are accepted.

    Raises MalformedRequest: not DER; version other than v1, or v1 spelled out; no CertID or too many; a critical
    extension that is not known at its place; an extension twice; a nonce of a wrong length.
    """
    try:
        return _parse(der, max_requests)
    except MalformedRequest:
        raise
    except ValueError as error:
        raise MalformedRequest("not an OCSP request in DER") from error


def plain_request(cert_id: bytes) -> bytes:
    """The DER of the request that asks about this one CertID (DER), and holds nothing else."""
    return tlv(0x30, tlv(0x30, tlv(0x30, tlv(0x30, cert_id))))


def nonce_request(cert_id: bytes, nonce_size: int) -> bytes:
    """The DER of the request that asks about this one CertID (DER) with a nonce, and holds nothing else.

    Up to the nonce itself, whose `nonce_size` octets (at most 127) are the end of the request.
    """
    stand_in = bytes(nonce_size)
    nonce = tlv(0x30, _NONCE_OID + tlv(_OCTET_STRING, tlv(_OCTET_STRING, stand_in)))
    tbs = tlv(0x30, tlv(0x30, tlv(0x30, cert_id)) + tlv(0xA2, tlv(0x30, nonce)))
    return tlv(0x30, tbs)[:-nonce_size]


def _parse(der: bytes, max_requests: int) -> OcspRequest:
    request = asn1.decode_der(types.OCSPRequest, der)
    tbs = request.tbs_request
    if tbs.version != 0:
        raise MalformedRequest("version is not v1")
    if len(tbs.request_list) > max_requests:
        raise MalformedRequest(f"more than {max_requests} certificates asked about")
    requestor_name = None if tbs.requestor_name is None else _general_name(tbs.requestor_name)
    cert_ids = []
    for single in tbs.request_list:
        if single.single_request_extensions is not None:
            _check_extensions(single.single_request_extensions, _KNOWN_IN_SINGLE_REQUEST)
        cert_ids.append(_cert_id(single.req_cert))
    nonce, preferred = (None, ()) if tbs.request_extensions is None else _read_extensions(tbs.request_extensions)
    signature = None if request.optional_signature is None else _signature(der, requestor_name)
    return OcspRequest(tuple(cert_ids), nonce, signature, preferred)


def _cert_id(value: asn1.TLV) -> CertID:
    fields: types.CertIDFields = value.parse(types.CertIDFields)
    algorithm = _encoded(fields.hash_algorithm)
    name_hash, key_hash = fields.issuer_name_hash, fields.issuer_key_hash
    known = CERT_ID_HASHES.get(algorithm)
    if known is None:
        _check_algorithm(algorithm)
        name = None
    else:
        name = known.name if len(name_hash) == len(key_hash) == known.size else None
    return CertID(_encoded(value), name, name_hash, key_hash, _serial(fields.serial_number))


def _serial(number: int) -> bytes | None:
    size = (number.bit_length() + 7) // 8
    return number.to_bytes(size) if number > 0 and size <= MAX_SERIAL else None


def _check_algorithm(der: bytes) -> None:
    """Check that it is an AlgorithmIdentifier: an OID, then at most one value, of any type."""
    check_der(der)
    try:
        asn1.decode_der(types.AlgorithmIdentifier, der)
    except ValueError:
        asn1.decode_der(types.AlgorithmIdentifierWithParameters, der)


def _general_name(values: list[asn1.TLV]) -> bytes:
    if len(values) != 1:
        raise MalformedRequest("requestorName is not one value")
    der = _encoded(values[0])
    if der[0] not in _GENERAL_NAME_TAGS:
        raise MalformedRequest("requestorName is not a GeneralName")
    check_der(der)
    return der


def _read_extensions(extensions: list[types.Extension]) -> tuple[bytes | None, tuple[PreferredAlgorithm, ...]]:
    """Check requestExtensions; return the nonce to be echoed, and the preferred signature algorithms."""
    _check_extensions(extensions, _KNOWN_IN_REQUEST)
    values = {extension.extn_id: extension.extn_value for extension in extensions}
    nonce = _nonce(values[NONCE]) if NONCE in values else None
    preferred = _preferred(values[PREFERRED_SIGNATURE_ALGORITHMS]) if PREFERRED_SIGNATURE_ALGORITHMS in values else ()
    return nonce, preferred


def _preferred(value: bytes) -> tuple[PreferredAlgorithm, ...]:
    """Read PreferredSignatureAlgorithms. It is a wish: one that makes no sense is no reason to refuse (R42)."""
    try:
        entries = asn1.decode_der(types.HeldPreferredSignatureAlgorithms, tlv(_SEQUENCE, value)).algorithms
        return tuple(map(_preferred_algorithm, entries[:MAX_PREFERRED]))
    except ValueError:
        return ()


def _preferred_algorithm(entry: asn1.TLV) -> PreferredAlgorithm:
    try:
        return PreferredAlgorithm(_encoded(entry.parse(types.PreferredSignatureAlgorithm).sig_identifier))
    except ValueError:
        both = entry.parse(types.PreferredSignatureAlgorithmWithKey)
        return PreferredAlgorithm(_encoded(both.sig_identifier), _encoded(both.pub_key_alg_identifier))


def _check_extensions(extensions: list[types.Extension], known: Iterable[ObjectIdentifier]) -> None:
    """Check Extensions (RFC 5280 section 4.1): one or more, each once, critical ones known, values of known ones DER.

    The values of unknown extensions are not looked at, and the nonce's has rules of its own.
    """
    if len({extension.extn_id for extension in extensions}) != len(extensions) or not extensions:
        raise MalformedRequest("no extension where there must be one, or the same one twice")
    for extension in extensions:
        if extension.extn_id in known:
            if extension.extn_id != NONCE:
                check_der(extension.extn_value)
        elif extension.critical:
            raise MalformedRequest(f"unknown critical extension {extension.extn_id.dotted_string}")


def _nonce(value: bytes) -> bytes | None:
    """Return the nonce as it is to be echoed, or None if it is bare."""
    try:
        size = len(asn1.decode_der(bytes, value))
    except ValueError:
        if _is_octet_string_in_ber(value):
            raise MalformedRequest("nonce is not in DER") from None
        size, value_or_none = len(value), None
    else:
        value_or_none = value
    if not 1 <= size <= MAX_NONCE:
        raise MalformedRequest(f"nonce of {size} octets; 1 to {MAX_NONCE} are allowed")
    return value_or_none


def _is_octet_string_in_ber(value: bytes) -> bool:
    """Whether octets that are not an OCTET STRING in DER begin with one in BER, rather than being a bare nonce."""
    if len(value) < 2 or value[0] & ~_CONSTRUCTED != _OCTET_STRING:
        return False
    short, long = divmod(value[1], 0x80)
    if short == 0:
        return 2 + long <= len(value)
    return 2 + long + int.from_bytes(value[2 : 2 + long]) <= len(value)


def _signature(der: bytes, requestor_name: bytes | None) -> RequestSignature:
    request = asn1.decode_der(types.SignedRequest, der)
    signature = request.optional_signature
    algorithm = _encoded(signature.signature_algorithm)
    _check_algorithm(algorithm)
    certificates = tuple(_encoded(certificate) for certificate in signature.certs or ())
    for certificate in certificates:
        if certificate[0] != _SEQUENCE:
            raise MalformedRequest("not a certificate")
        check_der(certificate)
    return RequestSignature(
        _encoded(request.tbs_request), algorithm, signature.signature.as_bytes(), certificates, requestor_name
    )


def _encoded(value: asn1.TLV) -> bytes:
    """Return tag, length and content. Lengths are minimal in what was decoded, so these are the octets received."""
    return asn1.encode_der(value)
