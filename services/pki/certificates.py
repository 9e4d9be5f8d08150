"""Issuing, in three steps. Nothing is signed that was not checked.

1. `prepare` decides everything: names, validity, extensions. What is wrong with a request is said here.
2. `check` goes through the finished draft once more, independently (`services.pki.checks`).
3. `sign` puts the signature under exactly that draft.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.x509.oid import NameOID

from services.errors import InvalidArgument
from services.pki.checks import CheckFailed, check
from services.pki.csr import CertificateRequest, RequestedNames, SubjectPublicKey
from services.pki.encoding import signed, signed_part
from services.pki.extensions import (
    AnyExtension,
    AuthorityUrls,
    extension,
    extensions_of,
    key_usage,
    subject_key_identifier,
)
from services.pki.findings import Findings, Objections
from services.pki.issuer_limits import ISSUER_FIELD, require_within
from services.pki.issuers import Issuer, PrivateKey
from services.pki.name_rules import ANY_NAMES
from services.pki.names import SubjectAlternativeNames, check_names, field_of_name
from services.pki.profile import KEY_TYPES, NAME_KINDS, Profile
from services.pki.subjects import NAMES_FIELD, decide_names
from services.pki.validity import BACK_DATING, Cap, ValidityBounds, ValidityPolicy, decide_period

__all__ = [
    "BACK_DATING",
    "AuthorityUrls",
    "CheckFailed",
    "Draft",
    "Issuer",
    "PrivateKey",
    "Wishes",
    "check",
    "extension",
    "judge",
    "key_usage",
    "prepare",
    "sign",
    "sign_with",
    "subject_key_identifier",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A certificate with everything decided, not signed yet."""

    profile: Profile
    subject: x509.Name
    sans: SubjectAlternativeNames
    public_key: SubjectPublicKey
    public_key_der: bytes
    serial: bytes
    not_before: datetime
    not_after: datetime
    extensions: tuple[AnyExtension, ...]

    @property
    def subject_text(self) -> str:
        """The subject as text (RFC 4514); empty for an empty subject."""
        return self.subject.rfc4514_string()

    @property
    def common_name(self) -> str | None:
        """The common name, if there is one."""
        found = self.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if found else None

    @property
    def public_key_sha256(self) -> bytes:
        """SHA-256 of the SubjectPublicKeyInfo: finds certificates of the same key (R103)."""
        return sha256(self.public_key_der).digest()


def prepare(
    *,
    profile: Profile,
    issuer: Issuer,
    request: CertificateRequest,
    serial: bytes,
    now: datetime,
    urls: AuthorityUrls,
    trust_domain: str,
    sans: SubjectAlternativeNames | None = None,
    not_after: datetime | None = None,
    validity: timedelta | None = None,
) -> Draft:
    """Decide everything about a certificate.

    `sans`, if not None, replaces the names of the request. `not_after` is the last second of the validity; `validity`
    the length from `now` on, counting its last second (R92); at most one of them, and the profile's default if neither.
    A default is cut to what is left of the issuer; what was asked for is refused beyond it (R93).

    Raises InvalidArgument with everything that is wrong: NAME_INVALID, NAME_RESERVED, NAME_NOT_ALLOWED, TOO_MANY_NAMES,
    NAMES_MISSING, SUBJECT_INVALID, KEY_NOT_ALLOWED, KEY_TYPE_NOT_ALLOWED, KEY_TOO_SMALL, KEY_TOO_LARGE,
    VALIDITY_INVALID, VALIDITY_TOO_LONG, VALIDITY_TOO_SHORT, VALIDITY_BEYOND_ISSUER, ISSUER_CONSTRAINED.
    FailedPrecondition: ISSUER_EXPIRED, ISSUER_NOT_ACTIVE.
    """
    wishes = Wishes(now, trust_domain, sans, not_after, validity)
    findings = Findings()
    with findings:
        check_key(profile, issuer, request)
    period = named = None
    with findings:
        period = _period(profile, issuer, wishes)
    with findings:
        named = decide_names(profile, issuer, request, sans, trust_domain)
    with findings:
        require_within(issuer.limits, profile, *(named or _NOTHING), wishes.places(request))
    findings.settle()
    if period is None or named is None:
        raise RuntimeError("something was not decided, and nobody said why")
    subject, names = named
    path_length = issuer.limits.path_length_below(profile)
    return Draft(
        profile=profile,
        subject=subject,
        sans=names,
        public_key=request.public_key,
        public_key_der=request.public_key_der,
        serial=serial,
        not_before=period[0],
        not_after=period[1],
        extensions=extensions_of(
            profile, issuer, request.key_type, request.public_key_der, subject, names, urls, path_length
        ),
    )


@dataclass(frozen=True, slots=True)
class Wishes:
    """What decides about a certificate, beside its profile, its issuer and the request."""

    now: datetime
    trust_domain: str
    sans: SubjectAlternativeNames | None
    not_after: datetime | None
    validity: timedelta | None

    def places(self, request: RequestedNames | None) -> Callable[[str, str], str]:
        """Where a name comes from, as `issuer_limits.require_within` wants it."""

        def place(kind: str, name: str) -> str:
            if kind == "subject":  # much of it may be the profile's
                return ISSUER_FIELD
            if request is not None and (self.sans is None or kind == "common name"):
                return request.field
            return field_of_name(self.sans or SubjectAlternativeNames(), kind, name, NAMES_FIELD)

        return place


def judge(
    profile: Profile | None,
    issuer: Issuer | None,
    request: RequestedNames | None,
    wishes: Wishes,
    objections: Objections,
) -> None:
    """Find what `prepare` would have against a request, as far as that can be told without those that are None.

    A profile or issuer that there is not is taken for one without limits. Of a request that is no CertificateRequest,
    the names are looked at, and not the key.
    """
    if isinstance(request, CertificateRequest):
        with objections:
            check_key(profile, issuer, request)
    with objections:
        _period(profile or _ANY_LENGTH, issuer or _ALWAYS, wishes)
    named = None
    with objections:
        if profile is not None and request is not None:
            named = decide_names(profile, issuer, request, wishes.sans, wishes.trust_domain)
        else:
            _check_spelling(profile, request, wishes)
    if profile is not None and issuer is not None:
        with objections:
            require_within(issuer.limits, profile, *(named or _NOTHING), wishes.places(request))


_NOTHING = (x509.Name([]), SubjectAlternativeNames())


@dataclass(frozen=True, slots=True)
class _AnyLength:
    """What is said of validities where there is no profile: nothing."""

    name: str = ""
    default_validity: timedelta = timedelta(days=1)
    max_validity: timedelta = timedelta.max
    min_validity: timedelta = timedelta(0)
    caps: tuple[Cap, ...] = ()
    cut_to_issuer: bool = False


@dataclass(frozen=True, slots=True)
class _Always:
    """The validity of an issuer that there is not."""

    not_before: datetime = datetime(1, 1, 1, tzinfo=UTC)
    not_after: datetime = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


_ANY_LENGTH = _AnyLength()
_ALWAYS = _Always()


def _period(profile: ValidityPolicy, issuer: ValidityBounds, wishes: Wishes) -> tuple[datetime, datetime]:
    now = wishes.now.astimezone(UTC).replace(microsecond=0)
    return decide_period(profile, issuer, now, wishes.not_after, wishes.validity)


def _check_spelling(profile: Profile | None, request: RequestedNames | None, wishes: Wishes) -> None:
    """Raise InvalidArgument for names that are none; where there is a profile, for those that it does not take."""
    asked = request.sans if wishes.sans is None and request is not None else wishes.sans
    check_names(
        asked or SubjectAlternativeNames(),
        allowed_kinds=NAME_KINDS if profile is None else profile.allowed_name_kinds,
        trust_domain=wishes.trust_domain,
        rules=ANY_NAMES if profile is None else profile.name_rules,
        field=NAMES_FIELD if wishes.sans is not None or request is None else request.field,
        indexed=wishes.sans is not None,
    )


def check_key(profile: Profile | None, issuer: Issuer | None, request: CertificateRequest) -> None:
    """Raise InvalidArgument for a key that is in order, but not for this profile, or the issuer's own."""
    if issuer is not None and request.public_key_der == issuer.public_key_der:
        raise InvalidArgument("KEY_NOT_ALLOWED", "this is the key of the CA itself", field=request.field)
    if profile is None:
        return
    if request.key_type not in profile.key_types:
        allowed = ", ".join(kind for kind in KEY_TYPES if kind in profile.key_types)
        text = f"the profile {profile.name} takes keys of the types {allowed}; this is {request.key_type}"
        raise InvalidArgument("KEY_TYPE_NOT_ALLOWED", text, field=request.field)
    if request.key_type != "rsa":
        return
    if request.key_bits < profile.min_rsa_bits:
        text = f"the profile {profile.name} wants RSA keys of {profile.min_rsa_bits} bits or more"
        raise InvalidArgument("KEY_TOO_SMALL", text, field=request.field)
    if request.key_bits > profile.max_rsa_bits:
        text = f"the profile {profile.name} takes RSA keys of {profile.max_rsa_bits} bits at most"
        raise InvalidArgument("KEY_TOO_LARGE", text, field=request.field)


def sign(draft: Draft, issuer: Issuer) -> bytes:
    """Sign a draft, which must have been through `check`: the certificate (DER)."""
    return sign_with(issuer.private_key, draft, issuer)


def sign_with(key: PrivateKey, draft: Draft, issuer: Issuer) -> bytes:
    """Exactly what is going to be signed, with a signature by `key`, which may be another of the issuer's kind."""
    part = signed_part(
        serial=draft.serial,
        issuer=issuer,
        not_before=draft.not_before,
        not_after=draft.not_after,
        subject=draft.subject,
        public_key_der=draft.public_key_der,
        extensions=draft.extensions,
    )
    return signed(part, issuer, key)
