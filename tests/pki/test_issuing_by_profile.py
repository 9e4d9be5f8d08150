"""What profiles make of requests: keys, validity, subjects, extensions, CAs; all that is wrong at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from services.errors import InvalidArgument
from services.pki.certificates import AuthorityUrls, Draft, Wishes, check, extension, judge, prepare, sign
from services.pki.checks import CheckFailed
from services.pki.csr import RequestRefused, read_csr
from services.pki.extensions import NO_REVOCATION_AVAILABLE
from services.pki.findings import Objections
from services.pki.hierarchy import make_root
from services.pki.issuers import Issuer
from services.pki.keys import generate_key
from services.pki.lint import Linter
from services.pki.names import SubjectAlternativeNames
from services.pki.profile import Authority, NameConstraints, Policy, Profile, SubjectAttribute
from services.pki.profiles import BUILTIN, CLIENT, INTERMEDIATE, SERVER, SERVER_SHORT
from services.pki.serials import new_serial
from services.pki.validity import BASELINE_CAPS

from .conftest import NOW, TRUST_DOMAIN, key_of, leaf_key, make_csr, rsa_spki, with_key
from .conftest import Authority as Ca

URLS = AuthorityUrls(
    ocsp="http://ocsp.example.com",
    ca_issuers="http://ocsp.example.com/ca/a.cer",
    crl="http://ocsp.example.com/crl/a.crl",
)


def drafted(profile: Profile, issuer: Issuer, csr: bytes, **options: Any) -> Draft:
    """Prepare and check."""
    given: dict[str, Any] = {"serial": new_serial(), "now": NOW, "urls": URLS, "trust_domain": TRUST_DOMAIN} | options
    draft = prepare(profile=profile, issuer=issuer, request=read_csr(der=csr), **given)
    check(draft, issuer)
    return draft


def issued(profile: Profile, issuer: Issuer, csr: bytes, **options: Any) -> x509.Certificate:
    """The whole way, as a relying party reads it."""
    return x509.load_der_x509_certificate(sign(drafted(profile, issuer, csr, **options), issuer))


def refusal(profile: Profile, issuer: Issuer, csr: bytes, **options: Any) -> InvalidArgument:
    """The error that it ends in."""
    with pytest.raises(InvalidArgument) as caught:
        drafted(profile, issuer, csr, **options)
    return caught.value


@pytest.fixture(scope="session")
def root() -> Issuer:
    """A root that may issue CAs."""
    key = generate_key("p256")
    return Issuer(make_root(name="Example Root", key=key, now=NOW), key)


def oids(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    """Which extensions a certificate has."""
    return {each.oid for each in certificate.extensions}


def test_short_lived_servers_name_nobody_to_ask(authority: Ca) -> None:
    """noRevAvail, not critical, and neither an OCSP responder nor a revocation list (R94, R119)."""
    certificate = issued(SERVER_SHORT, authority.issuer, make_csr("a.example"))
    value = certificate.extensions.get_extension_for_oid(NO_REVOCATION_AVAILABLE)
    assert (value.value.public_bytes(), value.critical) == (b"\x05\x00", False)
    assert ExtensionOID.CRL_DISTRIBUTION_POINTS not in oids(certificate)
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert [each.access_location.value for each in access] == [URLS.ca_issuers]
    length = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert length < timedelta(days=7)
    week = drafted(SERVER_SHORT, authority.issuer, make_csr("a.example"), validity=timedelta(days=7))
    assert week.not_after - week.not_before == timedelta(days=7) - timedelta(seconds=1)
    error = refusal(SERVER_SHORT, authority.issuer, make_csr("a.example"), validity=timedelta(days=7, seconds=1))
    assert error.reason == "VALIDITY_TOO_LONG"


def test_must_staple(authority: Ca) -> None:
    """The TLS feature status_request, not critical (R118)."""
    certificate = issued(replace(SERVER, must_staple=True), authority.issuer, make_csr("a.example"))
    found = certificate.extensions.get_extension_for_class(x509.TLSFeature)
    assert (found.value.public_bytes().hex(), found.critical) == ("3003020105", False)


def test_policies_and_revocation_list(authority: Ca) -> None:
    """Policies stand in with their statement, and the revocation list with one address (R95, R98)."""
    policies = (Policy(x509.ObjectIdentifier("2.23.140.1.2.1"), "https://example.com/cps"),)
    certificate = issued(replace(SERVER, policies=policies), authority.issuer, make_csr("a.example"))
    found = certificate.extensions.get_extension_for_class(x509.CertificatePolicies)
    assert (found.critical, found.value[0].policy_qualifiers) == (False, ["https://example.com/cps"])
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    assert [name.value for name in points[0].full_name or ()] == [URLS.crl]


FORBIDDEN_PAIRS = {
    "noRevAvail and OCSP": ("server", "no_rev"),
    "noRevAvail and TLS feature": ("server-short", "staple"),
    "noRevAvail in a CA": ("intermediate", "no_rev"),
    "noRevAvail in a delegate": ("ocsp-responder", "no_rev"),
    "TLS feature in a delegate": ("ocsp-responder", "staple"),
    "name constraints in a leaf": ("server", "constraints"),
}


@pytest.mark.parametrize(("profile", "added"), FORBIDDEN_PAIRS.values(), ids=FORBIDDEN_PAIRS)
def test_forbidden_pairs_are_not_signed(root: Issuer, profile: str, added: str) -> None:
    """Were they in a draft all the same, the last look would see them (R66, R104, R118, R119)."""
    extra = {
        "no_rev": extension(x509.UnrecognizedExtension(NO_REVOCATION_AVAILABLE, b"\x05\x00")),
        "staple": extension(x509.TLSFeature([x509.TLSFeatureType.status_request])),
        "constraints": extension(x509.NameConstraints([x509.DNSName("a.example")], None), critical=True),
    }[added]
    draft = drafted(BUILTIN[profile], root, make_csr("" if profile == "ocsp-responder" else "a.example"))
    with pytest.raises(CheckFailed):
        check(replace(draft, extensions=(*draft.extensions, extra)), root)


def test_an_intermediate(root: Issuer) -> None:
    """A CA below, from a request: cA and path length, keyCertSign and cRLSign, no purposes (R95 to R99)."""
    constraints = NameConstraints(
        permitted=(("dns", "example.com"), ("ip", ip_network("10.0.0.0/8"))), excluded=(("dns", "a.example.com"),)
    )
    profile = replace(INTERMEDIATE, authority=Authority(path_length=3, name_constraints=constraints))
    certificate = issued(profile, root, make_csr("Department CA"))
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 3)
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.key_cert_sign
    assert usage.crl_sign
    names = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert names.critical
    assert ExtensionOID.EXTENDED_KEY_USAGE not in oids(certificate)
    below = Issuer(certificate, leaf_key())
    other = make_csr("b.example.com", key=key_of("p384"))
    assert issued(SERVER, below, other).issuer == certificate.subject
    for name in ("a.example.com", "x.a.example.com", "b.example.net"):
        error = refusal(SERVER, below, make_csr(name, key=key_of("p384")))
        assert (error.reason, error.violations[0].field) == ("ISSUER_CONSTRAINED", "csr_der")
    assert drafted(profile, below, make_csr("Team CA", key=key_of("p384"))).extensions[
        3
    ].value == x509.BasicConstraints(True, 2)


def test_an_issuer_at_the_end_of_the_path_makes_no_cas(authority: Ca) -> None:
    """Path length 0 of the issuer (as `init` makes it) rules out CAs below it."""
    assert refusal(INTERMEDIATE, authority.issuer, make_csr("Department CA")).reason == "ISSUER_CONSTRAINED"


def test_a_ca_needs_a_name(root: Issuer) -> None:
    """A common name is required, and alternative names are not for CAs."""
    assert refusal(INTERMEDIATE, root, make_csr("")).reason == "SUBJECT_INVALID"
    assert refusal(INTERMEDIATE, root, make_csr("A CA", [x509.DNSName("a.example")])).reason == "NAME_NOT_ALLOWED"


def test_purposes_and_features_of_the_issuer_bind_those_below(root: Issuer) -> None:
    """A CA for servers issues for servers (and makes delegates); its TLS features are in every leaf (R118)."""
    profile = replace(INTERMEDIATE, extended_key_usages=(ExtendedKeyUsageOID.SERVER_AUTH,))
    below = Issuer(issued(profile, root, make_csr("TLS CA")), leaf_key())
    csr = make_csr("a.example", key=key_of("p384"))
    assert issued(SERVER, below, csr)
    assert issued(BUILTIN["ocsp-responder"], below, make_csr("", key=key_of("p384")))
    assert refusal(CLIENT, below, csr).reason == "ISSUER_CONSTRAINED"


@pytest.mark.parametrize(
    ("change", "key", "reason"),
    [
        ({"key_types": frozenset({"p256"})}, "p384", "KEY_TYPE_NOT_ALLOWED"),
        ({"min_rsa_bits": 3072}, "rsa2048", "KEY_TOO_SMALL"),
        ({"max_rsa_bits": 2048}, "rsa3072", "KEY_TOO_LARGE"),
    ],
    ids=["type", "small", "large"],
)
def test_keys_that_a_profile_takes(authority: Ca, change: dict[str, Any], key: Any, reason: str) -> None:
    """A good key of another kind or size than the profile's is refused."""
    assert refusal(replace(SERVER, **change), authority.issuer, make_csr("a.example", key=key_of(key))).reason == reason


@pytest.mark.parametrize(
    ("when", "days"),
    [((2026, 3, 14), 398), ((2026, 3, 15), 200), ((2027, 3, 15), 100), ((2029, 3, 14), 100), ((2029, 3, 15), 47)],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_the_limit_depends_on_the_day(root: Issuer, when: tuple[int, int, int], days: int) -> None:
    """Baseline requirements 6.3.2, both ends counted; a default above it is cut, a wish refused (R92)."""
    now = datetime(*when, tzinfo=UTC)
    key = generate_key("p256")
    issuer = Issuer(make_root(name="Old Root", key=key, now=now - timedelta(days=9)), key)
    profile = replace(
        SERVER, caps=BASELINE_CAPS, default_validity=timedelta(days=397), max_validity=timedelta(days=825)
    )
    draft = drafted(profile, issuer, make_csr("a.example"), now=now)
    length = draft.not_after - draft.not_before + timedelta(seconds=1)
    assert length == timedelta(days=min(days, 397))
    longest = timedelta(days=days)
    assert drafted(profile, issuer, make_csr("a.example"), now=now, validity=longest)
    more = longest + timedelta(seconds=1)
    assert refusal(profile, issuer, make_csr("a.example"), now=now, validity=more).reason == "VALIDITY_TOO_LONG"


def test_a_limit_that_begins_in_the_first_minute_of_an_issuer() -> None:
    """What is decided and what is checked agree on the day."""
    begins = BASELINE_CAPS[-1].since
    key = generate_key("p256")
    issuer = Issuer(make_root(name="New Root", key=key, now=begins + timedelta(seconds=30)), key)
    profile = replace(SERVER, caps=BASELINE_CAPS)
    for before, days in ((10, 47), (29, 47)):
        now = begins - timedelta(seconds=before)
        draft = drafted(profile, issuer, make_csr("a.example"), now=now)
        assert draft.not_after - draft.not_before < timedelta(days=days)
        more = {"now": now, "validity": timedelta(days=days + 1)}
        assert refusal(profile, issuer, make_csr("a.example"), **more).reason == "VALIDITY_TOO_LONG"


def test_subjects_kept_and_set(authority: Ca) -> None:
    """What is kept stays, what is set replaces, what is not kept goes, and what is required must be there (R105)."""
    profile = replace(
        CLIENT,
        subject_kept=frozenset({NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME}),
        subject_required=frozenset({NameOID.COMMON_NAME}),
        subject_set=(
            SubjectAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            SubjectAttribute(NameOID.COUNTRY_NAME, "NL"),
        ),
    )
    asked = [
        (NameOID.COMMON_NAME, "Alice"),
        (NameOID.ORGANIZATION_NAME, "Evil"),
        (NameOID.PSEUDONYM, "x"),
        (NameOID.LOCALITY_NAME, "Here"),
    ]
    subject = x509.Name([x509.NameAttribute(oid, value) for oid, value in asked])
    certificate = issued(profile, authority.issuer, make_csr(subject))
    assert certificate.subject.rfc4514_string() == "CN=Alice,O=Example,C=NL"
    nameless = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Evil")])
    assert refusal(profile, authority.issuer, make_csr(nameless)).reason == "SUBJECT_INVALID"


def test_no_subject_at_all(authority: Ca) -> None:
    """With `none` the names speak alone, and are critical (R95)."""
    certificate = issued(replace(SERVER, subject_policy="none"), authority.issuer, make_csr("a.example"))
    assert not certificate.subject.rdns
    assert certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).critical


def test_everything_wrong_is_told_at_once(authority: Ca) -> None:
    """Key, validity and each name: one error, with a violation for each on its own field."""
    profile = replace(SERVER, key_types=frozenset({"rsa"}))
    names = SubjectAlternativeNames(dns=("a.example", "b_ad.example", "x.goodstanding"), ip=("1.2.3",))
    error = refusal(profile, authority.issuer, make_csr("a.example"), sans=names, validity=timedelta(days=900))
    assert [(each.field, each.reason) for each in error.violations] == [
        ("csr_der", "KEY_TYPE_NOT_ALLOWED"),
        ("validity", "VALIDITY_TOO_LONG"),
        ("subject_alternative_names.dns_names[1]", "NAME_INVALID"),
        ("subject_alternative_names.dns_names[2]", "NAME_RESERVED"),
        ("subject_alternative_names.ip_addresses[0]", "NAME_INVALID"),
    ]
    assert error.reason == "KEY_TYPE_NOT_ALLOWED"


def test_a_bad_request_does_not_hide_the_rest(authority: Ca) -> None:
    """A weak key, and what is asked for beside it, come together; the signature of such a key is not looked at."""
    with pytest.raises(RequestRefused) as caught:
        read_csr(der=with_key(rsa_spki(2**2047 + 2)))
    names = SubjectAlternativeNames(email=("a@example.com",))
    wishes = Wishes(NOW, TRUST_DOMAIN, names, NOW - timedelta(days=1), None)
    objections = Objections()
    with objections:
        raise caught.value
    judge(SERVER, authority.issuer, caught.value.names, wishes, objections)
    told = objections.error()
    assert [each.reason for each in told.violations] == ["KEY_WEAK", "VALIDITY_INVALID", "NAME_NOT_ALLOWED"]
    assert type(told) is InvalidArgument


def test_the_linter_sees_what_will_be_signed(authority: Ca) -> None:
    """A finding of pkilint refuses, unless it is accepted; nothing else is lost on the way (R104)."""
    # RFC 5280 has no SPIFFE IDs in mind.
    csr = make_csr("alice", [x509.UniformResourceIdentifier("spiffe://example.org/a")])
    profile = replace(CLIENT, lint="pkix")
    draft = drafted(profile, authority.issuer, csr)
    with pytest.raises(InvalidArgument) as caught:
        Linter([profile]).check(draft, authority.issuer, "csr_der")
    assert caught.value.reason == "LINT_FAILED"
    assert caught.value.violations[0].description.startswith("pkix.invalid_uri_syntax")
    accepting = replace(profile, lint_accept=frozenset({"pkix.invalid_uri_syntax"}))
    Linter([accepting]).check(replace(draft, profile=accepting), authority.issuer, "csr_der")
    Linter([]).check(replace(draft, profile=CLIENT), authority.issuer, "csr_der")
