"""Certificate requests (PKCS #10, RFC 2986): any bytes become a `CertificateRequest` or a DomainError, in bounded time.

Only the key and the names are believed (R115); that the sender has the private key is proven (R114). In this order,
the cheap before the costly:

1. size, PEM to DER, structure, version;
2. algorithm, size and strength of the key, and whether everybody knows its private half;
3. string types in the subject, number of names;
4. the signature.

What is wrong in 2 to 4 is told at once, with one violation for each; the signature only of a key that is in order.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID, SignatureAlgorithmOID

from services.errors import DomainError, InvalidArgument
from services.known_keys import debian
from services.known_keys.lists import KeyList
from services.pki import der as parts_of
from services.pki.findings import Findings
from services.pki.names import SubjectAlternativeNames, refuse_too_many
from services.pki.profile import MAX_RSA_BITS, MIN_RSA_BITS
from services.pki.weak_keys import weakness_of_ed25519, weakness_of_ml_dsa, weakness_of_rsa

SubjectPublicKey: TypeAlias = (
    rsa.RSAPublicKey
    | ec.EllipticCurvePublicKey
    | ed25519.Ed25519PublicKey
    | mldsa.MLDSA44PublicKey
    | mldsa.MLDSA65PublicKey
    | mldsa.MLDSA87PublicKey
)

MAX_BYTES = 64 * 1024

_RSA = bytes.fromhex("300d06092a864886f70d0101010500")
# The whole AlgorithmIdentifier, so that explicit curve parameters and RSA keys bound to PSS fall out (R102).
_KEY_ALGORITHMS = {
    _RSA: "rsa",
    bytes.fromhex("301306072a8648ce3d020106082a8648ce3d030107"): "p256",
    bytes.fromhex("301006072a8648ce3d020106052b81040022"): "p384",
    bytes.fromhex("301006072a8648ce3d020106052b81040023"): "p521",
    bytes.fromhex("300506032b6570"): "ed25519",
    bytes.fromhex("300b0609608648016503040311"): "ml-dsa-44",
    bytes.fromhex("300b0609608648016503040312"): "ml-dsa-65",
    bytes.fromhex("300b0609608648016503040313"): "ml-dsa-87",
}
_CURVES = frozenset({"p256", "p384", "p521"})
# UTF8String, PrintableString, IA5String: the others (T61String, BMPString, ...) are read differently by everybody.
_STRING_TAGS = frozenset({0x0C, 0x13, 0x16})
_LENGTHS = {
    NameOID.COMMON_NAME: (1, 64),
    NameOID.COUNTRY_NAME: (2, 2),
    NameOID.JURISDICTION_COUNTRY_NAME: (2, 2),
}
_ECDSA: Mapping[x509.ObjectIdentifier, ec.ECDSA] = {
    SignatureAlgorithmOID.ECDSA_WITH_SHA256: ec.ECDSA(hashes.SHA256()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA384: ec.ECDSA(hashes.SHA384()),
    SignatureAlgorithmOID.ECDSA_WITH_SHA512: ec.ECDSA(hashes.SHA512()),
}
_WEAK_HASHES = (hashes.MD5, hashes.SHA1)
_PEM = re.compile(rb"-----BEGIN ((?:NEW )?CERTIFICATE REQUEST)-----([A-Za-z0-9+/=\s]*)-----END \1-----")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedNames:
    """The names in a certificate request, as asked for, not checked yet."""

    subject: x509.Name
    sans: SubjectAlternativeNames | None
    """None where the request carries no subjectAltName."""
    field: str
    """The field of the API request that it came in, for error messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest(RequestedNames):
    """What is believed of a certificate request."""

    der: bytes
    public_key: SubjectPublicKey
    public_key_der: bytes
    """SubjectPublicKeyInfo."""
    key_type: str
    """Out of `services.pki.profile.KEY_TYPES`."""
    key_bits: int
    """The size of an RSA key; 0 for others."""


class RequestRefused(InvalidArgument):
    """A certificate request that is refused although it could be read: `names` are what it asked for."""

    def __init__(self, cause: InvalidArgument, names: RequestedNames) -> None:
        super().__init__(cause.reason, cause.message, violations=cause.violations, metadata=cause.metadata)
        self.names = names


def read_csr(
    *,
    der: bytes | None = None,
    pem: str | bytes | None = None,
    field: str | None = None,
    known_keys: Sequence[KeyList] = (),
) -> CertificateRequest:
    """Read a certificate request, given as `der` or as `pem` (text around the PEM block is skipped).

    `field` is what violations name: `csr_der` or `csr_pem` unless said otherwise. Keys in `known_keys` are refused, as
    those are that come along (`services.known_keys`).
    Raises InvalidArgument: CSR_TOO_LARGE, CSR_MALFORMED, CSR_VERSION, KEY_TYPE_NOT_ALLOWED, KEY_TOO_SMALL,
    KEY_TOO_LARGE, KEY_WEAK, SUBJECT_INVALID, TOO_MANY_NAMES, CSR_SIGNATURE_INVALID. As RequestRefused, where the
    names could be read all the same.
    """
    if (der is None) == (pem is None):
        raise InvalidArgument("CSR_MALFORMED", "exactly one certificate request is needed", field=field or "csr_pem")
    place = field or ("csr_der" if pem is None else "csr_pem")
    try:
        return _read(der if der is not None else _from_pem(pem or b"", place), place, known_keys)
    except DomainError:
        raise
    except Exception as error:  # Whatever a library makes of hostile bytes: it is the sender's mistake, not ours.
        raise InvalidArgument("CSR_MALFORMED", "not a certificate request (PKCS #10) in DER", field=place) from error


def _from_pem(pem: str | bytes, field: str) -> bytes:
    data = pem if isinstance(pem, bytes) else pem.encode("utf-8", "replace")
    _refuse_large(data, field)
    blocks = list(islice(_PEM.finditer(data), 2))
    if len(blocks) > 1:
        text = "more than one certificate request in it: send the one that is meant"
        raise InvalidArgument("CSR_MALFORMED", text, field=field)
    if blocks:
        return binascii.a2b_base64(b"".join(blocks[0][2].split()), strict_mode=True)
    if b"PRIVATE KEY-----" in data:
        text = "this is a private key, not a certificate request: nobody but its owner may have it, so make a new one"
    else:
        text = "no block between BEGIN CERTIFICATE REQUEST and END CERTIFICATE REQUEST in it"
    raise InvalidArgument("CSR_MALFORMED", text, field=field)


def _refuse_large(data: bytes, field: str) -> None:
    if len(data) > MAX_BYTES:
        raise InvalidArgument("CSR_TOO_LARGE", f"a certificate request has at most {MAX_BYTES} bytes", field=field)


def _read(der: bytes, field: str, known_keys: Sequence[KeyList]) -> CertificateRequest:
    _refuse_large(der, field)
    parts = parts_of.request_parts(der)
    if parts.version != 0:
        raise InvalidArgument("CSR_VERSION", "the version of a certificate request is 0 (RFC 2986)", field=field)
    findings = Findings()
    key_type = None
    with findings:
        key_type = check_public_key(parts.public_key_der, field, known_keys)
    sound_subject = False
    with findings:
        check_subject_strings(parts.subject, field)
        sound_subject = True
    csr = x509.load_der_x509_csr(der)
    sans = _names_of(csr)
    with findings:
        refuse_too_many(len(sans or ()), field)
    public_key = None
    with findings:
        public_key = _loaded_key(csr, field) if key_type else None
    with findings:
        if public_key is not None:
            _check_possession(csr, public_key, field)
    if key_type is None or public_key is None or findings:
        # A subject with a finding of its own is not read any further.
        error = findings.error()
        names = RequestedNames(subject=csr.subject, sans=sans, field=field) if sound_subject else None
        raise RequestRefused(error, names) if names else error
    return CertificateRequest(
        subject=csr.subject,
        sans=sans,
        field=field,
        der=der,
        public_key=public_key,
        public_key_der=_encoded_key(public_key, parts.public_key_der),
        key_type=key_type,
        key_bits=public_key.key_size if isinstance(public_key, rsa.RSAPublicKey) else 0,
    )


def _encoded_key(public_key: SubjectPublicKey, given: bytes) -> bytes:
    """The key encoded anew: a point that came compressed stands uncompressed in the certificate."""
    if parts_of.is_plain_p256(given):
        return given  # there is one way to write it, and this is it
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _loaded_key(csr: x509.CertificateSigningRequest, field: str) -> SubjectPublicKey:
    try:
        public_key = csr.public_key()
    except ValueError:
        text = "this is no key: its point does not lie on its curve, or its octets are not those of its kind"
        raise InvalidArgument("KEY_WEAK", text, field=field) from None
    if not isinstance(public_key, SubjectPublicKey):
        raise _key_type(field)
    return public_key


def check_public_key(public_key_der: bytes, field: str, known_keys: Sequence[KeyList] = ()) -> str:
    """Check type, size and strength of a SubjectPublicKeyInfo (R102), before any library loads it. Return its type.

    It is neither one of those that Debian's broken OpenSSL made, nor in `known_keys`.

    Raises InvalidArgument (KEY_TYPE_NOT_ALLOWED, KEY_TOO_SMALL, KEY_TOO_LARGE, KEY_WEAK, on `field`), ValueError.
    """
    algorithm = parts_of.key_algorithm(public_key_der)
    if algorithm not in _KEY_ALGORITHMS:
        raise _key_type(field)
    if parts_of.unused_bits(public_key_der):
        # Another spelling of the same key: the hashes of a CertID, for one, could not tell them apart (R27).
        raise InvalidArgument("KEY_WEAK", "the bits of this key do not make whole octets", field=field)
    kind = _KEY_ALGORITHMS[algorithm]
    if kind in _CURVES:
        _refuse_known("EC", kind, parts_of.x_coordinate(public_key_der), field, known_keys)
    if algorithm != _RSA:
        weakness = _weakness(kind, public_key_der)
        if weakness:
            raise InvalidArgument("KEY_WEAK", f"this key is not safe: {weakness}", field=field)
        return kind
    modulus, exponent = parts_of.rsa_numbers(public_key_der)
    bits = modulus.bit_length()
    if bits < MIN_RSA_BITS:
        raise InvalidArgument("KEY_TOO_SMALL", f"RSA keys need {MIN_RSA_BITS} bits; this has {bits}", field=field)
    if bits > MAX_RSA_BITS:
        raise InvalidArgument("KEY_TOO_LARGE", f"RSA keys have at most {MAX_RSA_BITS} bits, not {bits}", field=field)
    weakness = "the size is not a multiple of 8 bits" if bits % 8 else weakness_of_rsa(modulus, exponent)
    if weakness:
        raise InvalidArgument("KEY_WEAK", f"this RSA key is not safe: {weakness}", field=field)
    _refuse_known("RSA", f"rsa-{bits}", modulus, field, known_keys)
    return kind


def _refuse_known(what: str, kind: str, number: int, field: str, known_keys: Sequence[KeyList]) -> None:
    """Refuse a key whose private half is known (6.1.1.3 of the baseline requirements)."""
    weakness = debian.WEAKNESS if debian.is_debians(kind, number) else ""
    for each in known_keys:
        if not weakness and each.holds(kind, number):
            weakness = f"its private key is known, says {each.name} (weak_key_lists); make a new key"
    if weakness:
        raise InvalidArgument("KEY_WEAK", f"this {what} key is not safe: {weakness}", field=field)


def _weakness(kind: str, public_key_der: bytes) -> str | None:
    if kind == "ed25519":
        return weakness_of_ed25519(parts_of.key_bits(public_key_der))
    return weakness_of_ml_dsa(parts_of.key_bits(public_key_der)) if kind.startswith("ml-dsa") else None


def check_subject_strings(attributes: Iterable[tuple[x509.ObjectIdentifier, int, int]], field: str) -> None:
    """Check the string types of a subject, and the lengths of those attributes whose lengths the library minds.

    Raises InvalidArgument (SUBJECT_INVALID, on `field`).
    """
    for oid, tag, length in attributes:
        if tag not in _STRING_TAGS:
            text = "the subject must consist of UTF8String, PrintableString and IA5String"
            raise InvalidArgument("SUBJECT_INVALID", text, field=field)
        shortest, longest = _LENGTHS.get(oid, (0, MAX_BYTES))
        if not shortest <= length <= longest:
            text = f"in the subject, {oid._name} must be {shortest} to {longest} bytes long, not {length}"
            raise InvalidArgument("SUBJECT_INVALID", text, field=field)


def _key_type(field: str) -> InvalidArgument:
    return InvalidArgument(
        "KEY_TYPE_NOT_ALLOWED",
        "a key is RSA (rsaEncryption), EC on the named curve P-256, P-384 or P-521, Ed25519, or ML-DSA-44, -65 or -87",
        field=field,
    )


def _names_of(csr: x509.CertificateSigningRequest) -> SubjectAlternativeNames | None:
    try:
        extension = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    return SubjectAlternativeNames.from_extension(extension.value)


def _check_possession(csr: x509.CertificateSigningRequest, public_key: SubjectPublicKey, field: str) -> None:
    """R114. A signature over SHA-1 or MD5 proves nothing: somebody else may have got it for another text."""
    try:
        sound = not isinstance(csr.signature_hash_algorithm, _WEAK_HASHES) and _is_signed(csr, public_key)
    except (UnsupportedAlgorithm, ValueError):
        sound = False
    if not sound:
        raise InvalidArgument(
            "CSR_SIGNATURE_INVALID",
            "the signature of the request does not prove possession of the key (or is made with SHA-1 or MD5)",
            field=field,
        )


def _is_signed(csr: x509.CertificateSigningRequest, public_key: SubjectPublicKey) -> bool:
    algorithm = _ECDSA.get(csr.signature_algorithm_oid)
    if algorithm is None or not isinstance(public_key, ec.EllipticCurvePublicKey):
        return csr.is_signature_valid
    # The same, without loading the key from the request once more.
    try:
        public_key.verify(csr.signature, csr.tbs_certrequest_bytes, algorithm)
    except InvalidSignature:
        return False
    return True
