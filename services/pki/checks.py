"""The last look at a draft before it is signed: the rules again, from the result and not from the request (R104).

A failure here is a mistake of ours: `CheckFailed` is not a DomainError, and callers are told nothing of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from services.pki.csr import check_public_key
from services.pki.profiles import OCSP_RESPONDER
from services.pki.serials import MAX_OCTETS

if TYPE_CHECKING:
    from services.pki.certificates import Draft
    from services.pki.issuers import Issuer

_MIN_SERIAL_OCTETS = 8
_ALLOWED = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
        ExtensionOID.OCSP_NO_CHECK,
    }
)
_ALWAYS = frozenset(
    {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
    }
)
# R66: what a delegate must not have.
_NOT_IN_DELEGATES = frozenset(
    {
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        ExtensionOID.CRL_DISTRIBUTION_POINTS,
    }
)
_ALWAYS_CRITICAL = frozenset({ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS})


class CheckFailed(Exception):
    """A draft broke a rule that `prepare` should have kept."""


def check(draft: Draft, issuer: Issuer) -> None:
    """Check a draft against the rules once more.

    1. serial number (R89)  2. dates (R91, R93)  3. key (R102)  4. extensions: which, and which critical (R95)
    5. usages (R69, R99, R100)  6. authority key identifier (R96)  7. names (R101, R105)

    Raises CheckFailed.
    """
    _check_serial(draft.serial)
    _check_dates(draft, issuer)
    _check_key(draft, issuer)
    values = _check_extensions(draft)
    _check_usages(draft, values)
    if values[ExtensionOID.AUTHORITY_KEY_IDENTIFIER] != issuer.authority_key_identifier:
        _fail("authority key identifier")
    _check_names(draft, values)


def _fail(what: str) -> NoReturn:
    raise CheckFailed(f"not signed, because a rule is broken: {what}")


def _check_serial(serial: bytes) -> None:
    if not _MIN_SERIAL_OCTETS <= len(serial) <= MAX_OCTETS or not serial[0]:
        _fail("serial number")
    if len(serial) == MAX_OCTETS and serial[0] >= 0x80:
        _fail("serial number of 21 octets in DER")


def _check_dates(draft: Draft, issuer: Issuer) -> None:
    if not (_is_exact(draft.not_before) and _is_exact(draft.not_after)):
        _fail("dates in UTC and whole seconds")
    if not issuer.not_before <= draft.not_before <= draft.not_after <= issuer.not_after:
        _fail("dates within those of the issuer")


def _is_exact(moment: datetime) -> bool:
    return moment.tzinfo is UTC and not moment.microsecond


def _check_key(draft: Draft, issuer: Issuer) -> None:
    check_public_key(draft.public_key_der, "public_key")
    if draft.public_key_der == issuer.public_key_der:
        _fail("key of the issuer")


def _check_extensions(draft: Draft) -> dict[x509.ObjectIdentifier, x509.ExtensionType]:
    values = {extension.oid: extension.value for extension in draft.extensions}
    if len(values) != len(draft.extensions) or not values.keys() <= _ALLOWED or not values.keys() >= _ALWAYS:
        _fail("extensions")
    for extension in draft.extensions:
        critical = extension.oid in _ALWAYS_CRITICAL or (
            extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME and not draft.subject.rdns
        )
        if extension.critical is not critical:
            _fail(f"criticality of {extension.oid._name}")
    return values


def _check_usages(draft: Draft, values: dict[x509.ObjectIdentifier, x509.ExtensionType]) -> None:
    usage = values[ExtensionOID.KEY_USAGE]
    if not isinstance(usage, x509.KeyUsage) or usage.key_cert_sign or usage.crl_sign or not usage.digital_signature:
        _fail("key usage")
    if usage.key_encipherment and not isinstance(draft.public_key, rsa.RSAPublicKey):
        _fail("key encipherment on a key that cannot")
    constraints = values.get(ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        _fail("basic constraints")
    purposes = values[ExtensionOID.EXTENDED_KEY_USAGE]
    if not isinstance(purposes, x509.ExtendedKeyUsage) or tuple(purposes) != draft.profile.extended_key_usages:
        _fail("extended key usage")
    _check_delegate(draft, values, ExtendedKeyUsageOID.OCSP_SIGNING in purposes)


def _check_delegate(draft: Draft, values: dict[x509.ObjectIdentifier, x509.ExtensionType], signs_ocsp: bool) -> None:
    is_delegate = draft.profile.name == OCSP_RESPONDER
    if signs_ocsp is not is_delegate or (ExtensionOID.OCSP_NO_CHECK in values) is not is_delegate:
        _fail("OCSP signing and nocheck belong to delegates alone")
    if is_delegate and (values.keys() & _NOT_IN_DELEGATES or not draft.subject.rdns):
        _fail("names or addresses in a delegate")


def _check_names(draft: Draft, values: dict[x509.ObjectIdentifier, x509.ExtensionType]) -> None:
    names = values.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if (names is None) != (not draft.sans) or (names is None and not draft.subject.rdns):
        _fail("subject alternative names")
    if any(len(list(rdn)) != 1 for rdn in draft.subject.rdns):
        _fail("one attribute in each RDN")
    if draft.profile.subject_policy == "cn-only":
        allowed = (*draft.sans.dns, *draft.sans.ip)
        if any(item.oid != NameOID.COMMON_NAME or item.value not in allowed for item in draft.subject):
            _fail("common name among the names")
