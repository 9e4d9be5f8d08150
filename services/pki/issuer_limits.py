"""What the certificate of an issuer allows to those below it. Whatever goes beyond, no relying party would accept.

Path length, purposes, name constraints (RFC 5280, sections 4.2.1.9, 4.2.1.10, 4.2.1.12) and TLS features (RFC 7633).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.errors import InvalidArgument
from services.pki.name_rules import within
from services.pki.names import SubjectAlternativeNames
from services.pki.profile import OCSP_RESPONDER, Profile

E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class IssuerLimits:
    """Read off a CA certificate. None: no limit."""

    path_length: int | None
    purposes: frozenset[x509.ObjectIdentifier] | None
    tls_features: frozenset[x509.TLSFeatureType]
    permitted: tuple[x509.GeneralName, ...]
    excluded: tuple[x509.GeneralName, ...]

    def path_length_below(self, profile: Profile) -> int | None:
        """The path length of a CA below: the profile's, or less where the issuer allows less."""
        wanted = None if profile.authority is None else profile.authority.path_length
        if profile.authority is None or self.path_length is None:
            return wanted
        below = self.path_length - 1
        return below if wanted is None else min(wanted, below)


def limits_of(certificate: x509.Certificate) -> IssuerLimits:
    """Read the limits off the certificate of an issuer."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    features = _extension(certificate, x509.TLSFeature)
    names = _extension(certificate, x509.NameConstraints)
    purposes = None if usages is None else frozenset(usages)
    if purposes is not None and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes:
        purposes = None
    return IssuerLimits(
        path_length=None if constraints is None else constraints.path_length,
        purposes=purposes,
        tls_features=frozenset(features or ()),
        permitted=tuple(names.permitted_subtrees or ()) if names else (),
        excluded=tuple(names.excluded_subtrees or ()) if names else (),
    )


def require_within(limits: IssuerLimits, profile: Profile, names: SubjectAlternativeNames) -> None:
    """Raise InvalidArgument (ISSUER_CONSTRAINED) for what no path through this issuer could hold."""
    problem = _profile_problem(limits, profile) or names_problem(limits, names)
    if problem:
        raise InvalidArgument(
            "ISSUER_CONSTRAINED", f"the certificate of the issuer rules it out: {problem}", field="issuer"
        )


def _profile_problem(limits: IssuerLimits, profile: Profile) -> str | None:
    if profile.authority is not None and limits.path_length == 0:
        return "it allows no CA below it (path length 0)"
    # R69: a delegate speaks for its issuer, whatever that one's certificates are for.
    if limits.purposes is not None and profile.name != OCSP_RESPONDER:
        beyond = set(profile.extended_key_usages) - limits.purposes
        if beyond or not profile.extended_key_usages:
            return "its extended key usages do not include those of the profile"
    if not limits.tls_features <= ({x509.TLSFeatureType.status_request} if profile.must_staple else set()):
        return "it demands TLS features that the profile does not have (RFC 7633, section 4.2.2)"
    return None


def names_problem(limits: IssuerLimits, names: SubjectAlternativeNames) -> str | None:
    """Which of these names lies outside the name constraints, and why."""
    if not limits.permitted and not limits.excluded:
        return None
    kinds = (("dns", names.dns), ("ip", names.ip), ("email", names.email), ("uri", names.uri))
    for kind, name in ((kind, name) for kind, values in kinds for name in values):
        if any(_matches(kind, name, subtree) for subtree in limits.excluded):
            return f"{name[:80]} is excluded by its name constraints"
        permitted = [subtree for subtree in limits.permitted if isinstance(subtree, _KINDS[kind])]
        if permitted and not any(_matches(kind, name, subtree) for subtree in permitted):
            return f"{name[:80]} is not permitted by its name constraints"
    return None


_KINDS: dict[str, type[x509.GeneralName]] = {
    "dns": x509.DNSName,
    "ip": x509.IPAddress,
    "email": x509.RFC822Name,
    "uri": x509.UniformResourceIdentifier,
}


def _matches(kind: str, name: str, subtree: x509.GeneralName) -> bool:
    if not isinstance(subtree, _KINDS[kind]):
        return False
    if kind == "ip":
        return ip_address(name) in subtree.value
    value = str(subtree.value).lower()
    if kind == "dns":
        return not value or within(name.removeprefix("*."), value)
    if kind == "email" and "@" in value:
        return name.lower() == value
    host = name.rpartition("@")[2] if kind == "email" else (urlsplit(name).hostname or "")
    # RFC 5280: without a dot in front a host, and nothing below it.
    return within(host, value) if value.startswith(".") else host == value


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    found: Iterable[x509.Extension[x509.ExtensionType]] = certificate.extensions
    return next((each.value for each in found if isinstance(each.value, kind)), None)
