"""What the certificates above allow to what is issued below them. Whatever goes beyond, no relying party would accept.

Path length, purposes, name constraints (RFC 5280, sections 4.2.1.9, 4.2.1.10, 4.2.1.12) and TLS features (RFC 7633): of
the issuer, and of every CA above it, since a path is checked as a whole (section 6.1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.errors import FieldViolation, InvalidArgument
from services.pki.name_rules import within
from services.pki.names import SubjectAlternativeNames
from services.pki.profile import OCSP_RESPONDER, Profile

E = TypeVar("E", bound=x509.ExtensionType)
Subtrees: TypeAlias = tuple[x509.GeneralName, ...]

ISSUER_FIELD = "issuer"

# A common name that may be taken for one of a host, perhaps with a wildcard in its first label (w*.example.com).
_HOST = re.compile(r"[a-z0-9_*-]+((?:\.[a-z0-9_-]+)*)\.?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_OF_HOSTS = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})


@dataclass(frozen=True, slots=True)
class NameProblem:
    """A name that lies outside the name constraints."""

    kind: str
    """`dns`, `ip`, `email` or `uri`; `subject`, or `common name` for the one in it."""
    name: str
    """Empty for a subject."""
    text: str


@dataclass(frozen=True, slots=True)
class IssuerLimits:
    """Read off CA certificates. None: no limit."""

    path_length: int | None
    purposes: frozenset[x509.ObjectIdentifier] | None
    tls_features: frozenset[x509.TLSFeatureType]
    permitted: tuple[Subtrees, ...]
    """Of each certificate that permits some names: a name has to be permitted by all of them."""
    excluded: Subtrees

    def path_length_below(self, profile: Profile) -> int | None:
        """The path length of a CA below: the profile's, or less where the issuer allows less."""
        wanted = None if profile.authority is None else profile.authority.path_length
        if profile.authority is None or self.path_length is None:
            return wanted
        below = self.path_length - 1
        return below if wanted is None else min(wanted, below)


def limits_of(path: Sequence[x509.Certificate]) -> IssuerLimits:
    """Read the limits off the certificates of an issuer and of the CAs above it, its own first."""
    constraints = [names for each in path if (names := _extension(each, x509.NameConstraints)) is not None]
    purposes = [found for each in path if (found := _purposes(each)) is not None]
    return IssuerLimits(
        path_length=_path_length(path),
        purposes=frozenset.intersection(*purposes) if purposes else None,
        tls_features=frozenset(feature for each in path for feature in _extension(each, x509.TLSFeature) or ()),
        permitted=tuple(tuple(names.permitted_subtrees) for names in constraints if names.permitted_subtrees),
        excluded=tuple(subtree for names in constraints for subtree in names.excluded_subtrees or ()),
    )


def _path_length(path: Sequence[x509.Certificate]) -> int | None:
    """How many CAs may stand below the issuer. Those that are self-issued do not count (section 6.1.4)."""
    found: list[int] = []
    between = 0
    for certificate in path:
        constraints = _extension(certificate, x509.BasicConstraints)
        if constraints is not None and constraints.path_length is not None:
            found.append(max(0, constraints.path_length - between))
        between += certificate.subject != certificate.issuer
    return min(found, default=None)


def _purposes(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier] | None:
    usages = _extension(certificate, x509.ExtendedKeyUsage)
    purposes = None if usages is None else frozenset(usages)
    return None if purposes is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in purposes else purposes


def require_within(
    limits: IssuerLimits,
    profile: Profile,
    subject: x509.Name,
    names: SubjectAlternativeNames,
    field_of: Callable[[str, str], str] = lambda _kind, _name: ISSUER_FIELD,
) -> None:
    """Raise InvalidArgument (ISSUER_CONSTRAINED) for what no path through this issuer could hold, all of it.

    `field_of` tells where in the request a name comes from, by its kind and itself as in `NameProblem`.
    """
    found = [(ISSUER_FIELD, text) for text in _profile_problems(limits, profile)]
    found += [(field_of(each.kind, each.name), each.text) for each in name_problems(limits, profile, subject, names)]
    if found:
        before = "the certificate of the issuer, or of a CA above it, rules it out: "
        violations = [FieldViolation(field, "ISSUER_CONSTRAINED", text) for field, text in found]
        violations[0] = FieldViolation(found[0][0], "ISSUER_CONSTRAINED", before + found[0][1])
        raise InvalidArgument("ISSUER_CONSTRAINED", before + found[0][1], violations=violations)


def _profile_problems(limits: IssuerLimits, profile: Profile) -> list[str]:
    found = []
    if profile.authority is not None and limits.path_length == 0:
        found.append("it allows no CA below it (path length 0)")
    # R69: a delegate speaks for its issuer, whatever that one's certificates are for.
    if limits.purposes is not None and profile.name != OCSP_RESPONDER:
        beyond = set(profile.extended_key_usages) - limits.purposes
        if beyond or not profile.extended_key_usages:
            found.append("its extended key usages do not include those of the profile")
    if not limits.tls_features <= ({x509.TLSFeatureType.status_request} if profile.must_staple else set()):
        found.append("it demands TLS features that the profile does not have (RFC 7633, section 4.2.2)")
    return found


def require_ca_within(path: Sequence[x509.Certificate], subject: x509.Name, path_length: int | None) -> None:
    """Raise ValueError where no CA of that subject and path length can stand below those of a path, nearest first."""
    limits = limits_of(path)
    if limits.path_length is not None and (path_length is None or path_length >= limits.path_length):
        raise ValueError(f"the CAs above it leave it a path length below {limits.path_length}")
    problems = name_problems(limits, None, subject, SubjectAlternativeNames())
    if problems:
        raise ValueError(f"the certificate of a CA above rules it out: {'; '.join(each.text for each in problems)}")


def name_problems(
    limits: IssuerLimits, profile: Profile | None, subject: x509.Name, names: SubjectAlternativeNames
) -> list[NameProblem]:
    """Which of these names lie outside the name constraints, and why. Without a profile, they are those of a CA."""
    if not limits.permitted and not limits.excluded:
        return []
    kinds = (("dns", names.dns), ("ip", names.ip), ("email", names.email), ("uri", names.uri))
    asked = [(kind, kind, name) for kind, values in kinds for name in values]
    found: list[NameProblem] = []
    # The CA names its delegates itself, after itself: nobody could ask for another subject.
    if subject.rdns and (profile is None or profile.name != OCSP_RESPONDER):
        if problem := _problem(limits, "subject", subject):
            shown = f"the subject ({subject.rfc4514_string()[:80]})"
            found.append(NameProblem("subject", "", f"{shown} {problem}"))
        if profile is not None and profile.authority is None and not names.dns:
            asked += [("common name", "dns", host) for host in _hosts(subject, profile)]
    for told, kind, name in asked:
        if problem := _problem(limits, kind, name):
            shown = f"the common name {name[:80]}" if told == "common name" else name[:80]
            found.append(NameProblem(told, name, f"{shown} {problem}"))
    return found


def _problem(limits: IssuerLimits, kind: str, name: str | x509.Name) -> str | None:
    excluded, *permitted = (_of_kind(kind, subtrees) for subtrees in (limits.excluded, *limits.permitted))
    if isinstance(name, str) and kind == "uri" and not _has_named_host(name) and any((excluded, *permitted)):
        return "has no host with a name, for which there are name constraints"
    if any(_excludes(kind, name, each) for each in excluded):
        return "is excluded by its name constraints"
    if any(subtrees and not any(_matches(kind, name, each) for each in subtrees) for subtrees in permitted):
        return "is not permitted by its name constraints"
    return None


def _hosts(subject: x509.Name, profile: Profile) -> list[str]:
    """The common names that are taken for names of hosts where there are no others (10.0.0.1 is one for OpenSSL, too).

    OpenSSL minds constraints for those with dots in them, but finds hosts by wildcards and single labels as well. A
    single label may be anybody's name, unless the certificate is one for hosts.
    """
    usages = set(profile.extended_key_usages)
    of_hosts = not usages or not _OF_HOSTS.isdisjoint(usages)
    hosts = []
    for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME):
        name = str(attribute.value).strip().lower()
        found = _HOST.fullmatch(name)
        if found is not None and (found[1] or of_hosts):
            plain = name.removesuffix(".")
            hosts.append(f"*{found[1]}" if "*" in plain and found[1] else plain)
    return hosts


def _of_kind(kind: str, subtrees: Subtrees) -> Subtrees:
    return tuple(subtree for subtree in subtrees if isinstance(subtree, _KINDS[kind]))


def _host(uri: str) -> str:
    return urlsplit(uri).hostname or ""


def _has_named_host(uri: str) -> bool:
    """Whether the host is no address: constraints are about names, and rule out all else (section 4.2.1.10)."""
    host = _host(uri).rstrip(".")
    return bool(host) and ":" not in host and not _NUMBER.fullmatch(host.rpartition(".")[2])


_KINDS: dict[str, type[x509.GeneralName]] = {
    "dns": x509.DNSName,
    "ip": x509.IPAddress,
    "email": x509.RFC822Name,
    "uri": x509.UniformResourceIdentifier,
    "subject": x509.DirectoryName,
}


def _matches(kind: str, name: str | x509.Name, subtree: x509.GeneralName) -> bool:
    """Whether every relying party takes a name for one in this subtree."""
    if isinstance(name, x509.Name):
        begin = _comparable(subtree.value)
        return _comparable(name)[: len(begin)] == begin
    if kind == "ip":
        return ip_address(name) in subtree.value
    value = str(subtree.value)
    if kind == "email" and "@" in value:
        return _mailbox(name) == _mailbox(value)
    value = value.lower()
    if kind == "dns":
        # *.example.com lies below example.com, as all that it stands for.
        return not value or within(name, value)
    host = name.rpartition("@")[2] if kind == "email" else _host(name)
    # RFC 5280: without a dot in front a host, and nothing below it.
    return within(host, value) if value.startswith(".") else bool(value) and host == value


def _excludes(kind: str, name: str | x509.Name, subtree: x509.GeneralName) -> bool:
    """Whether any relying party may take a name for one in this subtree."""
    if isinstance(name, x509.Name) or _matches(kind, name, subtree):
        return _matches(kind, name, subtree)
    if kind == "ip":
        # ::ffff:10.0.0.1 reaches 10.0.0.1.
        mapped = address.ipv4_mapped if isinstance(address := ip_address(name), IPv6Address) else None
        return mapped is not None and mapped in subtree.value
    value = str(subtree.value).lower().rstrip(".")
    if not value:
        return True
    if kind == "dns":
        # A wildcard stands for a name in there: *.example.com does for secret.example.com.
        return within(name, value) or (name.startswith("*.") and value.partition(".")[2] == name.removeprefix("*."))
    if kind == "email" and "@" in value:
        return name.lower() == value
    host = name.rpartition("@")[2] if kind == "email" else _host(name).rstrip(".")
    return within(host, value) if value.startswith(".") else host == value


def _mailbox(address: str) -> tuple[str, str]:
    local, _, host = address.rpartition("@")
    return local, host.lower()


def _comparable(name: x509.Name) -> list[frozenset[tuple[str, str]]]:
    """The RDNs without what makes no difference between names: case, kinds of strings, spaces (section 7.1)."""
    return [
        frozenset((each.oid.dotted_string, " ".join(str(each.value).casefold().split())) for each in rdn)
        for rdn in name.rdns
    ]


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    found: Iterable[x509.Extension[x509.ExtensionType]] = certificate.extensions
    return next((each.value for each in found if isinstance(each.value, kind)), None)
