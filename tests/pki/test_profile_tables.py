"""Profiles out of a configuration: whole and checked, or every mistake with its place."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from services.pki.profile_tables import read_profiles
from services.pki.profile_text import table_of, toml_of
from services.pki.profiles import BUILTIN
from services.pki.validity import BASELINE_CAPS
from tests.pages import blocks

PAGE = Path(__file__).parents[2] / "docs" / "profiles.md"


def example() -> dict[str, Any]:
    """The tables on the page."""
    text = "".join(blocks(PAGE.read_text("utf-8"), "toml"))
    tables: dict[str, Any] = tomllib.loads(text)["profiles"]
    return tables


def test_the_page_is_right() -> None:
    """The example on docs/profiles.md is a configuration, and means what it says."""
    profiles, problems = read_profiles(example())
    assert problems == ()
    assert set(profiles) == set(BUILTIN) - {"server"} | {"web", "workload", "staff", "machine", "department"}
    assert profiles["web"].caps == BASELINE_CAPS
    assert profiles["workload"].name_rules.most("uri") == 1
    assert profiles["department"].authority != BUILTIN["intermediate"].authority


@pytest.mark.parametrize("name", [*sorted(set(BUILTIN) - {"ocsp-responder"}), "web", "staff", "machine", "department"])
def test_what_is_shown_can_be_read_again(name: str) -> None:
    """The TOML of a profile is that profile, whatever it is based on."""
    profile = {**BUILTIN, **read_profiles(example())[0]}[name]
    table = tomllib.loads(toml_of(profile))["profiles"][name]
    read, problems = read_profiles({"again": {"based_on": "client", **table}})
    assert problems == ()
    assert read["again"] == replace(profile, name="again")


# Each: the table of a profile `x` and the place and text of what is wrong with it.
MISTAKES: dict[str, tuple[dict[str, Any], str, str]] = {
    "misspelt table": ({"nmaes": {}}, "nmaes", "spelling mistake"),
    "misspelt key": ({"validity": {"maximum": "1d"}}, "validity maximum", "spelling mistake"),
    "bare number": ({"validity": {"max": 90}}, "validity max", "a unit out of"),
    "default above max": ({"validity": {"default": "900d"}}, "validity", "the default 900 days, and max 825 days"),
    "unordered caps": (
        {"validity": {"cap": [{"from": date(2028, 1, 1), "max": "9d"}, {"from": date(2027, 1, 1), "max": "99d"}]}},
        "validity cap",
        "order of its dates",
    ),
    "wildcard as a domain": ({"names": {"dns": {"allowed": ["*.a.example"]}}}, "names dns allowed[0]", "a domain"),
    "wildcards without subdomains": (
        {"names": {"dns": {"subdomains": False, "wildcards": True}}},
        "names dns wildcards",
        "contradicts subdomains",
    ),
    "bits beyond the range": ({"names": {"ip": {"allowed": ["10.0.0.1/8"]}}}, "names ip allowed[0]", "range"),
    "no scheme": ({"names": {"uri": {"allowed": ["example.com"]}}}, "names uri allowed[0]", "beginning of a URI"),
    "no names at all": ({"names": {"dns": False, "ip": False}}, "names", "nothing could be issued"),
    "country of three letters": (
        {"subject": {"set": {"C": "NLD"}}},
        "subject set C",
        'two capital letters; it is "NLD"',
    ),
    "attribute": ({"subject": {"set": {"XX": "a"}}}, "subject set XX", "out of DC, C"),
    "CA set names": ({"subject": {"policy": "ca-sets"}}, "subject policy", "'cn-only', 'keep' or 'none'"),
    "unknown key type": ({"keys": {"types": ["dsa"]}}, "keys types", "at least one out of rsa"),
    "unknown key type among others": ({"keys": {"types": ["p256", "dsa"]}}, "keys types", "'dsa' cannot be here"),
    "no table": ({"keys": 3}, "keys", "must be a table"),
    "neither yes nor no": ({"names": {"ip": "yes"}}, "names ip", "must be true, false, or a table"),
    "small RSA": ({"keys": {"rsa_min_bits": 1024}}, "keys rsa_min_bits", "from 2048 to 8192; it is 1024"),
    "large RSA": ({"keys": {"rsa_max_bits": 9999}}, "keys rsa_max_bits", "from 2048 to 8192; it is 9999"),
    "RSA sizes out of order": (
        {"keys": {"rsa_min_bits": 4096, "rsa_max_bits": 3072}},
        "keys rsa_min_bits",
        "rsa_min_bits is 4096, and rsa_max_bits 3072",
    ),
    "size in quotes": ({"keys": {"rsa_min_bits": "3072"}}, "keys rsa_min_bits", 'from 2048 to 8192; it is "3072"'),
    "true for a number": ({"names": {"dns": {"max": True}}}, "names dns max", "from 1 to 100; it is true"),
    "none of a kind": ({"names": {"ip": {"max": 0}}}, "names ip max", "must be a whole number from 1 to 100; it is 0"),
    "yes": (
        {"names": {"dns": {"wildcards": "yes"}}},
        "names dns wildcards",
        'true or false, without quotes; it is "yes"',
    ),
    "off": ({"extensions": {"must_staple": "off"}}, "extensions must_staple", 'without quotes; it is "off"'),
    "zero": ({"names": {"email": {"subdomains": 0}}}, "names email subdomains", "without quotes; it is 0"),
    "switched off in quotes": ({"enabled": "false"}, "enabled", 'without quotes; it is "false"'),
    "no cap": (
        {"validity": {"cap": "never"}},
        "validity cap",
        'must be "baseline", or a list such as [{ from = 2027-01-01, max = "60d" }]; it is "never"',
    ),
    "cap without a table": ({"validity": {"cap": [3]}}, "validity cap[0]", "must be a table; it is 3"),
    "cap below min": (
        {"validity": {"min": "2d", "cap": [{"from": date(2027, 1, 1), "max": "1d"}]}},
        "validity cap",
        "1 days is below min, 2 days",
    ),
    "role without a list": ({"roles": "admin"}, "roles", 'must be a list, in brackets; it is "admin"'),
    "domain without a list": (
        {"names": {"dns": {"allowed": "a.b"}}},
        "names dns allowed",
        "must be a list, in brackets",
    ),
    "text without quotes": ({"description": 3}, "description", "must be text, in quotes; it is 3"),
    "long text": ({"description": "x" * 201}, "description", "must not be longer than 200 characters"),
    "deep CA": (
        {"based_on": "intermediate", "ca": {"path_length": "any"}},
        "ca path_length",
        'must be a whole number from 0 to 100, or "unlimited"; it is "any"',
    ),
    "keyEncipherment alone": (
        {"extensions": {"key_usage": ["keyEncipherment"]}},
        "extensions key_usage",
        "nothing for keys of the types ed25519",
    ),
    "keyCertSign": ({"extensions": {"key_usage": ["keyCertSign"]}}, "extensions key_usage", "for CAs"),
    "OCSPSigning (R69)": (
        {"extensions": {"extended_key_usage": ["serverAuth", "OCSPSigning"]}},
        "extensions extended_key_usage",
        "ocsp-responder alone",
    ),
    "any purpose": (
        {"extensions": {"extended_key_usage": ["anyExtendedKeyUsage"]}},
        "extensions extended_key_usage",
        "more than any profile",
    ),
    "purpose by a wrong name": (
        {"extensions": {"extended_key_usage": ["server"]}},
        "extensions extended_key_usage[0]",
        "out of serverAuth",
    ),
    "staple without OCSP (R118)": (
        {"extensions": {"must_staple": True, "ocsp": False}},
        "extensions must_staple",
        "ocsp = true",
    ),
    "noRevAvail for long (R119)": (
        {"extensions": {"no_revocation_available": True, "ocsp": False, "crl_distribution_point": False}},
        "extensions no_revocation_available",
        "7 days at the most",
    ),
    "noRevAvail and OCSP (R119)": (
        {"based_on": "server-short", "extensions": {"ocsp": True}},
        "extensions no_revocation_available",
        "contradicts ocsp",
    ),
    "noRevAvail and CRL (R119)": (
        {"based_on": "server-short", "extensions": {"crl_distribution_point": True}},
        "extensions no_revocation_available",
        "contradicts crl_distribution_point",
    ),
    "role of gateways": (
        {"roles": ["admin", "responder"]},
        "roles",
        "'responder' cannot be here: needs at least one out of",
    ),
    "CA for issuers": ({"based_on": "intermediate", "roles": ["issuer"]}, "roles", "out of admin"),
    "CA without keyCertSign": (
        {"based_on": "intermediate", "extensions": {"key_usage": ["cRLSign"]}},
        "extensions key_usage",
        "keyCertSign and cRLSign",
    ),
    "unknown base": ({"based_on": "servre"}, "based_on", "out of server, "),
    "based on itself": ({"based_on": "x"}, "based_on", "out of server, "),
    "based on the responder": ({"based_on": "ocsp-responder"}, "based_on", "out of server, "),
    "purpose twice": (
        {"extensions": {"extended_key_usage": ["serverAuth", "1.3.6.1.5.5.7.3.1"]}},
        "extensions extended_key_usage",
        "twice",
    ),
    "policy twice": (
        {"extensions": {"certificate_policies": ["1.2.3", {"oid": "1.2.3"}]}},
        "extensions certificate_policies",
        "twice",
    ),
    "policy out of range": (
        {"extensions": {"certificate_policies": [f"2.{2**200}.1"]}},
        "extensions certificate_policies[0] oid",
        "no object identifier",
    ),
    "policy with a script": (
        {"extensions": {"certificate_policies": [{"oid": "1.2.3", "url": "javascript:x"}]}},
        "extensions certificate_policies[0] url",
        "an address such as",
    ),
    "unknown linter": ({"lint": "zlint"}, "lint", "'pkix' or 'cabf-serverauth'"),
}


@pytest.mark.parametrize(("table", "place", "text"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(table: dict[str, Any], place: str, text: str) -> None:
    """Each is found, with table and key, and says what would be right."""
    problems = read_profiles({"x": table})[1]
    assert {problem.place for problem in problems} == {("profiles", "x", *place.split())}
    assert any(text in problem.text for problem in problems), problems


def _with(table: dict[str, Any], value: object) -> Iterator[dict[str, Any]]:
    """The table with each of its settings, those of its tables as well, in turn replaced by a value."""
    for key, held in table.items():
        yield {**table, key: value}
        if isinstance(held, dict):
            yield from ({**table, key: inner} for inner in _with(held, value))


@pytest.mark.parametrize(
    "value",
    [3, -1, 1.5, True, "x", "", [], [3], ["x"], [[]], [{}], {}, {"a": 1}, date(2027, 1, 1)],
    ids=lambda value: str(value) or "empty",
)
def test_mistakes_are_told_in_our_words(value: object) -> None:
    """Whatever stands for whatever setting: no text is the library's."""
    profiles = {**BUILTIN, **read_profiles(example())[0]}
    for name in ("web", "staff", "machine", "workload", "department"):
        for table in _with(table_of(profiles[name]), value):
            base = "intermediate" if name == "department" else "server"
            for problem in read_profiles({"x": {"based_on": base, **table}})[1]:
                assert not re.search(r"Input|Error|valid |frozenset|tuple|\bdict", problem.text), (problem, table)


def test_all_mistakes_come_at_once() -> None:
    """Those of several tables and profiles, of names beside those of content, and what is not out of a list.

    What depends on a setting that cannot be read is not guessed at: `f` has a validity that may fit.
    """
    problems = read_profiles(
        {
            "Web": {},
            "ca": {"typo": 1},
            "imported": {},
            "ocsp-responder": {"validity": {"max": "3650d"}},
            "a": {"based_on": "b"},
            "b": {"based_on": "a"},
            "c": {"validity": {"max": "x", "min": "y"}, "names": {"dns": {"allowed": [1]}}},
            "d": {"enabled": "no"},
            "e": {"typo": 1, "roles": ["nobody"], "keys": {"types": ["dsa"]}, "subject": {"set": {"XX": "a"}}},
            "f": {
                "validity": {"max": "7dd"},
                "extensions": {"no_revocation_available": True, "must_staple": True, "ocsp": False},
            },
            "g": {"names": {"dns": 3}, "subject": {"policy": "none"}, "validity": {"default": "900d"}},
            "h": {"based_on": "intermediate", "ca": {"path_length": -1}, "extensions": {"key_usage": ["cRLSign"]}},
        }
    )[1]
    assert {problem.place[1:] for problem in problems} == {
        ("Web",),
        ("ca",),
        ("ca", "typo"),
        ("imported",),
        ("ocsp-responder",),
        ("a", "based_on"),
        ("b", "based_on"),
        ("c", "validity", "max"),
        ("c", "validity", "min"),
        ("c", "names", "dns", "allowed[0]"),
        ("d", "enabled"),
        ("e", "typo"),
        ("e", "roles"),
        ("e", "keys", "types"),
        ("e", "subject", "set", "XX"),
        ("f", "validity", "max"),
        ("f", "extensions", "must_staple"),
        ("g", "names", "dns"),
        ("g", "validity"),
        ("h", "ca", "path_length"),
    }


def test_a_wrong_base_hides_nothing() -> None:
    """A misspelt base, a circle, a bad name, mistakes in the base: the rest of the table is looked at all the same."""
    problems = read_profiles(
        {
            "a": {"based_on": "servre", "keys": {"types": 1}, "typo": 1},
            "b": {"based_on": "b2", "validity": {"max": "x"}},
            "b2": {"based_on": "b"},
            "C": {"names": {"dns": 3}},
            "d": {"lint": "zlint"},
            "e": {"based_on": "d", "lint_level": "fatal"},
            "f": {"based_on": "a"},
        }
    )[1]
    assert sorted(problem.place[1:] for problem in problems) == [
        ("C",),
        ("C", "names", "dns"),
        ("a", "based_on"),
        ("a", "keys", "types"),
        ("a", "typo"),
        ("b", "based_on"),
        ("b", "validity", "max"),
        ("b2", "based_on"),
        ("d", "lint"),
        ("e", "lint_level"),
    ]


def test_what_is_wrong_on_any_base() -> None:
    """Where the base is not known, what is wrong whichever is meant is told; what may be right then is not."""
    problems = read_profiles(
        {
            "a": {
                "based_on": "nope",
                "roles": ["nobody"],
                "keys": {"types": ["dsa"], "rsa_min_bits": 512},
                "subject": {"set": {"C": "Netherlands"}},
                "extensions": {"key_usage": ["keyCertSign"]},
            },
            # Right for a CA; for a profile with the validity of `long`; for one without a default above it.
            "b": {"based_on": "intermedate", "extensions": {"key_usage": ["keyCertSign", "cRLSign"]}},
            "c": {"based_on": "lomg", "validity": {"default": "4000d"}},
            "d": {"based_on": "servre-short", "validity": {"max": "7d"}},
            "long": {"validity": {"max": "5000d"}},
        }
    )[1]
    assert [problem.place[1:] for problem in problems] == [
        ("a", "based_on"),
        ("a", "keys", "rsa_min_bits"),
        ("a", "subject", "set", "C"),
        ("a", "keys", "types"),
        ("a", "extensions", "key_usage"),
        ("a", "roles"),
        ("b", "based_on"),
        ("c", "based_on"),
        ("d", "based_on"),
    ]


def test_a_mistake_hides_none_that_does_not_depend_on_it() -> None:
    """Settings of one table that have nothing to do with each other are all told of; what may be right then is not."""
    problems = read_profiles(
        {
            "x": {
                "keys": {"types": "all", "rsa_min_bits": 512},
                "validity": {"default": "x", "max": "1d"},
                "subject": {"policy": "most", "set": {"C": "Netherlands"}},
                "extensions": {
                    "key_usage": ["digital"],
                    "extended_key_usage": ["OCSPSigning", "anyExtendedKeyUsage"],
                    "must_staple": True,
                    "ocsp": False,
                },
            }
        }
    )[1]
    assert sorted({problem.place[2:] for problem in problems}) == [
        ("extensions", "extended_key_usage"),
        ("extensions", "key_usage[0]"),
        ("extensions", "must_staple"),
        ("keys", "rsa_min_bits"),
        ("keys", "types"),
        ("subject", "policy"),
        ("subject", "set", "C"),
        ("validity", "default"),
    ]


@pytest.mark.parametrize("tables", [1, [], {"x": 1}], ids=["number", "list", "value"])
def test_what_is_no_table(tables: object) -> None:
    """`profiles` holds tables, and nothing else."""
    assert [problem.place for problem in read_profiles(tables)[1]] == [("profiles",)]


def test_nothing_is_configured() -> None:
    """Without tables there are the built-in profiles."""
    assert read_profiles({}) == (dict(BUILTIN), ())


def test_profiles_are_based_on_each_other_in_any_order() -> None:
    """What a profile is based on may come later, may be built in and changed, and may be switched off."""
    profiles, problems = read_profiles(
        {
            "b": {"based_on": "a", "description": "B"},
            "a": {"based_on": "server", "names": {"ip": False}},
            "server": {"enabled": False, "validity": {"default": "5d"}},
        }
    )
    assert problems == ()
    assert "server" not in profiles
    assert (profiles["b"].default_validity.days, profiles["b"].allowed_name_kinds) == (5, frozenset({"dns"}))
