"""The last look at a draft before it is signed: the rules again, from the result and not from the request (R104).

A failure here is a mistake of ours: `CheckFailed` is not a DomainError, and callers are told nothing of it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID, NameOID

from services.pki.csr import check_public_key
from services.pki.extensions import NO_REVOCATION_AVAILABLE
from services.pki.issuer_limits import name_problems
from services.pki.profile import OCSP_RESPONDER
from services.pki.serials import MAX_OCTETS
from services.pki.validity import BACK_DATING, SECOND, SHORT_LIVED, longest_validity

if TYPE_CHECKING:
    from services.pki.certificates import Draft
    from services.pki.issuers import Issuer

_Values = dict[x509.ObjectIdentifier, x509.ExtensionType]

_MIN_SERIAL_OCTETS = 8
_ALWAYS = frozenset({ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.KEY_USAGE})
_IN_LEAVES = _ALWAYS | {
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.TLS_FEATURE,
    NO_REVOCATION_AVAILABLE,
}
_IN_CAS = _ALWAYS | {
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.CERTIFICATE_POLICIES,
}
# R66. It says nothing of where to ask about it, and has no other names.
_IN_DELEGATES = _ALWAYS | {
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.OCSP_NO_CHECK,
}
_ALWAYS_CRITICAL = frozenset({ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.NAME_CONSTRAINTS})
_RSA_ONLY = ("key_encipherment", "data_encipherment")


class CheckFailed(Exception):
    """A draft broke a rule that `prepare` should have kept."""


def check(draft: Draft, issuer: Issuer) -> None:
    """Check a draft against the rules once more.

    1. serial number (R89)  2. dates (R91 to R93)  3. key (R102)  4. extensions: which, and which critical (R95)
    5. usages (R69, R99, R100)  6. authority key identifier (R96)  7. names (R101, R105)
    8. revocation: what is said of it does not contradict itself (R66, R118, R119)
    9. nothing that the certificate of the issuer rules out

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
    _check_revocation(draft, values)
    _check_issuer(draft, values, issuer)


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
    # A default that ends with its issuer may be shorter than the profile's least; nothing may be longer.
    longest = longest_validity(draft.profile, draft.not_before + BACK_DATING)
    if draft.not_after - draft.not_before + SECOND > longest:
        _fail("validity within what the profile allows")


def _is_exact(moment: datetime) -> bool:
    return moment.tzinfo is UTC and not moment.microsecond


def _check_key(draft: Draft, issuer: Issuer) -> None:
    if check_public_key(draft.public_key_der, "public_key") not in draft.profile.key_types:
        _fail("type of the key")
    if draft.public_key_der == issuer.public_key_der:
        _fail("key of the issuer")


def _check_extensions(draft: Draft) -> _Values:
    values = {extension.oid: extension.value for extension in draft.extensions}
    if len(values) != len(draft.extensions) or not values.keys() <= _allowed(draft) or not values.keys() >= _ALWAYS:
        _fail("extensions")
    for extension in draft.extensions:
        critical = extension.oid in _ALWAYS_CRITICAL or (
            extension.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME and not draft.subject.rdns
        )
        if extension.critical is not critical:
            _fail(f"criticality of {extension.oid._name}")
    return values


def _allowed(draft: Draft) -> frozenset[x509.ObjectIdentifier]:
    if draft.profile.authority is not None:
        return _IN_CAS
    return _IN_DELEGATES if draft.profile.name == OCSP_RESPONDER else _IN_LEAVES


def _check_usages(draft: Draft, values: _Values) -> None:
    is_ca = draft.profile.authority is not None
    usage = values[ExtensionOID.KEY_USAGE]
    if not isinstance(usage, x509.KeyUsage) or usage.key_cert_sign is not is_ca or usage.crl_sign is not is_ca:
        _fail("key usage")
    if any(getattr(usage, each) for each in _RSA_ONLY) and not isinstance(draft.public_key, rsa.RSAPublicKey):
        _fail("key encipherment on a key that cannot")
    if usage.key_agreement and not isinstance(draft.public_key, ec.EllipticCurvePublicKey):
        _fail("key agreement with a key that cannot")
    if not is_ca and "digital_signature" in draft.profile.key_usages and not usage.digital_signature:
        _fail("key usage")
    constraints = values.get(ExtensionOID.BASIC_CONSTRAINTS)
    if (isinstance(constraints, x509.BasicConstraints) and constraints.ca) is not is_ca:
        _fail("basic constraints")
    if is_ca and ExtensionOID.SUBJECT_KEY_IDENTIFIER not in values:
        _fail("a CA without a subject key identifier")
    purposes = values.get(ExtensionOID.EXTENDED_KEY_USAGE, ())
    if not isinstance(purposes, x509.ExtendedKeyUsage | tuple):
        _fail("extended key usage")
    if tuple(purposes) != draft.profile.extended_key_usages or not (tuple(purposes) or is_ca):
        _fail("extended key usage")
    _check_delegate(draft, values, ExtendedKeyUsageOID.OCSP_SIGNING in purposes)


def _check_delegate(draft: Draft, values: _Values, signs_ocsp: bool) -> None:
    is_delegate = draft.profile.name == OCSP_RESPONDER
    if signs_ocsp is not is_delegate or (ExtensionOID.OCSP_NO_CHECK in values) is not is_delegate:
        _fail("OCSP signing and nocheck belong to delegates alone")
    if is_delegate and not draft.subject.rdns:
        _fail("a delegate without a name")


def _check_names(draft: Draft, values: _Values) -> None:
    names = values.get(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    if (names is None) != (not draft.sans) or (names is None and not draft.subject.rdns):
        _fail("subject alternative names")
    if any(len(list(rdn)) != 1 for rdn in draft.subject.rdns):
        _fail("one attribute in each RDN")
    if draft.profile.authority is not None and not draft.subject.rdns:
        _fail("a CA without a name")
    fixed = {attribute.oid: attribute.value for attribute in draft.profile.subject_set}
    if any(item.value != fixed[item.oid] for item in draft.subject if item.oid in fixed):
        _fail("what the profile sets in the subject")
    if draft.profile.subject_policy in ("cn-only", "none"):
        allowed = (*draft.sans.dns, *draft.sans.ip)
        others = [item for item in draft.subject if item.oid not in fixed]
        if any(item.oid != NameOID.COMMON_NAME or item.value not in allowed for item in others):
            _fail("common name among the names")


def _check_revocation(draft: Draft, values: _Values) -> None:
    access = values.get(ExtensionOID.AUTHORITY_INFORMATION_ACCESS, ())
    descriptions = list(access) if isinstance(access, x509.AuthorityInformationAccess) else []
    names_responder = any(each.access_method == AuthorityInformationAccessOID.OCSP for each in descriptions)
    if ExtensionOID.TLS_FEATURE in values and not names_responder:
        _fail("a stapled answer is demanded, and no responder named")
    if NO_REVOCATION_AVAILABLE not in values:
        return
    if names_responder or values.keys() & {ExtensionOID.CRL_DISTRIBUTION_POINTS, ExtensionOID.TLS_FEATURE}:
        _fail("no revocation available, and yet a place to ask")
    if draft.not_after - draft.not_before + SECOND > SHORT_LIVED:
        _fail("no revocation available for longer than seven days")


def _check_issuer(draft: Draft, values: _Values, issuer: Issuer) -> None:
    limits = issuer.limits
    constraints = values.get(ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca and limits.path_length is not None:
        length = constraints.path_length
        if length is None or length >= limits.path_length:
            _fail("path length within that of the issuer")
    features = values.get(ExtensionOID.TLS_FEATURE, ())
    if not limits.tls_features <= set(features if isinstance(features, x509.TLSFeature) else ()):
        _fail("TLS features of the issuer")
    if name_problems(limits, draft.profile, draft.subject, draft.sans):
        _fail("names within the constraints of the issuer")
