"""Subject alternative names: what they may look like, and that none of them lies in the services' own trust domain.

`check_names` is the only way from names that somebody sent to names that may be signed. Of each kind it accepts one
spelling, and turns what it gets into that: DNS names in lower case, addresses as Python's `ipaddress` writes them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from cryptography import x509

from services.errors import FieldViolation, InvalidArgument
from services.pki.name_rules import ANY_NAMES, NameRules, lowered_authority

MAX_NAMES = 100
"""In one certificate. Each costs every relying party a comparison."""

_MAX_URI = 2048
_MAX_EMAIL = 254
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
# RFC 3986: a scheme, and then only characters that may stand in a URI.
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+", re.ASCII)
# A host and perhaps a port, with nothing in them that two readers could read in two ways.
_AUTHORITY = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
_FIELDS = {"dns": "dns_names", "ip": "ip_addresses", "email": "email_addresses", "uri": "uris"}


@dataclass(frozen=True, slots=True)
class SubjectAlternativeNames:
    """Names by kind, as text. Not checked until `check_names` has returned them."""

    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    uri: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    """Kinds of names that no profile takes (`DirectoryName`), found in a certificate request. Always refused."""

    def __len__(self) -> int:
        """How many names there are."""
        return len(self.dns) + len(self.ip) + len(self.email) + len(self.uri) + len(self.other)

    def labelled(self) -> tuple[str, ...]:
        """Each name with its kind in front: `DNS:`, `IP:`, `email:` or `URI:`."""
        kinds = (("DNS", self.dns), ("IP", self.ip), ("email", self.email), ("URI", self.uri))
        return tuple(f"{label}:{name}" for label, names in kinds for name in names)

    @classmethod
    def from_extension(cls, extension: x509.SubjectAlternativeName) -> SubjectAlternativeNames:
        """Read the names of an extension."""
        dns: list[str] = []
        ip: list[str] = []
        email: list[str] = []
        uri: list[str] = []
        other: list[str] = []
        for name in extension:
            match name:
                case x509.DNSName():
                    dns.append(name.value)
                case x509.IPAddress():
                    ip.append(str(name.value))
                case x509.RFC822Name():
                    email.append(name.value)
                case x509.UniformResourceIdentifier():
                    uri.append(name.value)
                case _:
                    other.append(type(name).__name__)
        return cls(tuple(dns), tuple(ip), tuple(email), tuple(uri), tuple(other))

    def to_extension(self) -> x509.SubjectAlternativeName:
        """Write the extension. Only for names that `check_names` returned."""
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in self.dns]
        names += [x509.IPAddress(ipaddress.ip_address(name)) for name in self.ip]
        names += [x509.RFC822Name(name) for name in self.email]
        names += [x509.UniformResourceIdentifier(name) for name in self.uri]
        return x509.SubjectAlternativeName(names)


class _Wrong(Exception):
    """One name is not acceptable."""

    def __init__(self, reason: str, description: str) -> None:
        super().__init__(description)
        self.reason = reason
        self.description = description


def check_names(
    names: SubjectAlternativeNames,
    *,
    allowed_kinds: AbstractSet[str],
    trust_domain: str,
    rules: NameRules = ANY_NAMES,
    field: str = "subject_alternative_names",
    indexed: bool = True,
) -> SubjectAlternativeNames:
    """Return the names in their normal form and without duplicates, or say what is wrong with them.

    `allowed_kinds` are out of `dns`, `ip`, `email`, `uri`; `rules` say which of each kind. With `indexed`, violations
    name the very element, as in `subject_alternative_names.dns_names[3]`; without (names out of a certificate request),
    just `field`.

    Raises InvalidArgument: TOO_MANY_NAMES, NAME_INVALID, NAME_NOT_ALLOWED, NAME_RESERVED. Where several names are
    wrong, the reason is that of the first, and all of them are listed as violations.
    """
    refuse_too_many(len(names), field)
    found: dict[str, dict[str, str]] = {kind: {} for kind in _FIELDS}
    violations: list[FieldViolation] = []
    for kind, index, name in _each(names):
        try:
            normal = _normal(kind, name, allowed_kinds, trust_domain)
            _require_rule(rules, kind, normal, found)
            found[kind].setdefault(_key(kind, normal), normal)
        except _Wrong as wrong:
            place = f"{field}.{_FIELDS[kind]}[{index}]" if indexed and kind in _FIELDS else field
            violations.append(FieldViolation(place, wrong.reason, wrong.description))
    if violations:
        first = violations[0]
        raise InvalidArgument(first.reason, first.description, violations=violations)
    dns, ip, email, uri = (tuple(found[kind].values()) for kind in _FIELDS)
    return SubjectAlternativeNames(dns, ip, email, uri)


def refuse_too_many(count: int, field: str) -> None:
    """Raise InvalidArgument (TOO_MANY_NAMES, on `field`) beyond `MAX_NAMES`. Done before anything costly."""
    if count > MAX_NAMES:
        raise InvalidArgument("TOO_MANY_NAMES", f"{count} names; a certificate holds {MAX_NAMES} at most", field=field)


def field_of_name(asked: SubjectAlternativeNames, kind: str, name: str, field: str) -> str:
    """Where among names that `check_names` has taken one of those stands that it returned: `FIELD.dns_names[3]`."""
    for each, index, given in _each(asked):
        if each == kind and _key(kind, _NORMAL[kind](given)) == _key(kind, name):
            return f"{field}.{_FIELDS[kind]}[{index}]"
    return field


def is_dns_name(text: str) -> bool:
    """Whether `text` could be a DNS name in a certificate, in any case."""
    try:
        _dns(text)
    except _Wrong:
        return False
    return True


def _each(names: SubjectAlternativeNames) -> Iterator[tuple[str, int, str]]:
    kinds: Iterable[tuple[str, tuple[str, ...]]] = (
        ("dns", names.dns),
        ("ip", names.ip),
        ("email", names.email),
        ("uri", names.uri),
        ("other", names.other),
    )
    return ((kind, index, name) for kind, values in kinds for index, name in enumerate(values))


def _normal(kind: str, name: str, allowed_kinds: AbstractSet[str], trust_domain: str) -> str:
    if kind not in allowed_kinds or kind not in _NORMAL:
        shown = kind if kind in _NORMAL else name
        raise _Wrong("NAME_NOT_ALLOWED", f"the profile does not allow names of this kind ({shown})")
    normal = _NORMAL[kind](name)
    if _is_within(_domain(kind, normal), trust_domain.lower()):
        raise _Wrong("NAME_RESERVED", "no certificate is issued in the trust domain of the services themselves")
    return normal


def _key(kind: str, normal: str) -> str:
    """What two names have in common that are the same: in a path, and in front of an @, case may mean something."""
    return lowered_authority(normal) if kind == "uri" else normal


def _require_rule(rules: NameRules, kind: str, normal: str, found: dict[str, dict[str, str]]) -> None:
    """What the profile says about this very name, and about how many there are of its kind."""
    if rules is ANY_NAMES:
        return
    objection = rules.objection(kind, normal)
    if objection:
        raise _Wrong("NAME_NOT_ALLOWED", f"the profile does not allow {_shown(normal)}: {objection}")
    most = rules.most(kind)
    if most is not None and len(found[kind].keys() | {_key(kind, normal)}) > most:
        raise _Wrong("TOO_MANY_NAMES", f"the profile allows {most} names of this kind ({kind}) at most")


def _domain(kind: str, name: str) -> str:
    """The domain that a name in its normal form speaks for; empty if it has none."""
    match kind:
        case "dns":
            return name.removeprefix("*.")
        case "email":
            return name.rpartition("@")[2]
        case "uri":
            return (urlsplit(name).hostname or "").rstrip(".")
        case _:
            return ""


def _is_within(domain: str, trust_domain: str) -> bool:
    # Credentials of the services are made with no trust domain to keep out of.
    return bool(trust_domain) and (domain == trust_domain or domain.endswith("." + trust_domain))


def _dns(name: str) -> str:
    """RFC 1034 letters, digits and hyphens; no trailing dot; `*` only as the whole leftmost label (R101)."""
    lower = name.lower() if name.isascii() else ""
    plain = lower.removeprefix("*.")
    labels = plain.split(".")
    if not plain or len(lower) > 253 or not all(_label_ok(label) for label in labels):
        raise _Wrong("NAME_INVALID", f"not a DNS name: {_shown(name)}")
    if _NUMBER.fullmatch(labels[-1]):  # 0x7f000001 is 127.0.0.1 to a browser
        raise _Wrong("NAME_INVALID", f"no DNS name ends in a number; is it an IP address? {_shown(name)}")
    return lower


def _label_ok(label: str) -> bool:
    if _LABEL.fullmatch(label) is None:
        return False
    return label[2:4] != "--" or _punycode_ok(label)


def _punycode_ok(label: str) -> bool:
    """RFC 5890, section 2.3.1: hyphens in third and fourth place are kept for `xn--`, and what follows must decode."""
    if not label.startswith("xn--") or len(label) == 4:
        return False
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return False
    return decoded.isprintable() and not decoded.isascii()


def _ip(name: str) -> str:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        raise _Wrong("NAME_INVALID", f"not an IP address: {_shown(name)}") from None
    if "%" in name:
        raise _Wrong("NAME_INVALID", f"an address with a zone has no meaning elsewhere: {_shown(name)}")
    return str(address)


def _email(name: str) -> str:
    local, at, domain = name.rpartition("@")
    if not at or len(name) > _MAX_EMAIL or len(local) > 64 or not _LOCAL_PART.fullmatch(local) or "*" in domain:
        raise _Wrong("NAME_INVALID", f"not an email address: {_shown(name)}")
    try:
        return f"{local}@{_dns(domain)}"
    except _Wrong:
        raise _Wrong("NAME_INVALID", f"not an email address: {_shown(name)}") from None


def _uri(name: str) -> str:
    """An absolute URI that every reader reads alike: no userinfo, no escapes in the host, no dot segments."""
    if len(name) > _MAX_URI or _URI.fullmatch(name) is None:
        raise _Wrong("NAME_INVALID", f"not an absolute URI: {_shown(name)}")
    scheme, _, rest = name.partition(":")
    if rest.startswith("//"):
        _check_authority(name)
    elif scheme.lower() == "spiffe" or unquote(rest).startswith("/"):
        raise _Wrong("NAME_INVALID", f"a URI without a host: {_shown(name)}")
    return name


def _check_authority(name: str) -> None:
    try:
        parts = urlsplit(name)
        _ = parts.port
    except ValueError:
        raise _Wrong("NAME_INVALID", f"a URI without a proper host: {_shown(name)}") from None
    if _AUTHORITY.fullmatch(parts.netloc) is None:
        raise _Wrong("NAME_INVALID", f"a URI without a proper host: {_shown(name)}")
    if {".", ".."} & set(unquote(parts.path).split("/")):
        raise _Wrong("NAME_INVALID", f"a URI with dot segments: {_shown(name)}")


def _shown(name: str) -> str:
    """For messages: nothing unprintable, and not long."""
    shown = ascii(name[:80])
    return shown if len(name) <= 80 else f"{shown}…"


_NORMAL: dict[str, Callable[[str], str]] = {"dns": _dns, "ip": _ip, "email": _email, "uri": _uri}
