"""Which names a profile takes, beyond their kind: domains, address ranges, URIs. A name has to pass every rule.

Rules see names in the one spelling that `services.pki.names` makes of them, and say what is wrong in a sentence, or
None. What is forbidden wins over what is allowed. A wildcard is taken for every name that it could match: it is refused
where one of these would be.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_AUTHORITY_END = re.compile(r"[/?#]")
_SPIFFE_PATH = re.compile(r"(?:/[A-Za-z0-9._-]+)+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRule:
    """Rule for DNS names, and for the domains of email addresses."""

    allowed: tuple[str, ...] | None = None
    """These domains; None: any. With a dot in front: what is below that domain, but not itself."""
    forbidden: tuple[str, ...] = ()
    """Never these, nor anything below them."""
    subdomains: bool = True
    """Whether names below an allowed domain are allowed as well."""
    wildcards: bool = True
    """Whether the leftmost label may be `*` (DNS names only)."""
    most: int | None = None
    """How many names of this kind one certificate may have; None: no limit of the profile's."""

    def objection(self, name: str) -> str | None:
        """Why this name in its normal form is not allowed."""
        wildcard, plain = name.startswith("*."), name.removeprefix("*.")
        if wildcard and not self.wildcards:
            return "wildcards are not allowed"
        if self.allowed is not None and not any(self._allows(domain, plain, wildcard) for domain in self.allowed):
            return f"the name lies in none of {', '.join(self.allowed)}" if self.allowed else "no name is allowed"
        for domain in self.forbidden:
            # *.example.com matches secret.example.com.
            if within(plain, domain) or (wildcard and domain.lstrip(".").partition(".")[2] == plain):
                return f"names in {domain} are forbidden"
        return None

    def _allows(self, domain: str, plain: str, wildcard: bool) -> bool:
        if not self.subdomains:
            return plain == domain and not wildcard
        # *.example.com lies below example.com, as every name that it matches.
        return within("x." + plain if wildcard else plain, domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRule:
    """Rule for IP addresses."""

    allowed: tuple[Network, ...] | None = None
    forbidden: tuple[Network, ...] = ()
    most: int | None = None

    def objection(self, name: str) -> str | None:
        """Why this address is not allowed."""
        address = ipaddress.ip_address(name)
        if self.allowed is not None and not any(address in network for network in self.allowed):
            return f"the address lies in none of {', '.join(map(str, self.allowed))}"
        # ::ffff:10.0.0.1 reaches 10.0.0.1.
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        for network in self.forbidden:
            if address in network or (mapped is not None and mapped in network):
                return f"addresses in {network} are forbidden"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class UriRule:
    """Rule for URIs. A prefix ends where a part of the URI ends: `https://a.example` is none of `https://a.example.b`."""

    allowed: tuple[str, ...] | None = None
    """Prefixes; None: any, unless trust domains are named."""
    trust_domains: tuple[str, ...] = ()
    """SPIFFE IDs in these trust domains are allowed as well."""
    forbidden: tuple[str, ...] = ()
    """Prefixes."""
    most: int | None = None

    def objection(self, name: str) -> str | None:
        """Why this URI is not allowed."""
        lowered = lowered_authority(name)
        # An escape must not hide what is forbidden.
        if any(_begins(form, prefix) for prefix in self.forbidden for form in (lowered, unquote(lowered))):
            return "it begins like one that is forbidden"
        if self.allowed is None and not self.trust_domains:
            return None
        if any(_begins(lowered, prefix) for prefix in self.allowed or ()):
            return None
        if any(_is_spiffe_id(name, domain) for domain in self.trust_domains):
            return None
        wanted = [*(self.allowed or ()), *(f"spiffe://{domain}/" for domain in self.trust_domains)]
        return f"the URI begins like none of {', '.join(wanted)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NameRules:
    """A rule for each kind of name; None: any name of that kind, if the profile takes the kind."""

    dns: DomainRule | None = None
    ip: AddressRule | None = None
    email: DomainRule | None = None
    uri: UriRule | None = None

    def rule(self, kind: str) -> DomainRule | AddressRule | UriRule | None:
        """The rule for `dns`, `ip`, `email` or `uri`."""
        rule: DomainRule | AddressRule | UriRule | None = getattr(self, kind, None)
        return rule

    def objection(self, kind: str, name: str) -> str | None:
        """Why a name in its normal form is not allowed; None if it is."""
        rule = self.rule(kind)
        if rule is None:
            return None
        return rule.objection(name.rpartition("@")[2] if kind == "email" else name)

    def most(self, kind: str) -> int | None:
        """How many names of that kind a certificate may have."""
        rule = self.rule(kind)
        return None if rule is None else rule.most


ANY_NAMES = NameRules()


def within(name: str, domain: str) -> bool:
    """Whether a name is that domain or lies below it; with a dot in front, below it only."""
    if domain.startswith("."):
        return name.endswith(domain)
    return name == domain or name.endswith("." + domain)


def lowered_authority(uri: str) -> str:
    """The URI with scheme and host in lower case, where case means nothing."""
    scheme, colon, rest = uri.partition(":")
    if not rest.startswith("//"):
        return scheme.lower() + colon + rest
    authority = _AUTHORITY_END.split(rest[2:], maxsplit=1)[0]
    return f"{scheme.lower()}://{authority.lower()}{rest[2 + len(authority) :]}"


def _begins(uri: str, prefix: str) -> bool:
    if not uri.startswith(prefix):
        return False
    rest = uri[len(prefix) :]
    return (
        not rest or prefix.endswith(("/", ":", "?", "#")) or rest[0] in "/?#" or ("//" not in prefix and rest[0] == ":")
    )


def _is_spiffe_id(uri: str, trust_domain: str) -> bool:
    """SPIFFE-ID, section 2: scheme and trust domain in lower case, a path of plain segments, and nothing else."""
    begin = f"spiffe://{trust_domain}"
    return uri.startswith(begin) and _SPIFFE_PATH.fullmatch(uri[len(begin) :]) is not None
