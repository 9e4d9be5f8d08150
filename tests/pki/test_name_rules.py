"""Which names a profile takes: what is allowed, what is forbidden, and what a wildcard stands for."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from services.errors import InvalidArgument
from services.pki.name_rules import AddressRule, DomainRule, NameRules, UriRule
from services.pki.names import SubjectAlternativeNames, check_names

AT_AND_BELOW = DomainRule(allowed=("example.com",), forbidden=("secret.example.com",))
EXACT = DomainRule(allowed=("example.com",), subdomains=False, wildcards=False)
BELOW = DomainRule(allowed=(".example.com",), wildcards=False)
NETWORKS = AddressRule(allowed=(ip_network("10.0.0.0/8"), ip_network("::/0")), forbidden=(ip_network("10.6.0.0/16"),))
PREFIXES = UriRule(allowed=("https://id.example.com", "urn:example"), forbidden=("https://id.example.com/root",))
SPIFFE = UriRule(trust_domains=("example.org",))

# Kind, rule, name, whether it is allowed.
CASES = [
    ("dns", AT_AND_BELOW, "example.com", True),
    ("dns", AT_AND_BELOW, "a.b.example.com", True),
    ("dns", AT_AND_BELOW, "badexample.com", False),
    ("dns", AT_AND_BELOW, "example.com.evil.test", False),
    ("dns", AT_AND_BELOW, "com", False),
    ("dns", AT_AND_BELOW, "*.com", False),
    ("dns", AT_AND_BELOW, "*.a.example.com", True),
    ("dns", AT_AND_BELOW, "secret.example.com", False),
    ("dns", AT_AND_BELOW, "x.secret.example.com", False),
    ("dns", AT_AND_BELOW, "*.secret.example.com", False),
    ("dns", AT_AND_BELOW, "*.example.com", False),  # it matches secret.example.com
    ("dns", AT_AND_BELOW, "SECRET.example.com", False),
    ("dns", EXACT, "example.com", True),
    ("dns", EXACT, "a.example.com", False),
    ("dns", EXACT, "*.example.com", False),
    ("dns", BELOW, "a.example.com", True),
    ("dns", BELOW, "example.com", False),
    ("dns", BELOW, "*.a.example.com", False),
    ("dns", DomainRule(wildcards=True, allowed=(".example.com",)), "*.example.com", True),
    ("dns", DomainRule(allowed=()), "example.com", False),
    ("email", DomainRule(allowed=("example.com",), subdomains=False), "a@example.com", True),
    ("email", DomainRule(allowed=("example.com",), subdomains=False), "a@b.example.com", False),
    ("email", DomainRule(forbidden=("example.com",)), "a@example.com", False),
    ("ip", NETWORKS, "10.1.2.3", True),
    ("ip", NETWORKS, "11.1.2.3", False),
    ("ip", NETWORKS, "10.6.2.3", False),
    ("ip", NETWORKS, "::ffff:10.6.2.3", False),
    ("ip", NETWORKS, "2001:db8::1", True),
    ("uri", PREFIXES, "https://id.example.com/a", True),
    ("uri", PREFIXES, "HTTPS://ID.Example.COM/a", True),
    ("uri", PREFIXES, "https://id.example.com", True),
    ("uri", PREFIXES, "https://id.example.com.evil.test/a", False),
    ("uri", PREFIXES, "https://id.example.com:8443/a", False),
    ("uri", PREFIXES, "https://id.example.com/root/a", False),
    ("uri", PREFIXES, "https://id.example.com/%72oot/a", False),
    ("uri", PREFIXES, "https://id.example.com/rooted", True),
    ("uri", PREFIXES, "urn:example:a", True),
    ("uri", PREFIXES, "urn:examples", False),
    ("uri", SPIFFE, "spiffe://example.org/ns/a", True),
    ("uri", SPIFFE, "spiffe://example.org", False),
    ("uri", SPIFFE, "spiffe://example.org/", False),
    ("uri", SPIFFE, "spiffe://example.org/a?b", False),
    ("uri", SPIFFE, "spiffe://example.org/a%20b", False),
    ("uri", SPIFFE, "spiffe://EXAMPLE.org/a", False),
    ("uri", SPIFFE, "spiffe://example.org:1/a", False),
    ("uri", SPIFFE, "spiffe://sub.example.org/a", False),
    ("uri", SPIFFE, "https://example.org/a", False),
    ("uri", UriRule(), "https://example.org/a", True),
]


@pytest.mark.parametrize(
    ("kind", "rule", "name", "allowed"), CASES, ids=[f"{n}-{case[2]}" for n, case in enumerate(CASES)]
)
def test_rules(kind: str, rule: DomainRule | AddressRule | UriRule, name: str, allowed: bool) -> None:
    """A name passes, or is NAME_NOT_ALLOWED on its own field."""
    rules = NameRules(**{kind: rule})  # type: ignore[arg-type]
    names = SubjectAlternativeNames(**{kind: (name,)})
    if allowed:
        assert len(check_names(names, allowed_kinds={kind}, trust_domain="", rules=rules)) == 1
        return
    with pytest.raises(InvalidArgument) as caught:
        check_names(names, allowed_kinds={kind}, trust_domain="", rules=rules)
    violation = caught.value.violations[0]
    assert violation.reason == "NAME_NOT_ALLOWED"
    assert violation.field.endswith("[0]")


def test_numbers_of_names() -> None:
    """A limit counts different names: the same one twice is one."""
    rules = NameRules(dns=DomainRule(most=2))
    good = SubjectAlternativeNames(dns=("a.example", "b.example", "A.example"))
    assert check_names(good, allowed_kinds={"dns"}, trust_domain="", rules=rules).dns == ("a.example", "b.example")
    with pytest.raises(InvalidArgument) as caught:
        check_names(
            SubjectAlternativeNames(dns=("a.example", "b.example", "c.example")),
            allowed_kinds={"dns"},
            trust_domain="",
            rules=rules,
        )
    assert caught.value.reason == "TOO_MANY_NAMES"
