"""What is put together here, against what the library's builder writes of the same draft, octet by octet."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import keys as asn1_keys
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from services.clock import from_epoch
from services.pki import der
from services.pki.certificates import AuthorityUrls, Draft, check, prepare, sign, sign_with
from services.pki.csr import read_csr
from services.pki.encoding import EncodedExtension, signed_part
from services.pki.extensions import extension
from services.pki.issuers import Issuer
from services.pki.keys import KEY_KINDS, KeyKind, generate_key
from services.pki.name_rules import ANY_NAMES
from services.pki.profile import Profile
from services.pki.profile_tables import read_profiles
from services.pki.profiles import BUILTIN
from services.pki.serials import new_serial, serial_from_int, serial_to_int

from .conftest import NOW, TRUST_DOMAIN, URLS, Authority, common_name, key_of, make_authority, make_csr, spki
from .test_profile_tables import example

PROFILES = {**BUILTIN, **read_profiles(example())[0]}
LEAF_KINDS = [kind for kind in KEY_KINDS if kind not in ("rsa3072", "rsa4096")]
SHARD = replace(URLS, crl="http://ocsp.example.test/crl/issuing-7.crl")


def built(draft: Draft, issuer: Issuer) -> x509.Certificate:
    """The same draft as the library's builder signs it."""
    builder = (
        x509.CertificateBuilder()
        .issuer_name(issuer.name)
        .subject_name(draft.subject)
        .public_key(draft.public_key)
        .serial_number(serial_to_int(draft.serial))
        .not_valid_before(draft.not_before)
        .not_valid_after(draft.not_after)
    )
    for each in draft.extensions:
        builder = builder.add_extension(each.value, each.critical)
    return builder.sign(issuer.private_key, issuer.hash_algorithm)  # type: ignore[arg-type]


def require_same(draft: Draft, issuer: Issuer) -> None:
    """Everything but the signature's octets is what the builder writes, and the signature is the issuer's."""
    ours = x509.load_der_x509_certificate(sign(draft, issuer))
    theirs = built(draft, issuer)
    assert ours.tbs_certificate_bytes == theirs.tbs_certificate_bytes
    assert ours.signature_algorithm_oid == theirs.signature_algorithm_oid
    assert ours.signature_algorithm_parameters.__class__ is theirs.signature_algorithm_parameters.__class__
    ours.verify_directly_issued_by(issuer.certificate)


def drafted(authority: Authority, profile: Profile, csr: bytes, urls: AuthorityUrls = SHARD) -> Draft:
    """Prepare and check."""
    draft = prepare(
        profile=profile,
        issuer=authority.issuer,
        request=read_csr(der=csr),
        serial=new_serial(),
        now=NOW,
        urls=urls,
        trust_domain=TRUST_DOMAIN,
    )
    check(draft, authority.issuer)
    return draft


@pytest.mark.parametrize("kind", KEY_KINDS)
def test_every_key_of_an_issuer(kind: KeyKind) -> None:
    """The same octets under issuers of every kind, down to the algorithm of the signature."""
    authority = make_authority(kind)
    require_same(drafted(authority, BUILTIN["server"], make_csr(sans=[x509.DNSName("a.example")])), authority.issuer)


@pytest.mark.parametrize("kind", LEAF_KINDS)
def test_every_key_of_a_request(authority: Authority, kind: KeyKind) -> None:
    """The same octets for keys of every kind."""
    csr = make_csr(sans=[x509.DNSName("a.example")], key=key_of(kind))
    require_same(drafted(authority, BUILTIN["server"], csr), authority.issuer)


@pytest.mark.parametrize("name", sorted(name for name in PROFILES if PROFILES[name].authority is None))
@pytest.mark.parametrize("urls", [SHARD, URLS, AuthorityUrls()], ids=["shard", "no list", "nowhere"])
def test_every_profile(authority: Authority, name: str, urls: AuthorityUrls) -> None:
    """The same octets for every profile, built in or configured, whatever addresses it names."""
    profile = replace(
        PROFILES[name],
        must_staple=PROFILES[name].must_staple and urls.ocsp is not None,
        key_types=BUILTIN["server"].key_types,
        name_rules=ANY_NAMES,
        subject_required=frozenset(),
    )
    kinds: dict[str, x509.GeneralName] = {
        "dns": x509.DNSName("a.example.com"),
        "uri": x509.UniformResourceIdentifier("spiffe://example.org/a"),
    }
    names = [value for kind, value in kinds.items() if kind in profile.allowed_name_kinds]
    require_same(drafted(authority, profile, make_csr("a.example.com", names), urls), authority.issuer)


@pytest.mark.parametrize("name", ["intermediate", "department"])
def test_certificates_of_cas(name: str) -> None:
    """The same octets for CAs, with name constraints and without."""
    authority = make_authority()
    root = Authority(authority.root, authority.root_key, Issuer(authority.root, authority.root_key))
    require_same(drafted(root, PROFILES[name], make_csr("Department CA", key=key_of("p384"))), root.issuer)


ODD_NAMES: dict[str, Sequence[x509.GeneralName]] = {
    "one": [x509.DNSName("a.example")],
    "a hundred": [x509.DNSName(f"host-{number}.{'long.' * 20}example.com") for number in range(100)],
    "longest name": [x509.DNSName(".".join(["a" * 61] * 4))],
    "wildcard": [x509.DNSName("*.example.com")],
    "punycode": [x509.DNSName("xn--bcher-kva.example")],
    "addresses": [x509.IPAddress(ipaddress.ip_address(text)) for text in ("192.0.2.1", "2001:db8::1", "::")],
    "everything": [
        x509.DNSName("a.example"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.RFC822Name("somebody@example.com"),
        x509.UniformResourceIdentifier("spiffe://example.org/a/b"),
    ],
}


@pytest.mark.parametrize("names", ODD_NAMES.values(), ids=ODD_NAMES.keys())
@pytest.mark.parametrize("subject", ["", "a.example", "*.example.com"])
def test_odd_names(authority: Authority, names: Sequence[x509.GeneralName], subject: str) -> None:
    """The same octets for one name and a hundred, with a subject and without (then they are critical, R95)."""
    profile = replace(BUILTIN["server"], allowed_name_kinds=frozenset({"dns", "ip", "email", "uri"}))
    require_same(drafted(authority, profile, make_csr(subject, names)), authority.issuer)


def test_subjects_of_many_attributes(authority: Authority) -> None:
    """The same octets for subjects that are kept: text of any kind, attributes that come several times."""
    subject = x509.Name(
        [
            x509.NameAttribute(oid, value)
            for oid, value in (
                (NameOID.COMMON_NAME, "Zoë Müller 测试"),
                (NameOID.COUNTRY_NAME, "NL"),
                (NameOID.ORGANIZATION_NAME, "a" * 64),
                (NameOID.ORGANIZATIONAL_UNIT_NAME, "one"),
                (NameOID.ORGANIZATIONAL_UNIT_NAME, "two"),
                (NameOID.DOMAIN_COMPONENT, "example"),
                (NameOID.SERIAL_NUMBER, "1234"),
            )
        ]
    )
    profile = replace(BUILTIN["client"], subject_policy="keep")
    csr = make_csr(subject, [x509.DNSName("a.example")])
    require_same(drafted(authority, profile, csr), authority.issuer)


@settings(max_examples=200, deadline=None)
@given(
    serial=st.integers(1, 2**159 - 1).map(serial_from_int),
    begin=st.integers(-631_152_000, 4_733_510_400).map(from_epoch),  # 1950 to 2120
    seconds=st.integers(0, 10_000_000_000),
    text=st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=16),
    names=st.lists(st.from_regex(r"[a-z]{1,60}\.example", fullmatch=True), min_size=1, max_size=30),
)
def test_any_serial_time_and_name(serial: bytes, begin: datetime, seconds: int, text: str, names: list[str]) -> None:
    """The same octets whatever the serial number's first bit, the century, and the lengths are."""
    authority = _authority()
    draft = replace(
        _draft(),
        serial=serial,
        not_before=begin,
        not_after=min(begin + timedelta(seconds=seconds), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        subject=common_name(text),
        extensions=(*_draft().extensions[:2], extension(x509.SubjectAlternativeName(map(x509.DNSName, names)))),
    )
    ours = x509.load_der_x509_certificate(sign_with(authority.issuer.private_key, draft, authority.issuer))
    assert ours.tbs_certificate_bytes == built(draft, authority.issuer).tbs_certificate_bytes


def test_an_extension_of_the_library(authority: Authority) -> None:
    """Extensions that do not know their DER are encoded when they are needed."""
    draft = _draft()
    plain = [x509.Extension(each.oid, each.critical, each.value) for each in draft.extensions]
    assert not any(isinstance(each, EncodedExtension) for each in plain)
    assert all(isinstance(each, EncodedExtension) for each in draft.extensions)

    def part(extensions: Sequence[x509.Extension[x509.ExtensionType]]) -> bytes:
        return signed_part(
            serial=draft.serial,
            issuer=authority.issuer,
            not_before=draft.not_before,
            not_after=draft.not_after,
            subject=draft.subject,
            public_key_der=draft.public_key_der,
            extensions=extensions,
        )

    assert part(plain) == part(draft.extensions)


def test_a_throw_away_key_signs_the_same(authority: Authority) -> None:
    """What a linter reads differs from what is issued in nothing but the signature (R104)."""
    draft = _draft()
    linted = x509.load_der_x509_certificate(sign_with(generate_key("p256"), draft, authority.issuer))
    signed = x509.load_der_x509_certificate(sign(draft, authority.issuer))
    assert linted.tbs_certificate_bytes == signed.tbs_certificate_bytes


def _authority() -> Authority:
    if not _MADE:
        authority = make_authority()
        _MADE.append((authority, drafted(authority, BUILTIN["server"], make_csr(sans=[x509.DNSName("a.example")]))))
    return _MADE[0][0]


def _draft() -> Draft:
    _authority()
    return _MADE[0][1]


_MADE: list[tuple[Authority, Draft]] = []


@pytest.mark.parametrize("kind", [kind for kind in LEAF_KINDS if not kind.startswith("mldsa")])  # unknown to the parser
def test_parts_of_keys_in_their_usual_form(kind: KeyKind) -> None:
    """Where octets are known by their places, they are the parts that a parser finds; nothing else is taken for it."""
    key = spki(key_of(kind))
    assert der.is_plain_p256(key) is (kind == "p256")
    parsed = asn1_keys.PublicKeyInfo.load(key)
    assert der.key_algorithm(key) == parsed["algorithm"].dump()
    assert der.key_bits(key) == parsed["public_key"].contents[1:]
    for other in (key[:-1], key + b"\x00", b"\x31" + key[1:]):
        assert not der.is_plain_p256(other)
