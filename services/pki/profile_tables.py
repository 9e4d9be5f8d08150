"""Profiles out of a configuration: `[profiles.NAME]` tables become whole, checked profiles, or a list of all mistakes.

A profile says only what differs from the one that it is based on: `based_on`, or the built-in one of the same name, or
else `server`. Tables are taken together key by key; lists and values are replaced. `enabled = false` takes a built-in
profile away. `ocsp-responder` stays as it is: other parts of the system rely on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal

from cryptography import x509
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, Strict, ValidationError

from services.mistakes import has_value, shown, told
from services.pki import profile_words as words
from services.pki.name_rules import AddressRule, DomainRule, NameRules, Network, UriRule
from services.pki.profile import (
    MAX_RSA_BITS,
    MIN_RSA_BITS,
    OCSP_RESPONDER,
    Authority,
    NameConstraints,
    Policy,
    Profile,
    ProfileInvalid,
    SubjectAttribute,
)
from services.pki.profile_text import table_of
from services.pki.profiles import BUILTIN, DEFAULT_PROFILE
from services.pki.subjects import subject_problem
from services.pki.validity import BASELINE_CAPS, Cap

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (`profiles`, name, table, key), and what, with the cure."""

    place: tuple[str, ...]
    text: str


_Duration = Annotated[timedelta, BeforeValidator(words.read_duration)]
_Day = Annotated[datetime, BeforeValidator(words.read_day)]
_Oid = Annotated[InstanceOf[x509.ObjectIdentifier], BeforeValidator(words.read_oid)]
_Purpose = Annotated[InstanceOf[x509.ObjectIdentifier], BeforeValidator(words.read_purpose)]
_Attribute = Annotated[InstanceOf[x509.ObjectIdentifier], BeforeValidator(words.read_attribute)]
_Usage = Annotated[str, BeforeValidator(words.read_usage)]
_Domain = Annotated[str, BeforeValidator(words.read_domain)]
_Prefix = Annotated[str, BeforeValidator(words.read_prefix)]
_TrustDomain = Annotated[str, BeforeValidator(words.read_trust_domain)]
_Url = Annotated[str, BeforeValidator(words.read_url)]
_Network = Annotated[Network, BeforeValidator(words.read_network)]
_Switch = Annotated[bool, Strict()]
"""True or false. "no" or 0 would be a policy that is easily misread."""
_Bits = Annotated[int, BeforeValidator(partial(words.read_number, least=MIN_RSA_BITS, most=MAX_RSA_BITS))]
_Most = Annotated[int, BeforeValidator(partial(words.read_number, least=1, most=100))] | None


class _Table(BaseModel):
    # A misspelt key would otherwise leave its default in force without a word.
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _yes_or_no(value: object) -> object:
    """`dns = true` takes any name of the kind, `false` none."""
    return {} if value is True else None if value is False else value


def _whole_policy(value: object) -> object:
    return {"oid": value} if isinstance(value, str) else value


class _Keys(_Table):
    types: frozenset[str]
    rsa_min_bits: _Bits
    rsa_max_bits: _Bits


class _Cap(_Table):
    since: _Day = Field(alias="from")
    longest: _Duration = Field(alias="max")


class _Validity(_Table):
    default: _Duration
    min: _Duration
    max: _Duration
    cap: Annotated[tuple[_Cap, ...] | None, BeforeValidator(words.read_caps)]
    """None for the preset."""


class _Dns(_Table):
    allowed: tuple[_Domain, ...] | None = None
    forbidden: tuple[_Domain, ...] = ()
    subdomains: _Switch = True
    wildcards: _Switch | None = None
    max: _Most = None

    def rule(self) -> DomainRule:
        wildcards = self.subdomains if self.wildcards is None else self.wildcards
        return DomainRule(
            allowed=self.allowed,
            forbidden=self.forbidden,
            subdomains=self.subdomains,
            wildcards=wildcards,
            most=self.max,
        )


class _Email(_Table):
    allowed: tuple[_Domain, ...] | None = None
    forbidden: tuple[_Domain, ...] = ()
    subdomains: _Switch = False
    max: _Most = None

    def rule(self) -> DomainRule:
        return DomainRule(
            allowed=self.allowed, forbidden=self.forbidden, subdomains=self.subdomains, wildcards=False, most=self.max
        )


class _Ip(_Table):
    allowed: tuple[_Network, ...] | None = None
    forbidden: tuple[_Network, ...] = ()
    max: _Most = None

    def rule(self) -> AddressRule:
        return AddressRule(allowed=self.allowed, forbidden=self.forbidden, most=self.max)


class _Uri(_Table):
    allowed: tuple[_Prefix, ...] | None = None
    trust_domains: tuple[_TrustDomain, ...] = ()
    forbidden: tuple[_Prefix, ...] = ()
    max: _Most = None

    def rule(self) -> UriRule:
        return UriRule(allowed=self.allowed, trust_domains=self.trust_domains, forbidden=self.forbidden, most=self.max)


class _Names(_Table):
    dns: Annotated[_Dns | None, BeforeValidator(_yes_or_no)]
    ip: Annotated[_Ip | None, BeforeValidator(_yes_or_no)]
    email: Annotated[_Email | None, BeforeValidator(_yes_or_no)]
    uri: Annotated[_Uri | None, BeforeValidator(_yes_or_no)]

    def kinds(self) -> frozenset[str]:
        return frozenset(kind for kind in ("dns", "ip", "email", "uri") if getattr(self, kind) is not None)

    def rules(self) -> NameRules:
        # An empty table is `true`: no rule, which is quicker to keep.
        return NameRules(
            dns=self.dns.rule() if self.dns and self.dns != _Dns() else None,
            ip=self.ip.rule() if self.ip and self.ip != _Ip() else None,
            email=self.email.rule() if self.email and self.email != _Email() else None,
            uri=self.uri.rule() if self.uri and self.uri != _Uri() else None,
        )


class _Subject(_Table):
    policy: Literal["cn-only", "keep", "none"]
    keep: frozenset[_Attribute] | None = None
    required: frozenset[_Attribute] = frozenset()
    set: dict[_Attribute, str] = {}


class _Policy(_Table):
    oid: _Oid
    url: _Url | None = None


class _Extensions(_Table):
    key_usage: frozenset[_Usage]
    extended_key_usage: tuple[_Purpose, ...]
    certificate_policies: tuple[Annotated[_Policy, BeforeValidator(_whole_policy)], ...]
    basic_constraints: _Switch
    subject_key_identifier: _Switch
    ocsp: _Switch
    ca_issuers: _Switch
    crl_distribution_point: _Switch
    must_staple: _Switch
    no_revocation_available: _Switch


class _Subtrees(_Table):
    dns: tuple[_Domain, ...] = ()
    ip: tuple[_Network, ...] = ()
    email: tuple[_Domain, ...] = ()
    uri: tuple[_Domain, ...] = ()

    def pairs(self) -> tuple[tuple[str, Any], ...]:
        return tuple((kind, value) for kind in ("dns", "ip", "email", "uri") for value in getattr(self, kind))


class _Ca(_Table):
    path_length: Annotated[int | None, BeforeValidator(words.read_path_length)] = 0
    permitted: _Subtrees = _Subtrees()
    excluded: _Subtrees = _Subtrees()

    def authority(self) -> Authority:
        permitted, excluded = self.permitted.pairs(), self.excluded.pairs()
        constraints = NameConstraints(permitted=permitted, excluded=excluded) if permitted or excluded else None
        return Authority(path_length=self.path_length, name_constraints=constraints)


class _Profile(_Table):
    description: str = Field(max_length=200)
    roles: frozenset[str]
    lint: Literal["pkix", "cabf-serverauth"] | None = None
    lint_level: Literal["error", "warning"] = "error"
    lint_accept: frozenset[str] = frozenset()
    keys: _Keys
    validity: _Validity
    names: _Names
    subject: _Subject
    extensions: _Extensions
    ca: _Ca | None = None


def read_profiles(tables: object) -> tuple[Mapping[str, Profile], tuple[Problem, ...]]:
    """Read the table `profiles` of a configuration: all profiles, built-in ones included, and all mistakes.

    Where there is a mistake, the profiles are not to be used.
    """
    if not isinstance(tables, Mapping) or not all(isinstance(table, Mapping) for table in tables.values()):
        return BUILTIN, (Problem(("profiles",), "must hold tables only, as in [profiles.web]"),)
    problems = list(_head_problems(tables))
    bad = {problem.place[1] for problem in problems}
    readable = {name: table for name, table in tables.items() if name not in bad}
    profiles: dict[str, Profile] = dict(BUILTIN)
    baseless = sorted(bad - {OCSP_RESPONDER})
    for name in _in_order(readable):
        base = profiles.get(_base_of(name, readable))
        if base is None:
            baseless.append(name)
            continue
        profile, found = _read(name, readable[name], base)
        problems += found
        if profile is not None:
            profiles[name] = profile
    bases = [profile for name, profile in profiles.items() if name != OCSP_RESPONDER]
    for name in baseless:
        problems += _read_without_base(name, tables[name], bases)
    for name, table in tables.items():
        if table.get("enabled") is False:
            profiles.pop(name, None)
    order = list(tables)
    return profiles, tuple(sorted(problems, key=lambda problem: order.index(problem.place[1])))


def _head_problems(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[Problem]:
    """What is wrong with names, and with who is based on whom."""
    for name, table in tables.items():
        if not _NAME.fullmatch(name):
            yield Problem(("profiles", name), "a name has 1 to 64 lower-case letters, digits, dashes and underscores")
        if name == OCSP_RESPONDER:
            yield Problem(("profiles", name), "is built in and stays as it is: remove the table")
            continue
        if not isinstance(table.get("enabled", True), bool):
            text = f"must be true or false, without quotes; it is {shown(table['enabled'])}"
            yield Problem(("profiles", name, "enabled"), text)
        base = table.get("based_on", name if name in BUILTIN else DEFAULT_PROFILE)
        known = [each for each in (*BUILTIN, *tables) if each not in (name, OCSP_RESPONDER)]
        if base == OCSP_RESPONDER or (base != name and base not in known) or (base == name and name not in BUILTIN):
            text = f"must be out of {', '.join(dict.fromkeys(known))}; it is {shown(base)}"
            yield Problem(("profiles", name, "based_on"), text)
        elif _goes_in_circles(name, tables):
            yield Problem(("profiles", name, "based_on"), "goes in circles: base one of them on a built-in profile")


def _base_of(name: str, tables: Mapping[str, Mapping[str, Any]]) -> str:
    default = name if name in BUILTIN else DEFAULT_PROFILE
    return str(tables[name].get("based_on", default)) if name in tables else name


def _goes_in_circles(name: str, tables: Mapping[str, Mapping[str, Any]]) -> bool:
    seen = [name]
    while (base := _base_of(seen[-1], tables)) != seen[-1]:
        if base in seen:
            return True
        seen.append(base)
    return False


def _in_order(tables: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Each after the one that it is based on."""
    ordered: list[str] = []

    def add(name: str) -> None:
        base = _base_of(name, tables)
        if base in tables and base != name:
            add(base)
        if name not in ordered:
            ordered.append(name)

    for name in tables:
        add(name)
    return ordered


def _read(name: str, table: Mapping[str, Any], base: Profile) -> tuple[Profile | None, list[Problem]]:
    """The profile, or what is wrong with its table."""
    own = {key: value for key, value in table.items() if key not in ("based_on", "enabled")}
    settings = table_of(base)
    whole = _merged(settings, own)
    try:
        read = _Profile.model_validate(whole)
    except ValidationError as error:
        problems = [Problem(("profiles", name, *_location(each["loc"])), _text(each)) for each in error.errors()]
        return None, problems + _beside(name, whole, settings, error)
    problems, profile = _contradictions(name, read)
    return (None if problems else profile), problems


def _read_without_base(name: str, table: Mapping[str, Any], bases: Sequence[Profile]) -> list[Problem]:
    """What is wrong with a table whose base is not known: what would be wrong whichever of these it is based on."""
    first, *others = (_read(name, table, base)[1] for base in bases)
    places = [{problem.place for problem in found} for found in others]
    return [problem for problem in first if all(problem.place in found for found in places)]


def _contradictions(name: str, read: _Profile) -> tuple[list[Problem], Profile | None]:
    """What is wrong with settings that can each be read."""
    problems = [Problem(("profiles", name, *place), text) for place, text in _further_problems(read)]
    try:
        return problems, _profile(name, read)
    except ProfileInvalid as invalid:
        told = [(filter(None, place.split(".")), text) for place, text in invalid.problems]
        return problems + [Problem(("profiles", name, *place), text) for place, text in told], None


def _beside(name: str, whole: dict[str, Any], base: Mapping[str, Any], error: ValidationError) -> list[Problem]:
    """What is wrong beside settings that cannot be read.

    They are taken from the base instead, and what is said with them in mind is not told.
    """
    unread = {tuple(str(part) for part in each["loc"][:2]) for each in error.errors()}
    mended = {key: dict(value) if isinstance(value, Mapping) else value for key, value in whole.items()}
    for table, *keys in unread:
        holder, source, key = mended, base, table
        if keys and isinstance(mended.get(table), dict) and isinstance(base.get(table), Mapping):
            holder, source, key = mended[table], base[table], keys[0]
        holder.pop(key, None)
        if key in source:
            holder[key] = source[key]
    try:
        read = _Profile.model_validate(mended)
    except ValidationError:
        return []
    return [each for each in _contradictions(name, read)[0] if not _looks_at(each.place[2:], unread)]


_LOOKED_AT = {
    "extensions": "extensions.basic_constraints extensions.subject_key_identifier ca",
    "extensions.extended_key_usage": "extensions.extended_key_usage ca",
    "extensions.key_usage": "extensions.key_usage keys.types ca",
    "extensions.must_staple": "extensions.must_staple extensions.ocsp ca",
    "extensions.no_revocation_available": (
        "extensions.no_revocation_available extensions.ocsp extensions.crl_distribution_point extensions.must_staple"
        " validity.max ca"
    ),
    "keys.rsa_min_bits": "keys.rsa_min_bits keys.rsa_max_bits",
    "names": "names subject.policy",
    "roles": "roles ca",
    "subject": "subject.policy names ca",
    "subject.keep": "subject.keep subject.policy",
    "subject.required": "subject.required subject.keep subject.policy",
    "validity": "validity",
    "validity.cap": "validity.cap validity.min",
}
"""Where a contradiction is told -> the settings and tables that it is between. Elsewhere it is that setting alone."""


def _looks_at(place: tuple[str, ...], unread: set[tuple[str, ...]]) -> bool:
    told = ".".join(place[:2])
    settings = [tuple(each.split(".")) for each in _LOOKED_AT.get(told, told).split()]
    return any(each[: len(one)] == one[: len(each)] for each in settings for one in unread)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        earlier = merged.get(key)
        if isinstance(earlier, Mapping) and isinstance(value, Mapping) and key != "set":
            merged[key] = _merged(earlier, value)
        else:
            merged[key] = value
    return merged


def _location(place: tuple[int | str, ...]) -> list[str]:
    """The keys on the way; a number is a place in a list, and belongs to the key before it."""
    keys: list[str] = []
    for part in place:
        if isinstance(part, int) and keys:
            keys[-1] += f"[{part}]"
        elif part != "[key]":  # it is the key itself that is wrong
            keys.append(str(part))
    return keys


def _text(error: Mapping[str, Any]) -> str:
    """What is allowed, and what is there instead."""
    place = error["loc"]
    text = told(error, _Profile)
    if error["type"] == "model_type" and place[0] == "names" and len(place) == 2:
        text = "must be true, false, or a table with what is allowed"
    return f"{text}; it is {shown(error['input'])}" if has_value(error) else text


def _further_problems(read: _Profile) -> Iterator[tuple[tuple[str, ...], str]]:
    dns = read.names.dns
    if dns is not None and dns.wildcards and not dns.subdomains:
        yield ("names", "dns", "wildcards"), "contradicts subdomains = false: leave one of them out"
    for oid, value in read.subject.set.items():
        problem = subject_problem([(oid, value)])
        if problem or not value.strip() or not value.isprintable():
            text = problem or f"{words.write_attribute(oid)} must be plain text that can be seen"
            yield ("subject", "set", words.write_attribute(oid)), f"{text}; it is {shown(value)}"


def _profile(name: str, read: _Profile) -> Profile:
    return Profile(
        name=name,
        description=read.description,
        roles=read.roles,
        key_types=read.keys.types,
        min_rsa_bits=read.keys.rsa_min_bits,
        max_rsa_bits=read.keys.rsa_max_bits,
        default_validity=read.validity.default,
        max_validity=read.validity.max,
        min_validity=read.validity.min,
        caps=BASELINE_CAPS if read.validity.cap is None else _caps(read.validity.cap),
        allowed_name_kinds=read.names.kinds(),
        name_rules=read.names.rules(),
        subject_policy=read.subject.policy,
        subject_kept=read.subject.keep,
        subject_required=read.subject.required,
        subject_set=tuple(SubjectAttribute(oid, value) for oid, value in read.subject.set.items()),
        key_usages=read.extensions.key_usage,
        extended_key_usages=read.extensions.extended_key_usage,
        policies=tuple(Policy(policy.oid, policy.url) for policy in read.extensions.certificate_policies),
        basic_constraints=read.extensions.basic_constraints,
        subject_key_identifier=read.extensions.subject_key_identifier,
        ocsp=read.extensions.ocsp,
        ca_issuers=read.extensions.ca_issuers,
        crl_distribution_point=read.extensions.crl_distribution_point,
        must_staple=read.extensions.must_staple,
        no_revocation_available=read.extensions.no_revocation_available,
        authority=read.ca.authority() if read.ca is not None else None,
        lint=read.lint,
        lint_level=read.lint_level,
        lint_accept=read.lint_accept,
    )


def _caps(caps: tuple[_Cap, ...]) -> tuple[Cap, ...]:
    return tuple(Cap(cap.since, cap.longest) for cap in caps)
