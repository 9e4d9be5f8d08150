"""Full revocation lists that others have signed: read as a whole, or refused with what keeps them from being served.

A list that is served as an issuer's full one tells of every certificate of that issuer, and of no other: relying
parties take what is not in it for good. So whatever restricts a list, or might, is refused (RFC 5280, sections 5.2, 5.3
and 6.3.3; R112).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from services.pki import der as parts_of
from services.pki.serials import MAX_OCTETS
from services.pki.unreadable import UNREADABLE

_FULL_MEANS = "a full list is wanted, with every revoked certificate of the issuer, and without that extension"


@dataclass(frozen=True, slots=True)
class FullList:
    """What a list says."""

    number: int
    this_update: datetime
    next_update: datetime
    serials: frozenset[bytes]
    """Of all its entries, without zeros in front."""


def read_full_list(der: bytes, name: str, authority: x509.Certificate) -> FullList:
    """Read the full list of an issuer with that name, which `authority` is a certificate of.

    Raises ValueError with a sentence that says what is wrong.
    """
    try:
        crl = x509.load_der_x509_crl(der)
        sound = crl.is_signature_valid(authority.public_key())  # type: ignore[arg-type]
        # Not `crl.issuer`: the library reads no name with a string that it does not know (R106 wants equal octets).
        by_issuer = parts_of.crl_issuer_der(der) == parts_of.subject_der(authority)
        extensions = list(crl.extensions)
    except UNREADABLE as error:
        raise ValueError(f"not a revocation list that can be served: {error}") from error
    if not (sound and by_issuer):
        raise ValueError(f"the list is not signed by issuer {name}")
    for extension in extensions:
        _require_unrestricted(extension)
    number = next((each.value.crl_number for each in extensions if isinstance(each.value, x509.CRLNumber)), None)
    if number is None or crl.next_update_utc is None:
        lacking = "number (R108)" if number is None else "nextUpdate (R106)"
        raise ValueError(f"not a revocation list that can be served: a CRL without {lacking}")
    try:
        serials = frozenset(_serial(entry) for entry in crl)
    except UNREADABLE as error:
        raise ValueError(f"an entry of the list cannot be served: {error}") from error
    return FullList(number, crl.last_update_utc, crl.next_update_utc, serials)


def _require_unrestricted(extension: x509.Extension[x509.ExtensionType]) -> None:
    value = extension.value
    if isinstance(value, x509.DeltaCRLIndicator):
        raise ValueError("it is a delta, which tells only what has changed: the full list is wanted")
    if isinstance(value, x509.IssuingDistributionPoint):
        raise ValueError(f"{_restriction(value)} (issuingDistributionPoint): {_FULL_MEANS}")
    if extension.critical and isinstance(value, x509.UnrecognizedExtension):
        raise ValueError(f"its critical extension {extension.oid.dotted_string} is not known here: {_FULL_MEANS}")


def _restriction(point: x509.IssuingDistributionPoint) -> str:
    """In words, what is in such a list, or not."""
    if point.indirect_crl:
        return "it is an indirect list, which may be of other CAs, too"
    if point.only_contains_attribute_certs:
        return "it is of attribute certificates only"
    if point.only_contains_user_certs:
        return "it is of certificates that are none of CAs only"
    if point.only_contains_ca_certs:
        return "it is of certificates of CAs only"
    if point.only_some_reasons:
        return "it is of some reasons only"
    return "it is of those certificates only that name its distribution point"


def _serial(entry: x509.RevokedCertificate) -> bytes:
    number = entry.serial_number
    serial = number.to_bytes((number.bit_length() + 7) // 8) if number > 0 else b""
    if not 1 <= len(serial) <= MAX_OCTETS:
        raise ValueError("a serial number is positive and at most 20 octets long")
    for extension in entry.extensions:
        value = extension.value
        if isinstance(value, x509.CertificateIssuer):
            raise ValueError(f"{serial.hex()} is of another CA")
        if isinstance(value, x509.CRLReason) and value.reason is x509.ReasonFlags.remove_from_crl:
            raise ValueError(f"{serial.hex()} is removed from the list, which only a delta says")
        if extension.critical and isinstance(value, x509.UnrecognizedExtension):
            raise ValueError(f"{serial.hex()} has a critical extension {extension.oid.dotted_string}, not known here")
    return serial
