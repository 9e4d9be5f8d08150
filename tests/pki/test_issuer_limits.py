"""What CAs above rule out is refused, and it is what OpenSSL refuses: of the issuer itself, and of those above it."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.errors import InvalidArgument
from services.pki.certificates import Issuer, prepare, sign
from services.pki.csr import read_csr
from services.pki.hierarchy import make_issuing, make_root
from services.pki.issuer_limits import require_ca_within
from services.pki.keys import generate_key
from services.pki.names import SubjectAlternativeNames
from services.pki.profile import Profile, SubjectAttribute
from services.pki.profiles import BUILTIN, CLIENT, DELEGATE, INTERMEDIATE, SERVER
from services.pki.serials import new_serial

from .conftest import NOW, TRUST_DOMAIN, URLS, make_csr

KEY = generate_key("p256")
ROOT_KEY = generate_key("p256")
ROOT = make_root(name="Root", key=ROOT_KEY, now=NOW)
CORP = SubjectAttribute(NameOID.ORGANIZATION_NAME, "Corp")
OF_CORP = replace(SERVER, name="of-corp", subject_set=(CORP,))
ANY_NAME = replace(CLIENT, name="any", allowed_name_kinds=frozenset({"dns", "ip", "email", "uri"}))


class Case(NamedTuple):
    """What a CA is limited to, and what is issued below it."""

    limit: x509.ExtensionType
    profile: Profile
    good: bool
    names: SubjectAlternativeNames = SubjectAlternativeNames(dns=("a.corp.example",))
    common_name: str = "leaf"

    def places(self) -> set[str]:
        """What may be ruled out in it."""
        return {kind for kind in ("dns", "ip", "email", "uri") if getattr(self.names, kind)} | {"cn", "issuer"}


FIELDS = {"issuer": "issuer", "csr_der": "cn"} | {
    f"subject_alternative_names.{name}[0]": kind
    for name, kind in (("dns_names", "dns"), ("ip_addresses", "ip"), ("email_addresses", "email"), ("uris", "uri"))
}


def organization(text: str) -> x509.DirectoryName:
    """The subtree of those whose subject begins with an organisation."""
    return x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, text)]))


def permitted(*subtrees: x509.GeneralName) -> x509.NameConstraints:
    """Only these."""
    return x509.NameConstraints(subtrees, None)


def excluded(*subtrees: x509.GeneralName) -> x509.NameConstraints:
    """None of these."""
    return x509.NameConstraints(None, subtrees)


def mailboxes(text: str) -> x509.RFC822Name:
    """A subtree of email addresses, whatever it says."""
    return x509.RFC822Name._init_without_validation(text)


NONE = SubjectAlternativeNames()
DNS = x509.DNSName("corp.example")
URI = x509.UniformResourceIdentifier("corp.example")
PURPOSE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
CASES = {
    "dns": Case(permitted(DNS), SERVER, good=True),
    "other dns": Case(permitted(DNS), SERVER, good=False, names=SubjectAlternativeNames(dns=("corp.example.org",))),
    "excluded dns": Case(excluded(DNS), SERVER, good=False),
    "other kind": Case(permitted(DNS), ANY_NAME, good=True, names=SubjectAlternativeNames(email=("a@b.example",))),
    "address": Case(
        permitted(x509.IPAddress(ip_network("10.0.0.0/8"))),
        ANY_NAME,
        good=False,
        names=SubjectAlternativeNames(ip=("11.0.0.1",)),
    ),
    "uri": Case(permitted(URI), ANY_NAME, good=True, names=SubjectAlternativeNames(uri=("https://corp.example/a",))),
    "uri without host": Case(excluded(URI), ANY_NAME, good=False, names=SubjectAlternativeNames(uri=("urn:a:b",))),
    "subject": Case(permitted(organization("corp ")), OF_CORP, good=True),
    "other subject": Case(permitted(organization("Corp")), SERVER, good=False),
    "excluded subject": Case(excluded(organization("CORP")), OF_CORP, good=False),
    "no subject": Case(permitted(organization("Corp")), replace(SERVER, subject_policy="none"), good=True),
    "common name of a person": Case(permitted(DNS), CLIENT, good=True, names=NONE, common_name="J. Doe"),
    "common name of a host": Case(permitted(DNS), CLIENT, good=False, names=NONE, common_name="corp.example.org"),
    "common name within": Case(permitted(DNS), CLIENT, good=True, names=NONE, common_name="A.corp.example"),
    "common name that is an address": Case(
        permitted(DNS), SERVER, good=False, names=SubjectAlternativeNames(ip=("10.0.0.1",)), common_name="10.0.0.1"
    ),
    "address beside a name": Case(
        permitted(DNS),
        SERVER,
        good=True,
        names=SubjectAlternativeNames(dns=("a.corp.example",), ip=("10.0.0.1",)),
        common_name="10.0.0.1",
    ),
    "wildcard below what is permitted": Case(
        permitted(x509.DNSName(".corp.example")),
        SERVER,
        good=True,
        names=SubjectAlternativeNames(dns=("*.corp.example",)),
    ),
    "wildcard beside what is permitted": Case(
        permitted(x509.DNSName("corp.example")), SERVER, good=False, names=SubjectAlternativeNames(dns=("*.example",))
    ),
    "nothing but what is permitted with a dot behind": Case(
        permitted(x509.DNSName("corp.example.")), SERVER, good=False
    ),
    "no address is permitted": Case(
        permitted(mailboxes("")), ANY_NAME, good=False, names=SubjectAlternativeNames(email=("a@corp.example",))
    ),
    "case in front of the @": Case(
        permitted(mailboxes("A@corp.example")),
        ANY_NAME,
        good=False,
        names=SubjectAlternativeNames(email=("a@corp.example",)),
    ),
    "dot behind the host of a uri": Case(
        permitted(URI), ANY_NAME, good=False, names=SubjectAlternativeNames(uri=("https://corp.example./",))
    ),
    "purpose": Case(PURPOSE, SERVER, good=True),
    "other purpose": Case(PURPOSE, CLIENT, good=False),
}


def hosts(text: str) -> x509.UniformResourceIdentifier:
    """A subtree of URIs."""
    return x509.UniformResourceIdentifier(text)


def of(**kinds: str) -> SubjectAlternativeNames:
    """One name of each kind."""
    return SubjectAlternativeNames(**{kind: (name,) for kind, name in kinds.items()})


KEEP = replace(ANY_NAME, name="keep", subject_policy="keep")
KEEP_HOST = replace(KEEP, name="host", extended_key_usages=SERVER.extended_key_usages)
ADDRESSES = x509.IPAddress(ip_network("10.0.0.0/8"))
# OpenSSL (or another relying party) takes them, and takes them for what is ruled out.
STRICTER = {
    "wildcard as common name": Case(permitted(DNS), CLIENT, False, NONE, "*.evil.example"),
    "wildcard in a label": Case(permitted(DNS), CLIENT, False, NONE, "w*.evil.example"),
    "wildcard as common name, excluded": Case(
        excluded(x509.DNSName("example.com")), CLIENT, False, NONE, "*.example.com"
    ),
    "wildcard that reaches": Case(excluded(x509.DNSName("a.example.com")), CLIENT, False, NONE, "*.example.com"),
    "wildcard beside an address": Case(permitted(DNS), KEEP, False, of(ip="10.0.0.1"), "*.evil.example"),
    "common name with a dot behind": Case(permitted(DNS), CLIENT, False, NONE, "evil.example."),
    "common name within, with a dot behind": Case(permitted(DNS), CLIENT, True, NONE, "a.corp.example."),
    "wildcard within": Case(permitted(DNS), CLIENT, True, NONE, "*.corp.example"),
    "name of a person": Case(permitted(DNS), CLIENT, True, NONE, "Alice"),
    "name of a person with spaces": Case(permitted(DNS), KEEP_HOST, True, of(ip="10.0.0.1"), "Alice B."),
    "single label of a host": Case(permitted(DNS), KEEP_HOST, False, of(ip="10.0.0.1"), "localhost"),
    "single label beside a name": Case(permitted(DNS), KEEP_HOST, True, of(dns="a.corp.example"), "localhost"),
    "dot behind a host": Case(excluded(hosts("a.example")), ANY_NAME, False, of(uri="https://a.example./x")),
    "dot behind a host below": Case(excluded(hosts(".a.example")), ANY_NAME, False, of(uri="https://b.a.example./x")),
    "address as a host": Case(excluded(hosts("a.example")), ANY_NAME, False, of(uri="https://10.0.0.1/x")),
    "IPv6 address as a host": Case(excluded(hosts("a.example")), ANY_NAME, False, of(uri="https://[::1]/x")),
    "number as a host": Case(excluded(hosts("a.example")), ANY_NAME, False, of(uri="https://0x7f000001/x")),
    "other host": Case(excluded(hosts("a.example")), ANY_NAME, True, of(uri="https://b.example/x")),
    "all URIs": Case(excluded(hosts("")), ANY_NAME, False, of(uri="https://a.example/x")),
    "all email addresses": Case(excluded(mailboxes("")), ANY_NAME, False, of(email="a@a.example")),
    "email address in another case": Case(excluded(mailboxes("A@a.example")), ANY_NAME, False, of(email="a@a.example")),
    "email addresses with a dot behind": Case(
        excluded(mailboxes("a.example.")), ANY_NAME, False, of(email="a@a.example")
    ),
    "all DNS names": Case(excluded(x509.DNSName(".")), SERVER, False),
    "dot behind what is excluded": Case(excluded(x509.DNSName("corp.example.")), SERVER, False),
    "address that is mapped": Case(excluded(ADDRESSES), ANY_NAME, False, of(ip="::ffff:10.0.0.1")),
}


def limited(*limits: x509.ExtensionType) -> x509.Certificate:
    """A certificate with these extensions and nothing else of interest, to make a CA like it."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(ROOT.subject)
        .issuer_name(ROOT.subject)
        .public_key(ROOT_KEY.public_key())
        .serial_number(1)
        .not_valid_before(ROOT.not_valid_before_utc)
        .not_valid_after(ROOT.not_valid_after_utc)
    )
    for limit in limits:
        builder = builder.add_extension(limit, critical=isinstance(limit, x509.NameConstraints))
    return builder.sign(ROOT_KEY, hashes.SHA256())


def make_path(limit: x509.ExtensionType, depth: int) -> tuple[x509.Certificate, ...]:
    """CA certificates from the issuer up to the root; `depth` CAs stand between it and the one that is limited."""
    path: tuple[x509.Certificate, ...] = (ROOT,)
    key = ROOT_KEY
    for place in range(depth + 1):
        like = limited(limit) if place == 0 else None
        name = x509.Name(
            [x509.NameAttribute(CORP.oid, CORP.value), x509.NameAttribute(NameOID.COMMON_NAME, f"{place}")]
        )
        made = make_issuing(
            root=path[0], root_key=key, name=name, key=KEY, now=NOW, path_length=depth - place, like=like
        )
        path, key = (made, *path), KEY
    return path


def issue(path: tuple[x509.Certificate, ...], case: Case, *, knows_path: bool) -> bytes:
    """A certificate of the first of them. Without the path, nothing above the issuer is minded."""
    issuer = Issuer(path[0], KEY, path[1:] if knows_path else ())
    draft = prepare(
        profile=case.profile,
        issuer=issuer,
        request=read_csr(der=make_csr(case.common_name, key=generate_key("p256"))),
        serial=new_serial(),
        now=NOW,
        urls=URLS,
        trust_domain=TRUST_DOMAIN,
        sans=case.names,
    )
    return sign(draft, issuer)


def openssl_takes(leaf: bytes, path: tuple[x509.Certificate, ...], purpose: str, folder: Path) -> bool:
    """Whether `openssl verify` does."""
    for name, found in (("leaf", [x509.load_der_x509_certificate(leaf)]), ("root", path[-1:]), ("others", path[:-1])):
        (folder / name).write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in found))
    at = str(int(NOW.timestamp()))
    command = ["openssl", "verify", "-x509_strict", "-attime", at, "-purpose", purpose]
    files = ["-CAfile", "root", "-untrusted", "others", "leaf"]
    return subprocess.run([*command, *files], cwd=folder, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("depth", [1, 2], ids=["parent", "grandparent"])
@pytest.mark.parametrize("name", CASES)
def test_limits_of_those_above(name: str, depth: int, tmp_path: Path) -> None:
    """What OpenSSL would refuse for a CA above the issuer is not issued; what it takes is."""
    case = CASES[name]
    path = make_path(case.limit, depth)
    purpose = "sslserver" if case.profile.extended_key_usages == SERVER.extended_key_usages else "sslclient"
    leaf = issue(path, case, knows_path=False)
    assert openssl_takes(leaf, path, purpose, tmp_path) is case.good
    if case.good:
        assert openssl_takes(issue(path, case, knows_path=True), path, purpose, tmp_path)
        return
    with pytest.raises(InvalidArgument) as refused:
        issue(path, case, knows_path=True)
    assert refused.value.reason == "ISSUER_CONSTRAINED"
    assert FIELDS[refused.value.violations[0].field] in case.places()


@pytest.mark.parametrize("name", STRICTER)
def test_what_others_would_take(name: str, tmp_path: Path) -> None:
    """OpenSSL verifies it, and what its host names are checked against is ruled out; what is harmless is issued."""
    case = STRICTER[name]
    path = make_path(case.limit, 1)
    leaf = issue(path, case, knows_path=False)
    purpose = "sslserver" if case.profile.extended_key_usages == SERVER.extended_key_usages else "sslclient"
    assert openssl_takes(leaf, path, purpose, tmp_path) or case.common_name.endswith(".")
    if case.good:
        assert issue(path, case, knows_path=True)
        return
    with pytest.raises(InvalidArgument) as refused:
        issue(path, case, knows_path=True)
    assert refused.value.reason == "ISSUER_CONSTRAINED"
    assert FIELDS[refused.value.violations[0].field] in case.places()


def test_all_that_is_ruled_out_is_told() -> None:
    """Every name, with its place in the request, and the purposes as well."""
    limits = (permitted(DNS), excluded(hosts("")), x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]))
    path = tuple(make_path(limit, 0)[0] for limit in limits)
    dns = ("A.corp.example", "b.example", "a.corp.example", "C.example")
    names = SubjectAlternativeNames(dns=dns, uri=("https://a.corp.example/X",))
    with pytest.raises(InvalidArgument) as refused:
        issue(path, Case(limits[0], ANY_NAME, False, names), knows_path=True)
    found = [(each.field, each.description.partition(" ")[0]) for each in refused.value.violations[1:]]
    assert refused.value.violations[0].field == "issuer"
    assert refused.value.violations[0].description == refused.value.message
    assert found == [
        ("subject_alternative_names.dns_names[1]", "b.example"),
        ("subject_alternative_names.dns_names[3]", "c.example"),
        ("subject_alternative_names.uris[0]", "https://a.corp.example/X"),
    ]
    assert {each.reason for each in refused.value.violations} == {"ISSUER_CONSTRAINED"}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.good])
def test_limits_of_the_issuer_itself(name: str) -> None:
    """The same for what its own certificate rules out."""
    with pytest.raises(InvalidArgument) as refused:
        issue(make_path(CASES[name].limit, 0), CASES[name], knows_path=True)
    assert refused.value.reason == "ISSUER_CONSTRAINED"


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("*.example.com", False), ("*.secret.example.com", False), ("*.other.example.com", True), ("*.com", True)],
)
def test_wildcards_that_reach_into_what_is_excluded(name: str, allowed: bool) -> None:
    """A wildcard is refused where a name that it stands for would be, as relying parties do that know of this."""
    names = SubjectAlternativeNames(dns=(name,))
    case = Case(excluded(x509.DNSName("Secret.example.com")), SERVER, allowed, names)
    if allowed:
        assert issue(make_path(case.limit, 1), case, knows_path=True)
        return
    with pytest.raises(InvalidArgument) as refused:
        issue(make_path(case.limit, 1), case, knows_path=True)
    assert refused.value.reason == "ISSUER_CONSTRAINED"


def test_all_that_limit_have_to_agree() -> None:
    """What one CA permits and another one does not is refused; purposes are those that all of them have."""
    upper = make_path(permitted(DNS), 1)
    lower = make_issuing(
        root=upper[1], root_key=KEY, name="Lower", key=KEY, now=NOW, like=limited(permitted(x509.DNSName("a.example")))
    )
    with pytest.raises(InvalidArgument):
        issue((lower, *upper[1:]), CASES["dns"], knows_path=True)
    limits = Issuer(lower, KEY, upper[1:]).limits
    assert (limits.path_length, len(limits.permitted)) == (0, 2)


def test_path_length_above() -> None:
    """A CA without limit of its own makes no CAs where the one above it leaves no room for them."""
    names = SubjectAlternativeNames()
    above = make_path(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), 1)[1:]
    like = make_issuing(root=above[0], root_key=KEY, name="Below", key=KEY, now=NOW)
    builder = x509.CertificateBuilder(
        like.issuer, like.subject, KEY.public_key(), 7, like.not_valid_before_utc, like.not_valid_after_utc
    )
    for each in like.extensions:
        unlimited = isinstance(each.value, x509.BasicConstraints)
        builder = builder.add_extension(x509.BasicConstraints(True, None) if unlimited else each.value, each.critical)
    below = builder.sign(KEY, hashes.SHA256())
    profile = replace(INTERMEDIATE, subject_required=frozenset(), subject_set=(CORP,))
    with pytest.raises(InvalidArgument) as refused:
        issue((below, *above), Case(PURPOSE, profile, False, names), knows_path=True)
    assert refused.value.reason == "ISSUER_CONSTRAINED"
    assert issue(above, Case(PURPOSE, profile, True, names), knows_path=True)


@pytest.mark.parametrize(
    ("limit", "subject", "path_length", "allowed"),
    [
        pytest.param(permitted(organization("Corp")), "CN=CA,O=corp", 0, True, id="permitted"),
        pytest.param(permitted(organization("Corp")), "CN=CA,O=Corporate", 0, False, id="not-permitted"),
        pytest.param(excluded(organization("Corp")), "CN=CA,O=Corp", 0, False, id="excluded"),
        pytest.param(permitted(DNS), "CN=CA", 0, True, id="no-such-name"),
        pytest.param(PURPOSE, "CN=CA", 1, False, id="too-long"),
        pytest.param(PURPOSE, "CN=CA", None, False, id="without-end"),
    ],
)
def test_cas_below(limit: x509.ExtensionType, subject: str, path_length: int | None, allowed: bool) -> None:
    """A CA that no path could hold is refused before its key is made, whoever above it rules it out."""
    path = (limited(limit, x509.BasicConstraints(ca=True, path_length=None)), *make_path(PURPOSE, 1)[1:])
    name = x509.Name.from_rfc4514_string(subject)
    if allowed:
        require_ca_within(path, name, path_length)
        return
    with pytest.raises(ValueError, match=r"path length|rules it out"):
        require_ca_within(path, name, path_length)


def test_delegates_are_named_by_the_ca() -> None:
    """Name constraints and purposes are about what others ask for: somebody has to answer for the issuer."""
    case = Case(permitted(organization("Another")), DELEGATE, good=True)
    assert BUILTIN["ocsp-responder"] is DELEGATE
    names = SubjectAlternativeNames()
    assert issue(make_path(case.limit, 1), case._replace(names=names), knows_path=True)
