"""Which names a certificate gets: its subject and its subject alternative names, by the policy of the profile.

- `cn-only`: the common name is one of the subject alternative names, or there is none (R101). Names that the caller
  gives replace those in the request. Where there are no names at all, a common name that is a DNS name becomes one.
  A common name that is not among the names gives way to the first DNS name that fits into 64 characters.
- `keep`: the request's standard attributes, each checked, in the usual order, one in each RDN (R105). Others are
  refused. An emailAddress moves to the subject alternative names, where RFC 5280 (4.1.2.6) wants it, unless the
  caller gave names. Where the profile says which to keep, the others are left out.
- `none`: nothing of the request's subject.
- `ca-sets`: the CA names its delegate after itself (R66).

What the profile sets itself takes the place of what the request says.
"""

from __future__ import annotations

import re
from collections import Counter

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.errors import InvalidArgument
from services.pki.csr import RequestedNames
from services.pki.issuers import Issuer
from services.pki.names import SubjectAlternativeNames, check_names, is_dns_name
from services.pki.profile import Profile

NAMES_FIELD = "subject_alternative_names"
MAX_COMMON_NAME = 64
_EMPTY = x509.Name([])
_MAX_ATTRIBUTES = 20
_DELEGATE_SUFFIX = " OCSP responder"
_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]+", re.ASCII)
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)

# In this order (baseline requirements 7.1.4.2), with the longest value in bytes (upper bounds of RFC 5280, A.1).
_ATTRIBUTES = {
    NameOID.DOMAIN_COMPONENT: 63,
    NameOID.COUNTRY_NAME: 2,
    NameOID.STATE_OR_PROVINCE_NAME: 128,
    NameOID.LOCALITY_NAME: 128,
    NameOID.POSTAL_CODE: 40,
    NameOID.STREET_ADDRESS: 128,
    NameOID.ORGANIZATION_NAME: 64,
    NameOID.ORGANIZATIONAL_UNIT_NAME: 64,
    NameOID.TITLE: 64,
    NameOID.SURNAME: 64,
    NameOID.GIVEN_NAME: 64,
    NameOID.USER_ID: 256,
    NameOID.SERIAL_NUMBER: 64,
    NameOID.COMMON_NAME: MAX_COMMON_NAME,
}
_ORDER = {oid: place for place, oid in enumerate(_ATTRIBUTES)}
_REPEATABLE = frozenset(
    {
        NameOID.DOMAIN_COMPONENT,
        NameOID.STREET_ADDRESS,
        NameOID.ORGANIZATION_NAME,
        NameOID.ORGANIZATIONAL_UNIT_NAME,
    }
)


def decide_names(
    profile: Profile,
    issuer: Issuer | None,
    request: RequestedNames,
    given: SubjectAlternativeNames | None,
    trust_domain: str,
) -> tuple[x509.Name, SubjectAlternativeNames]:
    """Return the subject and the checked names. `given` are those that the caller asks for beside the request.

    Without an issuer, it is checked all the same what does not depend on it.

    Raises InvalidArgument: NAMES_MISSING, SUBJECT_INVALID, and what `check_names` raises.
    """
    if profile.subject_policy == "ca-sets":
        if given:
            raise InvalidArgument("NAME_NOT_ALLOWED", "the CA sets the names of this profile", field=NAMES_FIELD)
        return _delegate_name(issuer.name) if issuer else _EMPTY, SubjectAlternativeNames()
    sans = request.sans if given is None else given
    if profile.subject_policy in ("cn-only", "none"):
        subject, names = _cn_only(profile, request, sans, trust_domain, given=given is not None)
        if not profile.subject_set:  # one of the names, or nothing: it looks like no CA
            return subject, names
    else:
        subject, names = _keep(profile, request, sans, trust_domain, given=given is not None)
    if issuer and subject in (issuer.name, _delegate_name(issuer.name)):
        # To a reader that goes by names alone it would be the CA, or its responder.
        text = "the subject is that of the issuer, or of its OCSP responder"
        raise InvalidArgument("SUBJECT_INVALID", text, field=request.field)
    return subject, names


def _cn_only(
    profile: Profile,
    request: RequestedNames,
    sans: SubjectAlternativeNames | None,
    trust_domain: str,
    *,
    given: bool,
) -> tuple[x509.Name, SubjectAlternativeNames]:
    common_name = _common_name(request)
    if not sans and not given and common_name and is_dns_name(common_name):
        sans = SubjectAlternativeNames(dns=(common_name,))
    names = _checked(profile, request, sans, trust_domain, given=given)
    if not names:
        text = "no names: neither subject alternative names, nor a common name that is a DNS name"
        raise InvalidArgument("NAMES_MISSING", text, field=NAMES_FIELD if given else request.field)
    chosen = _fitting_common_name(common_name, names) if profile.subject_policy == "cn-only" else None
    return _with_set(profile, [(NameOID.COMMON_NAME, chosen)] if chosen else []), names


def _fitting_common_name(asked: str | None, names: SubjectAlternativeNames) -> str | None:
    if asked is None:
        return None
    if asked.lower() in names.dns:
        return asked.lower()
    if asked in names.ip:
        return asked
    return next((name for name in names.dns if len(name) <= MAX_COMMON_NAME), None)


def _keep(
    profile: Profile,
    request: RequestedNames,
    sans: SubjectAlternativeNames | None,
    trust_domain: str,
    *,
    given: bool,
) -> tuple[x509.Name, SubjectAlternativeNames]:
    attributes = [
        (attribute.oid, _text(attribute, request.field))
        for attribute in request.subject
        if _is_kept(profile, attribute.oid)
    ]
    emails = tuple(value for oid, value in attributes if oid == NameOID.EMAIL_ADDRESS)
    if emails and not given:
        asked = sans or SubjectAlternativeNames()
        sans = SubjectAlternativeNames(asked.dns, asked.ip, (*asked.email, *emails), asked.uri, asked.other)
    names = _checked(profile, request, sans, trust_domain, given=given)
    kept = [pair for pair in attributes if pair[0] != NameOID.EMAIL_ADDRESS]
    _require_standard(kept, request.field)
    missing = profile.subject_required - {oid for oid, _ in kept} - {each.oid for each in profile.subject_set}
    if missing:
        text = f"the profile needs {' and '.join(sorted(map(_label, missing)))} in the subject"
        raise InvalidArgument("SUBJECT_INVALID", text, field=request.field)
    subject = _with_set(profile, kept)
    if not names and subject == _EMPTY:
        raise InvalidArgument("NAMES_MISSING", "no names: neither a subject nor alternative names", field=request.field)
    return subject, names


def _checked(
    profile: Profile,
    request: RequestedNames,
    sans: SubjectAlternativeNames | None,
    trust_domain: str,
    *,
    given: bool,
) -> SubjectAlternativeNames:
    return check_names(
        sans or SubjectAlternativeNames(),
        allowed_kinds=profile.allowed_name_kinds,
        trust_domain=trust_domain,
        rules=profile.name_rules,
        field=NAMES_FIELD if given else request.field,
        indexed=given,
    )


def _common_name(request: RequestedNames) -> str | None:
    found = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return _text(found[-1], request.field) if found else None  # The last is the most specific.


def _text(attribute: x509.NameAttribute[str | bytes], field: str) -> str:
    """The value as text without anything invisible: no NUL, no control or formatting characters (R116)."""
    value = attribute.value
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        problem = f"{_label(attribute.oid)} in the subject is not plain text"
        raise InvalidArgument("SUBJECT_INVALID", problem, field=field)
    return value


def _is_kept(profile: Profile, oid: x509.ObjectIdentifier) -> bool:
    # An email address is no attribute here: it becomes a name, which the profile has rules for.
    kept = profile.subject_kept
    return kept is None or oid in kept or (oid == NameOID.EMAIL_ADDRESS and "email" in profile.allowed_name_kinds)


def _require_standard(attributes: list[tuple[x509.ObjectIdentifier, str]], field: str) -> None:
    problem = subject_problem(attributes)
    if problem:
        raise InvalidArgument("SUBJECT_INVALID", problem, field=field)


def _with_set(profile: Profile, attributes: list[tuple[x509.ObjectIdentifier, str]]) -> x509.Name:
    """The subject in its order, with what the profile sets in the place of the same attributes."""
    if profile.subject_set:
        fixed = {attribute.oid: attribute.value for attribute in profile.subject_set}
        attributes = [*(pair for pair in attributes if pair[0] not in fixed), *fixed.items()]
    if not attributes:
        return _EMPTY
    ordered = sorted(attributes, key=lambda pair: _ORDER[pair[0]])
    return _one_each([x509.NameAttribute(oid, value) for oid, value in ordered])


def subject_problem(attributes: list[tuple[x509.ObjectIdentifier, str]]) -> str | None:
    """What is wrong with these attributes of a subject, or None."""
    if len(attributes) > _MAX_ATTRIBUTES:
        return f"the subject has more than {_MAX_ATTRIBUTES} attributes"
    for oid, count in Counter(oid for oid, _ in attributes).items():
        if oid not in _ATTRIBUTES:
            return f"the profile does not allow {_label(oid)} in the subject"
        if count > 1 and oid not in _REPEATABLE:
            return f"{_label(oid)} is more than once in the subject"
    return next((problem for oid, value in attributes if (problem := _value_problem(oid, value))), None)


def _value_problem(oid: x509.ObjectIdentifier, value: str) -> str | None:
    if oid == NameOID.COUNTRY_NAME and not _COUNTRY.fullmatch(value):
        return "countryName in the subject must be two capital letters"
    if len(value.encode()) > _ATTRIBUTES[oid]:
        return f"{_label(oid)} in the subject is longer than {_ATTRIBUTES[oid]} bytes"
    if oid == NameOID.SERIAL_NUMBER and not _PRINTABLE.fullmatch(value):
        return "serialNumber in the subject must be a PrintableString"
    if oid == NameOID.DOMAIN_COMPONENT and not value.isascii():
        return "domainComponent in the subject must be ASCII"
    return None


def _label(oid: x509.ObjectIdentifier) -> str:
    return oid._name if oid._name != "Unknown OID" else oid.dotted_string


def _delegate_name(issuer: x509.Name) -> x509.Name:
    """Country and organisation of the issuer, and its common name with what the delegate is for."""
    kept = [attribute for attribute in issuer if attribute.oid in (NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME)]
    own = issuer.get_attributes_for_oid(NameOID.COMMON_NAME) or issuer.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    base = str(own[-1].value) if own else "CA"
    cut = base.encode()[: MAX_COMMON_NAME - len(_DELEGATE_SUFFIX)].decode(errors="ignore")
    return _one_each([*kept, x509.NameAttribute(NameOID.COMMON_NAME, cut + _DELEGATE_SUFFIX)])


def _one_each(attributes: list[x509.NameAttribute[str | bytes]] | list[x509.NameAttribute[str]]) -> x509.Name:
    return x509.Name([x509.RelativeDistinguishedName([attribute]) for attribute in attributes])
