"""Issuing, in three steps. Nothing is signed that was not checked.

1. `prepare` decides everything: names, validity, extensions. What is wrong with a request is said here.
2. `check` goes through the finished draft once more, independently (`services.pki.checks`).
3. `sign` puts the signature under exactly that draft.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha1, sha256

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from services.errors import FailedPrecondition, InvalidArgument
from services.pki.checks import CheckFailed, check
from services.pki.csr import CertificateRequest, SubjectPublicKey
from services.pki.der import key_bits
from services.pki.issuers import Issuer, PrivateKey
from services.pki.names import SubjectAlternativeNames
from services.pki.profiles import Profile
from services.pki.serials import serial_to_int
from services.pki.subjects import decide_names

__all__ = [
    "BACK_DATING",
    "AuthorityUrls",
    "CheckFailed",
    "Draft",
    "Issuer",
    "PrivateKey",
    "check",
    "extension",
    "key_usage",
    "prepare",
    "sign",
    "subject_key_identifier",
]

BACK_DATING = timedelta(seconds=60)
"""How long before now a certificate begins to be valid: clocks of relying parties may be a little behind."""

_SECOND = timedelta(seconds=1)

AnyExtension = x509.Extension[x509.ExtensionType]


@dataclass(frozen=True, slots=True)
class AuthorityUrls:
    """Where a relying party asks about the certificate (R97, R98). None leaves an entry out."""

    ocsp: str | None = None
    ca_issuers: str | None = None
    crl: str | None = None
    """The CRL distribution point."""


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

    Raises InvalidArgument: NAME_INVALID, NAME_RESERVED, NAME_NOT_ALLOWED, TOO_MANY_NAMES, NAMES_MISSING,
    SUBJECT_INVALID, KEY_NOT_ALLOWED, VALIDITY_INVALID, VALIDITY_TOO_LONG, VALIDITY_BEYOND_ISSUER. FailedPrecondition:
    ISSUER_EXPIRED, ISSUER_NOT_ACTIVE.
    """
    if request.public_key_der == issuer.public_key_der:
        raise InvalidArgument("KEY_NOT_ALLOWED", "this is the key of the CA itself", field=request.field)
    first, last = _period(profile, issuer, now.astimezone(UTC).replace(microsecond=0), not_after, validity)
    subject, names = decide_names(profile, issuer, request, sans, trust_domain)
    return Draft(
        profile=profile,
        subject=subject,
        sans=names,
        public_key=request.public_key,
        public_key_der=request.public_key_der,
        serial=serial,
        not_before=first,
        not_after=last,
        extensions=_extensions(profile, issuer, request, subject, names, urls),
    )


def sign(draft: Draft, issuer: Issuer) -> x509.Certificate:
    """Sign a draft, which must have been through `check`."""
    builder = x509.CertificateBuilder(
        issuer_name=issuer.name,
        subject_name=draft.subject,
        public_key=draft.public_key,
        serial_number=serial_to_int(draft.serial),
        # The builder's own setters, which these two bypass, would turn them into naive UTC in the same way.
        not_valid_before=draft.not_before.replace(tzinfo=None),
        not_valid_after=draft.not_after.replace(tzinfo=None),
        extensions=list(draft.extensions),
    )
    return builder.sign(issuer.private_key, issuer.hash_algorithm)  # type: ignore[arg-type]


def extension(value: x509.ExtensionType, *, critical: bool = False) -> AnyExtension:
    """An extension for a draft or builder."""
    return x509.Extension(value.oid, critical, value)


def key_usage(*, digital_signature: bool = True, key_encipherment: bool = False, ca: bool = False) -> x509.KeyUsage:
    """A KeyUsage. `ca` means keyCertSign and cRLSign (R99)."""
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def subject_key_identifier(public_key_der: bytes) -> x509.SubjectKeyIdentifier:
    """RFC 5280, section 4.2.1.2, method 1. A label: nothing depends on the strength of SHA-1 here."""
    return x509.SubjectKeyIdentifier(sha1(key_bits(public_key_der), usedforsecurity=False).digest())


def _period(
    profile: Profile, issuer: Issuer, now: datetime, not_after: datetime | None, validity: timedelta | None
) -> tuple[datetime, datetime]:
    if now > issuer.not_after:
        raise FailedPrecondition("ISSUER_EXPIRED", "the certificate of the issuer has expired")
    if now < issuer.not_before:
        raise FailedPrecondition("ISSUER_NOT_ACTIVE", "the certificate of the issuer is not valid yet")
    field = "not_after_time" if not_after is not None else "validity"
    first = max(now - BACK_DATING, issuer.not_before)
    last = _last_second(profile, first, not_after, validity, field)
    if last < now:
        raise InvalidArgument("VALIDITY_INVALID", "the certificate would have expired already", field=field)
    if last > issuer.not_after and not profile.cut_to_issuer and (not_after or validity):
        text = f"the certificate would outlive its issuer, which is valid until {issuer.not_after:%Y-%m-%dT%H:%M:%SZ}"
        raise InvalidArgument("VALIDITY_BEYOND_ISSUER", text, field=field)
    _check_length(profile, last - first + _SECOND, field)
    return first, min(last, issuer.not_after)


def _check_length(profile: Profile, length: timedelta, field: str) -> None:
    """`length` counts the first and the last second (R92)."""
    if length > profile.max_validity:
        text = f"the profile {profile.name} allows {profile.max_validity.days} days at most"
        raise InvalidArgument("VALIDITY_TOO_LONG", text, field=field)
    if length < profile.min_validity:
        seconds = int(profile.min_validity.total_seconds())
        text = f"the profile {profile.name} allows no less than {seconds} seconds"
        raise InvalidArgument("VALIDITY_TOO_SHORT", text, field=field)


def _last_second(
    profile: Profile, first: datetime, not_after: datetime | None, validity: timedelta | None, field: str
) -> datetime:
    if not_after is not None and validity is not None:
        raise InvalidArgument("VALIDITY_INVALID", "either the end of the validity or its length", field=field)
    if not_after is not None:
        return not_after.astimezone(UTC).replace(microsecond=0)
    length = profile.default_validity if validity is None else validity
    if length < _SECOND or length.microseconds:
        raise InvalidArgument("VALIDITY_INVALID", "a validity is a positive number of whole seconds", field=field)
    try:
        return first + length - _SECOND
    except OverflowError:
        raise InvalidArgument("VALIDITY_BEYOND_ISSUER", "the validity goes past the year 9999", field=field) from None


def _extensions(
    profile: Profile,
    issuer: Issuer,
    request: CertificateRequest,
    subject: x509.Name,
    names: SubjectAlternativeNames,
    urls: AuthorityUrls,
) -> tuple[AnyExtension, ...]:
    found = [
        extension(issuer.authority_key_identifier),
        extension(subject_key_identifier(request.public_key_der)),
        *_profile_extensions(profile, isinstance(request.public_key, rsa.RSAPublicKey)),
    ]
    if names:
        # Critical where there is no subject to go by (RFC 5280, section 4.2.1.6; R95).
        found.append(extension(names.to_extension(), critical=not subject.rdns))
    if profile.aia and (urls.ocsp or urls.ca_issuers):
        found.append(_authority_information_access(urls.ocsp, urls.ca_issuers))
    if profile.aia and urls.crl:
        found.append(_crl_distribution_point(urls.crl))
    return tuple(found)


@lru_cache(maxsize=64)
def _profile_extensions(profile: Profile, is_rsa: bool) -> tuple[AnyExtension, ...]:
    usage = key_usage(key_encipherment=profile.key_encipherment and is_rsa)
    found = [extension(usage, critical=True)]
    if profile.basic_constraints:
        found.append(extension(x509.BasicConstraints(ca=False, path_length=None), critical=True))
    found.append(extension(x509.ExtendedKeyUsage(profile.extended_key_usages)))
    if profile.ocsp_nocheck:
        found.append(extension(x509.OCSPNoCheck()))
    return tuple(found)


@lru_cache(maxsize=64)
def _crl_distribution_point(url: str) -> AnyExtension:
    """One address, which serves any reason, and is signed by the issuer itself (R98)."""
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return extension(x509.CRLDistributionPoints([point]))


@lru_cache(maxsize=64)
def _authority_information_access(ocsp: str | None, ca_issuers: str | None) -> AnyExtension:
    entries = (
        (AuthorityInformationAccessOID.OCSP, ocsp),
        (AuthorityInformationAccessOID.CA_ISSUERS, ca_issuers),
    )
    descriptions = [
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in entries if url
    ]
    return extension(x509.AuthorityInformationAccess(descriptions))
