"""A profile as a configuration would say it: every setting, with its value. Read again, it is the same profile."""

from __future__ import annotations

from typing import Any

from services.pki import profile_words as words
from services.pki.name_rules import AddressRule, DomainRule, UriRule
from services.pki.profile import KEY_TYPES, Authority, NameConstraints, Policy, Profile
from services.pki.validity import BASELINE_CAPS

_KINDS = ("dns", "ip", "email", "uri")


def table_of(profile: Profile) -> dict[str, Any]:
    """The table of a profile."""
    table: dict[str, Any] = {"description": profile.description, "roles": sorted(profile.roles)}
    if profile.lint is not None:
        table |= {"lint": profile.lint, "lint_level": profile.lint_level, "lint_accept": sorted(profile.lint_accept)}
    table["keys"] = {
        "types": [kind for kind in KEY_TYPES if kind in profile.key_types],
        "rsa_min_bits": profile.min_rsa_bits,
        "rsa_max_bits": profile.max_rsa_bits,
    }
    table["validity"] = _validity(profile)
    table["names"] = {kind: _names(profile, kind) for kind in _KINDS}
    table["subject"] = _subject(profile)
    table["extensions"] = _extensions(profile)
    if profile.authority is not None:
        table["ca"] = _authority(profile.authority)
    return table


def toml_of(profile: Profile) -> str:
    """The profile as TOML, ready for a configuration file."""
    return words.to_toml({"profiles": {profile.name: table_of(profile)}})


def _validity(profile: Profile) -> dict[str, Any]:
    caps = [{"from": words.write_day(cap.since), "max": words.write_duration(cap.longest)} for cap in profile.caps]
    return {
        "default": words.write_duration(profile.default_validity),
        "min": words.write_duration(profile.min_validity),
        "max": words.write_duration(profile.max_validity),
        "cap": "baseline" if profile.caps == BASELINE_CAPS else caps,
    }


def _names(profile: Profile, kind: str) -> Any:
    if kind not in profile.allowed_name_kinds:
        return False
    rule = profile.name_rules.rule(kind)
    if rule is None:
        return True
    table: dict[str, Any] = {} if rule.allowed is None else {"allowed": [str(each) for each in rule.allowed]}
    table["forbidden"] = [str(each) for each in rule.forbidden]
    match rule:
        case DomainRule():
            table["subdomains"] = rule.subdomains
            if kind == "dns":
                table["wildcards"] = rule.wildcards
        case UriRule():
            table["trust_domains"] = list(rule.trust_domains)
        case AddressRule():
            pass
    return table if rule.most is None else {**table, "max": rule.most}


def _subject(profile: Profile) -> dict[str, Any]:
    table: dict[str, Any] = {"policy": profile.subject_policy}
    if profile.subject_kept is not None:
        table["keep"] = sorted(map(words.write_attribute, profile.subject_kept))
    table["required"] = sorted(map(words.write_attribute, profile.subject_required))
    table["set"] = {words.write_attribute(each.oid): each.value for each in profile.subject_set}
    return table


def _extensions(profile: Profile) -> dict[str, Any]:
    return {
        "key_usage": [name for usage, name in words.USAGE_NAMES.items() if usage in profile.key_usages],
        "extended_key_usage": [words.write_purpose(oid) for oid in profile.extended_key_usages],
        "certificate_policies": [_policy(policy) for policy in profile.policies],
        "basic_constraints": profile.basic_constraints,
        "subject_key_identifier": profile.subject_key_identifier,
        "ocsp": profile.ocsp,
        "ca_issuers": profile.ca_issuers,
        "crl_distribution_point": profile.crl_distribution_point,
        "must_staple": profile.must_staple,
        "no_revocation_available": profile.no_revocation_available,
    }


def _policy(policy: Policy) -> Any:
    oid = policy.oid.dotted_string
    return oid if policy.statement_url is None else {"oid": oid, "url": policy.statement_url}


def _authority(authority: Authority) -> dict[str, Any]:
    constraints = authority.name_constraints or NameConstraints()
    return {
        "path_length": "unlimited" if authority.path_length is None else authority.path_length,
        "permitted": _subtrees(constraints.permitted),
        "excluded": _subtrees(constraints.excluded),
    }


def _subtrees(pairs: tuple[tuple[str, Any], ...]) -> dict[str, list[str]]:
    return {kind: found for kind in _KINDS if (found := [str(value) for of_kind, value in pairs if of_kind == kind])}
