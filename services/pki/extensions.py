"""The extensions of a certificate, from its profile, its issuer and its key. What many have in common is made once.

None is copied from a request (R115). Which of them are critical: R95.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from services.pki.der import key_bits
from services.pki.encoding import EncodedExtension
from services.pki.issuers import Issuer
from services.pki.names import SubjectAlternativeNames
from services.pki.profile import Authority, GeneralSubtree, NameConstraints, Policy, Profile

AnyExtension = x509.Extension[x509.ExtensionType]

NO_REVOCATION_AVAILABLE = x509.ObjectIdentifier("2.5.29.56")
"""RFC 9608. Its value is NULL."""
_DER_NULL = b"\x05\x00"


@dataclass(frozen=True, slots=True)
class AuthorityUrls:
    """Where a relying party asks about the certificate (R97, R98). None leaves an entry out."""

    ocsp: str | None = None
    ca_issuers: str | None = None
    crl: str | None = None
    """The revocation list, for the profiles that name it."""


def extension(value: x509.ExtensionType, *, critical: bool = False) -> AnyExtension:
    """An extension for a draft or builder."""
    return EncodedExtension(value, critical=critical)


def key_usage(*, digital_signature: bool = True, key_encipherment: bool = False, ca: bool = False) -> x509.KeyUsage:
    """A KeyUsage. `ca` means keyCertSign and cRLSign (R99)."""
    usages = {"digital_signature": digital_signature, "key_encipherment": key_encipherment}
    return key_usage_of(
        {usage for usage, wanted in usages.items() if wanted} | ({"key_cert_sign", "crl_sign"} if ca else set())
    )


def key_usage_of(usages: Iterable[str]) -> x509.KeyUsage:
    """A KeyUsage of exactly these (`services.pki.profile.KEY_USAGES`)."""
    wanted = frozenset(usages)
    return x509.KeyUsage(
        digital_signature="digital_signature" in wanted,
        content_commitment="content_commitment" in wanted,
        key_encipherment="key_encipherment" in wanted,
        data_encipherment="data_encipherment" in wanted,
        key_agreement="key_agreement" in wanted,
        key_cert_sign="key_cert_sign" in wanted,
        crl_sign="crl_sign" in wanted,
        encipher_only=False,
        decipher_only=False,
    )


def subject_key_identifier(public_key_der: bytes) -> x509.SubjectKeyIdentifier:
    """RFC 5280, section 4.2.1.2, method 1. A label: nothing depends on the strength of SHA-1 here."""
    return x509.SubjectKeyIdentifier(sha1(key_bits(public_key_der), usedforsecurity=False).digest())


def extensions_of(
    profile: Profile,
    issuer: Issuer,
    key_type: str,
    public_key_der: bytes,
    subject: x509.Name,
    names: SubjectAlternativeNames,
    urls: AuthorityUrls,
    path_length: int | None,
) -> tuple[AnyExtension, ...]:
    """All extensions of a certificate. `path_length` is that of a CA, already within the issuer's."""
    found = [_authority_key_identifier(issuer.key_identifier)]
    if profile.subject_key_identifier:
        found.append(extension(subject_key_identifier(public_key_der)))
    found += _of_profile(profile, key_type, path_length)
    if names:
        # Critical where there is no subject to go by (RFC 5280, section 4.2.1.6; R95).
        found.append(extension(names.to_extension(), critical=not subject.rdns))
    found += _of_urls(
        urls.ocsp if profile.ocsp else None,
        urls.ca_issuers if profile.ca_issuers else None,
        urls.crl if profile.crl_distribution_point else None,
    )
    return tuple(found)


@lru_cache(maxsize=64)
def _authority_key_identifier(key_identifier: bytes) -> AnyExtension:
    """The key identifier alone, without issuer and serial number (R96)."""
    return extension(x509.AuthorityKeyIdentifier(key_identifier, None, None))


@lru_cache(maxsize=256)
def _of_profile(profile: Profile, key_type: str, path_length: int | None) -> tuple[AnyExtension, ...]:
    found = [extension(key_usage_of(profile.usages_of(key_type)), critical=True)]
    if profile.authority is not None:
        found += _of_authority(profile.authority, path_length)
    elif profile.basic_constraints:
        found.append(extension(x509.BasicConstraints(ca=False, path_length=None), critical=True))
    if profile.extended_key_usages:
        found.append(extension(x509.ExtendedKeyUsage(profile.extended_key_usages)))
    if profile.policies:
        found.append(extension(x509.CertificatePolicies(map(_policy, profile.policies))))
    if profile.must_staple:
        found.append(extension(x509.TLSFeature([x509.TLSFeatureType.status_request])))
    if profile.no_revocation_available:
        found.append(extension(x509.UnrecognizedExtension(NO_REVOCATION_AVAILABLE, _DER_NULL)))
    if profile.ocsp_nocheck:
        found.append(extension(x509.OCSPNoCheck()))
    return tuple(found)


def _of_authority(authority: Authority, path_length: int | None) -> list[AnyExtension]:
    found = [extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)]
    constraints = authority.name_constraints
    if constraints is not None:
        found.append(extension(name_constraints(constraints), critical=True))
    return found


def name_constraints(constraints: NameConstraints) -> x509.NameConstraints:
    """The extension; a side without subtrees is absent (RFC 5280, section 4.2.1.10)."""
    permitted = [_subtree(kind, value) for kind, value in constraints.permitted]
    excluded = [_subtree(kind, value) for kind, value in constraints.excluded]
    return x509.NameConstraints(permitted or None, excluded or None)


def _subtree(kind: str, value: GeneralSubtree) -> x509.GeneralName:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        return x509.IPAddress(value)
    if kind == "dns":
        return x509.DNSName(value)
    return x509.RFC822Name(value) if kind == "email" else x509.UniformResourceIdentifier(value)


def _policy(policy: Policy) -> x509.PolicyInformation:
    return x509.PolicyInformation(policy.oid, [policy.statement_url] if policy.statement_url else None)


@lru_cache(maxsize=256)
def _of_urls(ocsp: str | None, ca_issuers: str | None, crl: str | None) -> tuple[AnyExtension, ...]:
    found = []
    entries = ((AuthorityInformationAccessOID.OCSP, ocsp), (AuthorityInformationAccessOID.CA_ISSUERS, ca_issuers))
    access = [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in entries if url]
    if access:
        found.append(extension(x509.AuthorityInformationAccess(access)))
    if crl:
        # One fullName, no reasons, no cRLIssuer (R98).
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(crl)], None, None, None)
        found.append(extension(x509.CRLDistributionPoints([point])))
    return tuple(found)
