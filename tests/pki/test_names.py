"""Subject alternative names."""

from __future__ import annotations

import ipaddress

import pytest
from cryptography import x509

from services.errors import InvalidArgument
from services.pki.names import SubjectAlternativeNames, check_names, is_dns_name

ALL = frozenset({"dns", "ip", "email", "uri"})


def checked(names: SubjectAlternativeNames, allowed: frozenset[str] = ALL) -> SubjectAlternativeNames:
    """The names, checked."""
    return check_names(names, allowed_kinds=allowed, trust_domain="goodstanding")


def refusal(names: SubjectAlternativeNames, allowed: frozenset[str] = ALL) -> InvalidArgument:
    """The error that checking ends in."""
    with pytest.raises(InvalidArgument) as caught:
        checked(names, allowed)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "localhost",
        "a-b.c-d.example",
        "*.example.com",
        "xn--mnchen-3ya.example",
        "1.example",
        "a" * 63 + ".example",
        ".".join(["a" * 49] * 5),
    ],
)
def test_dns_names(name: str) -> None:
    """Letters, digits, hyphens, single labels, one wildcard in front, and punycode are fine."""
    assert checked(SubjectAlternativeNames(dns=(name,))).dns == (name,)
    assert is_dns_name(name.upper())


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "*",
        "*.",
        "example.com.",
        ".example.com",
        "a..b",
        "-a.example",
        "a-.example",
        "a_b.example",
        "*a.example",
        "a*.example",
        "a.*.example",
        "*.*.example",
        "exa mple.com",
        "example.com\x00.evil.test",
        "example.com\n",
        "münchen.example",
        "\u212a.example",
        "10.0.0.1",
        "a.1",
        "a" * 64 + ".example",
        ".".join(["a" * 50] * 5),
        "xn--.example",
        "xn--a.example",
        "xn--99999999.example",
        "ab--c.example",
        "http://example.com",
        "example.com:443",
    ],
)
def test_not_dns_names(name: str) -> None:
    """Everything else is refused, with the element named (R101, R116)."""
    error = refusal(SubjectAlternativeNames(dns=("good.example", name)))
    assert error.reason == "NAME_INVALID"
    assert error.violations[0].field == "subject_alternative_names.dns_names[1]"
    assert "\x00" not in error.message
    assert not is_dns_name(name)


@pytest.mark.parametrize(
    ("address", "normal"),
    [("192.0.2.1", "192.0.2.1"), ("2001:DB8::0001", "2001:db8::1"), ("::1", "::1")],
)
def test_addresses_are_normalised(address: str, normal: str) -> None:
    """An address has one spelling."""
    assert checked(SubjectAlternativeNames(ip=(address,))).ip == (normal,)


@pytest.mark.parametrize(
    "address", ["", "192.0.2.256", "192.0.2.0/24", "1.2.3", "010.0.0.1", "fe80::1%eth0", "::g", "x\x00"]
)
def test_not_addresses(address: str) -> None:
    """Networks, zones and nonsense are refused."""
    error = refusal(SubjectAlternativeNames(ip=(address,)))
    assert (error.reason, error.violations[0].field) == ("NAME_INVALID", "subject_alternative_names.ip_addresses[0]")


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@example.com",
        "a@",
        "a@b@example.com",
        "a b@example.com",
        "a..b@example.com",
        "ä@example.com",
        "a@exämple.com",
        "a@*.example.com",
        "a\x00@example.com",
        "a@example.com\n",
        "a" * 65 + "@example.com",
    ],
)
def test_not_email_addresses(email: str) -> None:
    """An email address is an ASCII dot-atom at a DNS name."""
    error = refusal(SubjectAlternativeNames(email=(email,)))
    assert (error.reason, error.violations[0].field) == ("NAME_INVALID", "subject_alternative_names.email_addresses[0]")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "a",
        "//example.com/a",
        "http://",
        "http://a b/",
        "http://a/\x00",
        "http://[::1/",
        "http://a:x/",
        "http://ä/",
        "1a:b",
        "http://a/%zz",
        "http:\\\\a\\b",
        "http://a/" + "b" * 2048,
    ],
)
def test_not_uris(uri: str) -> None:
    """A URI is absolute, of ASCII, and has a host where it has an authority."""
    error = refusal(SubjectAlternativeNames(uri=(uri,)))
    assert (error.reason, error.violations[0].field) == ("NAME_INVALID", "subject_alternative_names.uris[0]")


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://goodstanding/admin/eve",
        "SPIFFE://GoodStanding/admin/eve",
        "spiffe://goodstanding",
        "spiffe://goodstanding./admin/eve",
        "spiffe://goodstanding:443/admin/eve",
        "https://goodstanding/admin/eve",
        "https://www.goodstanding/admin/eve",
    ],
)
def test_our_own_trust_domain_is_reserved(uri: str) -> None:
    """No URI whose host is the trust domain, or below it, gets through."""
    assert refusal(SubjectAlternativeNames(uri=(uri,))).reason == "NAME_RESERVED"


@pytest.mark.parametrize(
    "names",
    [
        SubjectAlternativeNames(dns=("goodstanding",)),
        SubjectAlternativeNames(dns=("*.GoodStanding",)),
        SubjectAlternativeNames(dns=("admin.goodstanding",)),
        SubjectAlternativeNames(email=("admin@goodstanding",)),
    ],
    ids=lambda names: names.labelled()[0],
)
def test_other_kinds_of_names_in_our_own_trust_domain_are_reserved(names: SubjectAlternativeNames) -> None:
    """DNS names and email addresses of the trust domain are no identities here, but might be taken for some."""
    assert refusal(names).reason == "NAME_RESERVED"


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://eve@goodstanding/admin/eve",
        "spiffe://%67oodstanding/admin/eve",
        "spiffe://goodstanding%2e/admin/eve",
        "spiffe://goodstanding%2Fadmin%2Fa",
        "spiffe://evil%40goodstanding/admin/a",
        "spiffe://goodstanding%00.evil/admin/a",
        "spiffe:%2F%2Fgoodstanding/admin/a",
        "spiffe:/goodstanding/admin/a",
        "spiffe:goodstanding/admin/a",
        "spiffe://goodstanding;x/admin/a",
        "spiffe://evil/../goodstanding/admin/a",
        "spiffe://evil/%2e%2e/goodstanding/admin/a",
    ],
)
def test_what_two_readers_might_read_in_two_ways(uri: str) -> None:
    """A URI that a careless reader may take for one in the trust domain is not issued at all."""
    assert refusal(SubjectAlternativeNames(uri=(uri,))).reason == "NAME_INVALID"


@pytest.mark.parametrize("name", ["0x7f000001", "10.0x1", "1.2.3.4", "a.0x"])
def test_what_a_browser_reads_as_an_address(name: str) -> None:
    """A DNS name that ends in a number, decimal or hexadecimal, is an address to browsers."""
    assert refusal(SubjectAlternativeNames(dns=(name,))).reason == "NAME_INVALID"


@pytest.mark.parametrize(
    "uri",
    ["spiffe://other/admin/eve", "spiffe://goodstanding.example/a", "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"],
)
def test_other_trust_domains_are_not(uri: str) -> None:
    """Other domains, and URIs without any host, are fine."""
    assert checked(SubjectAlternativeNames(uri=(uri,))).uri == (uri,)


def test_duplicates_go_whatever_their_case() -> None:
    """The same name twice is kept once, in the place of the first (R116)."""
    names = SubjectAlternativeNames(
        dns=("b.example", "A.example", "a.EXAMPLE", "B.example"), ip=("::1", "0:0::1"), email=("a@b.test", "a@B.test")
    )
    assert checked(names) == SubjectAlternativeNames(dns=("b.example", "a.example"), ip=("::1",), email=("a@b.test",))


def test_the_kinds_are_the_profile_s() -> None:
    """A kind that the profile doesn't allow is refused, and so is one that none allows."""
    assert refusal(SubjectAlternativeNames(email=("a@b.test",)), frozenset({"dns"})).reason == "NAME_NOT_ALLOWED"
    error = refusal(SubjectAlternativeNames(other=("DirectoryName",)))
    assert error.reason == "NAME_NOT_ALLOWED"
    assert "DirectoryName" in error.message


def test_a_hundred_names_and_no_more() -> None:
    """The limit counts all kinds together, and is tested before the names are."""
    many = tuple(f"h{n}.example" for n in range(100))
    assert len(checked(SubjectAlternativeNames(dns=many))) == 100
    error = refusal(SubjectAlternativeNames(dns=many, ip=("nonsense",)))
    assert (error.reason, error.violations[0].field) == ("TOO_MANY_NAMES", "subject_alternative_names")


def test_all_wrong_names_are_listed() -> None:
    """One answer names every wrong element."""
    error = refusal(SubjectAlternativeNames(dns=("a_b", "good.example", "c_d"), ip=("x",)))
    places = [violation.field.rpartition(".")[2] for violation in error.violations]
    assert places == ["dns_names[0]", "dns_names[2]", "ip_addresses[0]"]
    assert len(refusal(SubjectAlternativeNames(dns=("_",) * 99)).violations) == 99


def test_names_of_a_request_are_blamed_on_the_request() -> None:
    """Without indexes, the violation is on the field itself."""
    with pytest.raises(InvalidArgument) as caught:
        check_names(
            SubjectAlternativeNames(dns=("_",)), allowed_kinds=ALL, trust_domain="t", field="csr_pem", indexed=False
        )
    assert caught.value.violations[0].field == "csr_pem"


def test_the_extension_survives_both_ways() -> None:
    """Names written as an extension are read back the same, and shown with their kinds."""
    names = SubjectAlternativeNames(("a.example",), ("192.0.2.1", "::1"), ("a@b.test",), ("urn:a:b",))
    assert SubjectAlternativeNames.from_extension(names.to_extension()) == names
    assert names.labelled() == ("DNS:a.example", "IP:192.0.2.1", "IP:::1", "email:a@b.test", "URI:urn:a:b")
    assert x509.IPAddress(ipaddress.ip_address("::1")) in list(names.to_extension())


def test_kinds_without_a_use_are_noticed() -> None:
    """A directory name in a request isn't dropped silently."""
    extension = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name([])), x509.DNSName("a.example")])
    names = SubjectAlternativeNames.from_extension(extension)
    assert names.other == ("DirectoryName",)
    assert len(names) == 2


def test_names_that_differ_in_case() -> None:
    """Case says nothing in schemes and names of hosts; in paths, queries and in front of an @ it does."""
    uris = (
        "https://a.example/X",
        "https://a.example/x",
        "https://a.example?X",
        "https://a.example?x",
        "urn:a:B",
        "urn:a:b",
    )
    emails = ("Root@a.example", "root@a.example")
    again = ("HTTPS://A.example/X", "https://A.example?x", "URN:a:b")
    found = checked(
        SubjectAlternativeNames(("A.example", "a.example"), (), (*emails, "root@A.example"), (*uris, *again))
    )
    assert (found.dns, found.email, found.uri) == (("a.example",), emails, uris)
