"""A profile: one kind of certificate, as data. A profile that contradicts itself or an invariant cannot be made.

The invariants hold for every profile, built in or configured:

- Only `ocsp-responder` carries OCSPSigning and nocheck: with these a certificate may speak for the CA (R66, R69).
- No purpose that allows everything (R100).
- Only a profile for CAs says cA and keyCertSign, and only the role `admin` may ask for it (R99).
- What says that nobody will tell whether it is revoked lives seven days at the most, and names nobody to ask (R119).
- What demands a stapled answer names the responder that gives it (R118).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from services.pki.name_rules import ANY_NAMES, NameRules
from services.pki.validity import SHORT_LIVED, Cap, in_words

OCSP_RESPONDER = "ocsp-responder"
NAME_KINDS = frozenset({"dns", "ip", "email", "uri"})
KEY_TYPES = ("rsa", "p256", "p384", "p521", "ed25519", "ml-dsa-44", "ml-dsa-65", "ml-dsa-87")
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192

SubjectPolicy = Literal["cn-only", "keep", "none", "ca-sets"]
LintRules = Literal["pkix", "cabf-serverauth"]
LintLevel = Literal["error", "warning"]
GeneralSubtree: TypeAlias = str | ipaddress.IPv4Network | ipaddress.IPv6Network

_EC = frozenset({"p256", "p384", "p521"})
KEY_USAGES = {
    "digital_signature": frozenset(KEY_TYPES),
    "content_commitment": frozenset(KEY_TYPES),
    "key_encipherment": frozenset({"rsa"}),
    "data_encipherment": frozenset({"rsa"}),
    "key_agreement": _EC,
    "key_cert_sign": frozenset(KEY_TYPES),
    "crl_sign": frozenset(KEY_TYPES),
}
"""Key usage -> the types of keys that can be used so (R99). The others don't get it."""
CA_USAGES = frozenset({"key_cert_sign", "crl_sign"})

# Purposes that would let a leaf act as something that no profile here is for (R69, R100).
_FORBIDDEN = frozenset({ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.TIME_STAMPING})


class ProfileInvalid(ValueError):
    """A profile contradicts itself. `problems` are pairs of a dotted setting and what is wrong with it."""

    def __init__(self, name: str, problems: list[tuple[str, str]]) -> None:
        super().__init__(f"profile {name}: " + "; ".join(f"{place}: {text}" for place, text in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True, kw_only=True)
class NameConstraints:
    """What a CA may issue for (RFC 5280, section 4.2.1.10). Texts are DNS names, networks are addresses."""

    permitted: tuple[tuple[str, GeneralSubtree], ...] = ()
    """Pairs of a kind (`dns`, `ip`, `email`, `uri`) and a subtree."""
    excluded: tuple[tuple[str, GeneralSubtree], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """What makes a certificate one of a CA."""

    path_length: int | None = 0
    """How many CAs may follow below it; None: no limit of its own."""
    name_constraints: NameConstraints | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A certificate policy, perhaps with the address of the practice statement."""

    oid: x509.ObjectIdentifier
    statement_url: str | None = None


@dataclass(frozen=True, slots=True)
class SubjectAttribute:
    """An attribute that the CA puts into the subject, whatever the request says."""

    oid: x509.ObjectIdentifier
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of certificate. Raises ProfileInvalid when it is made with settings that contradict each other."""

    name: str
    description: str
    roles: frozenset[str]
    """Roles that may ask for it."""

    key_types: frozenset[str] = frozenset(KEY_TYPES)
    min_rsa_bits: int = MIN_RSA_BITS
    max_rsa_bits: int = MAX_RSA_BITS

    default_validity: timedelta
    max_validity: timedelta
    min_validity: timedelta = timedelta(seconds=1)
    caps: tuple[Cap, ...] = ()
    """Limits by date of issuing, earliest first (R92)."""
    cut_to_issuer: bool = False
    """Whether a validity beyond the issuer's is cut rather than refused (R93)."""

    allowed_name_kinds: frozenset[str]
    """Out of `dns`, `ip`, `email`, `uri`. Empty: no subject alternative names."""
    name_rules: NameRules = ANY_NAMES
    subject_policy: SubjectPolicy
    """`cn-only`: a common name that is among the names, or nothing. `keep`: the request's, checked. `none`: nothing of
    the request. `ca-sets`: the CA sets it, and no name is taken from the request."""
    subject_kept: frozenset[x509.ObjectIdentifier] | None = None
    """With `keep`: these attributes stay, and others are left out. None: all standard ones stay, others are refused."""
    subject_required: frozenset[x509.ObjectIdentifier] = frozenset()
    subject_set: tuple[SubjectAttribute, ...] = ()

    key_usages: frozenset[str] = frozenset({"digital_signature"})
    """Out of `KEY_USAGES`; each key gets those that it can be used for (R99)."""
    extended_key_usages: tuple[x509.ObjectIdentifier, ...]
    policies: tuple[Policy, ...] = ()
    basic_constraints: bool = True
    """Whether cA=FALSE is said or left out."""
    subject_key_identifier: bool = True
    ocsp: bool = True
    """Whether it says where to ask for its status."""
    ca_issuers: bool = True
    """Whether it says where the certificate of its issuer is."""
    crl_distribution_point: bool = True
    """Whether it says where the revocation list is, if there is one."""
    must_staple: bool = False
    no_revocation_available: bool = False
    ocsp_nocheck: bool = False
    authority: Authority | None = None

    lint: LintRules | None = None
    """What an independent linter checks before signing, beside our own checks."""
    lint_level: LintLevel = "error"
    """From which severity on a finding of the linter refuses the certificate."""
    lint_accept: frozenset[str] = frozenset()
    """Codes of findings that refuse nothing."""

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        problems = list(_contradictions(self))
        if problems:
            raise ProfileInvalid(self.name, problems)

    def __hash__(self) -> int:
        """By name: profiles are looked up in caches for every certificate."""
        return hash(self.name)

    def usages_of(self, key_type: str) -> frozenset[str]:
        """The key usages that a key of this type gets."""
        return frozenset(usage for usage in self.key_usages if key_type in KEY_USAGES[usage])


def _contradictions(profile: Profile) -> Iterator[tuple[str, str]]:
    if profile.name == "ca":
        yield "", "this name is kept for the CA certificates of the installation itself: take another"
    if profile.name == "imported":
        yield "", "this name is kept for certificates that were imported: take another"
    yield from _about_purposes(profile)
    yield from _about_keys(profile)
    yield from _about_names(profile)
    yield from _about_validity(profile)
    yield from _about_revocation(profile)
    yield from _about_roles(profile)


def _about_purposes(profile: Profile) -> Iterator[tuple[str, str]]:
    place, usages = "extensions.extended_key_usage", set(profile.extended_key_usages)
    if usages & _FORBIDDEN:
        yield place, "anyExtendedKeyUsage and timeStamping allow more than any profile is for: leave them out"
    if not usages and profile.authority is None:
        yield place, "is empty, which would allow every purpose: name some, such as serverAuth"
    if len(usages) != len(profile.extended_key_usages):
        yield place, "has a purpose twice"
    if len({policy.oid for policy in profile.policies}) != len(profile.policies):
        yield "extensions.certificate_policies", "has a policy twice (RFC 5280, section 4.2.1.4)"
    delegates = ExtendedKeyUsageOID.OCSP_SIGNING in usages
    if delegates != (profile.name == OCSP_RESPONDER) or (delegates and len(usages) > 1):
        yield place, f"OCSPSigning is for {OCSP_RESPONDER} alone, on its own: leave it out"
    if profile.ocsp_nocheck and not delegates:
        yield "extensions", f"nocheck is for {OCSP_RESPONDER} alone"
    if delegates and profile.authority is not None:
        yield "ca", f"{OCSP_RESPONDER} is no CA"


def _about_keys(profile: Profile) -> Iterator[tuple[str, str]]:
    if not profile.key_types or not profile.key_types <= set(KEY_TYPES):
        yield "keys.types", _not_out_of(profile.key_types, KEY_TYPES)
    if not MIN_RSA_BITS <= profile.min_rsa_bits <= profile.max_rsa_bits <= MAX_RSA_BITS:
        sizes = f"rsa_min_bits is {profile.min_rsa_bits}, and rsa_max_bits {profile.max_rsa_bits}"
        yield "keys.rsa_min_bits", f"RSA sizes are in order, from {MIN_RSA_BITS} to {MAX_RSA_BITS} bits; {sizes}"
    if not profile.key_usages <= KEY_USAGES.keys():
        yield "extensions.key_usage", "is not out of the key usages of RFC 5280"
        return
    useless = sorted(kind for kind in profile.key_types & set(KEY_TYPES) if not profile.usages_of(kind))
    if useless:
        yield "extensions.key_usage", f"leaves nothing for keys of the types {', '.join(useless)}: add digitalSignature"
    if profile.authority is None and profile.key_usages & CA_USAGES:
        yield "extensions.key_usage", "keyCertSign and cRLSign are for CAs: leave them out, or add a table [ca]"
    if profile.authority is not None and not CA_USAGES <= profile.key_usages <= CA_USAGES | {"digital_signature"}:
        yield "extensions.key_usage", "a CA has keyCertSign and cRLSign, perhaps digitalSignature, and nothing else"


def _about_names(profile: Profile) -> Iterator[tuple[str, str]]:
    if not profile.allowed_name_kinds <= NAME_KINDS:
        yield "names", f"kinds of names are {', '.join(sorted(NAME_KINDS))}"
    if (profile.subject_policy == "ca-sets") != (profile.name == OCSP_RESPONDER):
        yield "subject.policy", f"the CA sets the names of {OCSP_RESPONDER}, and of no other"
    elif profile.subject_policy == "ca-sets":
        if profile.allowed_name_kinds:
            yield "names", "the CA sets the names: no kind of name can be allowed"
    elif not profile.allowed_name_kinds and profile.subject_policy != "keep":
        yield "names", "no kind of name is allowed, so that nothing could be issued: allow one, such as dns = true"
    if profile.subject_kept is not None and profile.subject_policy != "keep":
        yield "subject.keep", 'is for policy = "keep"'
    if profile.subject_required and profile.subject_policy != "keep":
        yield "subject.required", 'is for policy = "keep"'
    elif profile.subject_kept is not None and not profile.subject_required <= profile.subject_kept:
        yield "subject.required", "names what subject.keep leaves out"
    if len({attribute.oid for attribute in profile.subject_set}) != len(profile.subject_set):
        yield "subject.set", "has an attribute twice"


def _about_validity(profile: Profile) -> Iterator[tuple[str, str]]:
    if not timedelta(0) < profile.min_validity <= profile.default_validity <= profile.max_validity:
        least, usual, most = map(in_words, (profile.min_validity, profile.default_validity, profile.max_validity))
        text = "the default must lie between min and max, and all of them above 0"
        yield "validity", f"{text}; min is {least}, the default {usual}, and max {most}"
    if [cap.since for cap in profile.caps] != sorted({cap.since for cap in profile.caps}):
        yield "validity.cap", "must be in the order of its dates, each once"
    if low := [cap.longest for cap in profile.caps if cap.longest < profile.min_validity]:
        text = f"{in_words(low[0])} is below min, {in_words(profile.min_validity)}"
        yield "validity.cap", f"{text}: nothing could be issued from that date on"
    if profile.name == OCSP_RESPONDER and profile.max_validity > SHORT_LIVED:
        yield "validity.max", "nobody can revoke a responder certificate: seven days at the most"


def _about_revocation(profile: Profile) -> Iterator[tuple[str, str]]:
    place = "extensions.no_revocation_available"
    if profile.no_revocation_available:
        if profile.max_validity > SHORT_LIVED:
            yield place, f"is for certificates of {in_words(SHORT_LIVED)} at the most: lower validity.max (R119)"
        if profile.ocsp:
            yield place, "contradicts ocsp: set ocsp = false (R119)"
        if profile.crl_distribution_point:
            yield place, "contradicts crl_distribution_point: set crl_distribution_point = false (R119)"
        if profile.must_staple:
            yield place, "contradicts must_staple: choose one (R119)"
        if profile.ocsp_nocheck or profile.authority is not None:
            yield place, "is neither for CAs nor for responders (R119)"
    if profile.must_staple and not profile.ocsp:
        yield "extensions.must_staple", "needs an address to ask: set ocsp = true (R118)"
    if profile.must_staple and (profile.authority is not None or profile.ocsp_nocheck):
        yield "extensions.must_staple", "is for the certificates of TLS servers (R118)"


def _about_roles(profile: Profile) -> Iterator[tuple[str, str]]:
    if profile.name == OCSP_RESPONDER:
        allowed = {"responder"}
    else:
        allowed = {"admin"} if profile.authority is not None else {"admin", "issuer"}
    if not profile.roles or not profile.roles <= allowed:
        yield "roles", _not_out_of(profile.roles, sorted(allowed))
    if profile.authority is not None:
        if profile.allowed_name_kinds or profile.subject_policy != "keep":
            yield "subject", 'a CA is known by its subject alone: policy = "keep", and no kinds of names'
        if not (profile.basic_constraints and profile.subject_key_identifier):
            yield "extensions", "a CA certificate has basic constraints and a subject key identifier (R96, R99)"
        if profile.authority.path_length is not None and profile.authority.path_length < 0:
            yield "ca.path_length", "cannot be below 0"


def _not_out_of(given: frozenset[str], allowed: Iterable[str]) -> str:
    wrong = ", ".join(repr(each) for each in sorted(given - set(allowed)))
    return (f"{wrong} cannot be here: " if wrong else "") + f"needs at least one out of {', '.join(allowed)}"
