"""Issued certificates: what is in them, and what never gets into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha1, sha256

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import mldsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ExtensionOID, NameOID

from services.errors import DomainError, FailedPrecondition, InvalidArgument
from services.pki import der
from services.pki.certificates import AuthorityUrls, Issuer
from services.pki.hierarchy import make_root
from services.pki.keys import KeyKind
from services.pki.names import SubjectAlternativeNames
from services.pki.serials import serial_to_int

from .conftest import NOW, URLS, Authority, common_name, key_of, leaf_key, make_authority, make_csr, spki

_DAY = timedelta(days=1)
_FIRST = NOW - timedelta(seconds=60)
"""The first second of what is issued at NOW."""
_SECOND = timedelta(seconds=1)


def usage_of(certificate: x509.Certificate) -> set[str]:
    """The names of the key usages that are asserted."""
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    return {name for name in (*names, "key_cert_sign", "crl_sign") if getattr(usage, name)}


def critical_of(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    """The extensions that are critical."""
    return {extension.oid for extension in certificate.extensions if extension.critical}


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The subject alternative names, with their kinds."""
    value = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return SubjectAlternativeNames.from_extension(value).labelled()


def refusal(authority: Authority, csr: bytes, profile: str = "server", **options: object) -> DomainError:
    """The error that issuing ends in."""
    with pytest.raises(DomainError) as caught:
        authority.issue(csr, profile, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_server_certificate(authority: Authority) -> None:
    """It has the names and the key of the request, the serial number given, and what its profile says."""
    serial = b"\x9a" + b"\x01" * 15
    certificate = authority.issue(
        make_csr("Test.Example.com", [x509.DNSName("test.example.com"), x509.DNSName("TEST.example.com")]),
        serial=serial,
    )
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number == serial_to_int(serial)
    assert certificate.subject == common_name("test.example.com")  # R101
    assert names_of(certificate) == ("DNS:test.example.com",)
    assert certificate.not_valid_before_utc == NOW - timedelta(seconds=60)
    assert certificate.not_valid_after_utc == _FIRST + 90 * _DAY - _SECOND  # R92
    assert usage_of(certificate) == {"digital_signature"}  # R99
    assert critical_of(certificate) == {ExtensionOID.KEY_USAGE, ExtensionOID.BASIC_CONSTRAINTS}  # R95
    certificate.verify_directly_issued_by(authority.issuer.certificate)


def test_key_encipherment_is_for_rsa(authority: Authority) -> None:
    """RSA servers may decipher keys, EC and Ed25519 ones can't, and clients needn't (R99)."""
    expected: dict[tuple[KeyKind, str], set[str]] = {
        ("rsa2048", "server"): {"digital_signature", "key_encipherment"},
        ("rsa2048", "client"): {"digital_signature"},
        ("p384", "server"): {"digital_signature"},
        ("ed25519", "server"): {"digital_signature"},
    }
    for (kind, profile), usages in expected.items():
        assert usage_of(authority.issue(make_csr("a.example", key=key_of(kind)), profile)) == usages


@pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048", "ed25519"])
def test_issuers_with_keys_of_all_kinds(kind: KeyKind) -> None:
    """The signature fits the key, and both algorithm fields are the same bytes (R90)."""
    authority = make_authority(kind)
    certificate = authority.issue(make_csr("a.example"))
    certificate.verify_directly_issued_by(authority.issuer.certificate)
    parsed = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    assert parsed["signature_algorithm"].dump() == parsed["tbs_certificate"]["signature"].dump()
    hashing = {"p256": "sha256", "p384": "sha384", "p521": "sha512", "rsa2048": "sha256", "ed25519": None}[kind]
    assert getattr(certificate.signature_hash_algorithm, "name", None) == hashing


@pytest.mark.parametrize("profile", ["ocsp-responder", "server"])
def test_post_quantum_keys(authority: Authority, profile: str) -> None:
    """A certificate for an ML-DSA key says digitalSignature, and nothing of keys that could be enciphered (R99)."""
    key = mldsa.MLDSA65PrivateKey.generate()
    certificate = authority.issue(make_csr("a.example", [x509.DNSName("a.example")], key), profile)
    certificate.verify_directly_issued_by(authority.issuer.certificate)
    assert certificate.public_key() == key.public_key()
    assert usage_of(certificate) == {"digital_signature"}


def test_the_issuer_is_repeated_byte_for_byte(authority: Authority) -> None:
    """Name and key identifier are the CA's own, and there is nothing else in the AKI (R90, R96)."""
    certificate = authority.issue(make_csr("a.example"))
    ca = authority.issuer.certificate
    parsed = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    assert parsed["tbs_certificate"]["issuer"].dump() == der.subject_der(ca)
    assert parsed["tbs_certificate"]["issuer_unique_id"].native is None
    aki = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    ski = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert aki == x509.AuthorityKeyIdentifier(ski.digest, None, None)


def test_odd_string_types_of_the_issuer_are_kept() -> None:
    """An issuer whose name is in PrintableString, where we would write UTF8String, is repeated as it is (R90)."""
    printable = x509.name._ASN1Type.PrintableString
    attribute = x509.NameAttribute(NameOID.COMMON_NAME, "Example CA", printable)
    key = key_of("p384")
    root = make_root(name=x509.Name([attribute]), key=key, now=NOW)
    certificate = Authority(root, key, Issuer(root, key)).issue(make_csr("a.example"))
    parsed = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    assert parsed["tbs_certificate"]["issuer"].dump() == der.subject_der(root)
    assert der.subject_der(root) != common_name("Example CA").public_bytes()


def test_the_subject_key_identifier_is_the_hash_of_the_key(authority: Authority) -> None:
    """RFC 5280, section 4.2.1.2, method 1, over the bits alone."""
    certificate = authority.issue(make_csr("a.example"))
    ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert ski.digest == sha1(der.key_bits(der.public_key_der(certificate))).digest()


def test_where_to_ask(authority: Authority) -> None:
    """AIA holds the OCSP address and the issuer's, nothing else; without addresses there is none (R97)."""
    certificate = authority.issue(make_csr("a.example"))
    access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    assert {(item.access_method, item.access_location.value) for item in access} == {
        (AuthorityInformationAccessOID.OCSP, URLS.ocsp),
        (AuthorityInformationAccessOID.CA_ISSUERS, URLS.ca_issuers),
    }
    bare = authority.issue(make_csr("a.example"), urls=AuthorityUrls())
    assert ExtensionOID.AUTHORITY_INFORMATION_ACCESS not in {extension.oid for extension in bare.extensions}


def test_end_entities_say_so_in_two_octets(authority: Authority) -> None:
    """cA=FALSE is a DEFAULT, so the constraints are an empty sequence (R101)."""
    certificate = authority.issue(make_csr("a.example"))
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.public_bytes() == b"\x30\x00"


def test_extensions_of_a_request_are_never_copied(authority: Authority) -> None:
    """A request for CA:TRUE, OCSPSigning, nocheck, name constraints and the rest gets an ordinary certificate."""
    greedy: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (x509.KeyUsage(*[True] * 2, *[False] * 3, *[True] * 2, *[False] * 2), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False),
        (x509.OCSPNoCheck(), False),
        (x509.NameConstraints([x509.DNSName("example")], None), True),
        (x509.TLSFeature([x509.TLSFeatureType.status_request]), False),
        (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True),
    ]
    csr = make_csr("a.example", [x509.DNSName("a.example")], extensions=greedy)  # R115, R69
    for profile in ("server", "client"):
        certificate = authority.issue(csr, profile)
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert ExtendedKeyUsageOID.OCSP_SIGNING not in purposes
        assert len(list(purposes)) == 1
        assert usage_of(certificate) == {"digital_signature"}
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert {extension.oid for extension in certificate.extensions} == {
            ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
            ExtensionOID.SUBJECT_KEY_IDENTIFIER,
            ExtensionOID.KEY_USAGE,
            ExtensionOID.BASIC_CONSTRAINTS,
            ExtensionOID.EXTENDED_KEY_USAGE,
            ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
            ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
        }


def test_a_delegate_lives_an_hour_at_least(authority: Authority) -> None:
    """R66: the CA counts live delegates; shorter ones would let a stolen credential fill the database."""
    error = refusal(authority, make_csr("a.example"), profile="ocsp-responder", validity=timedelta(minutes=59))
    assert (error.reason, error.violations[0].field) == ("VALIDITY_TOO_SHORT", "validity")


def test_a_delegate(authority: Authority) -> None:
    """The responder's certificate is exactly what the profile for delegates says (R66)."""
    csr = make_csr("evil.example", [x509.DNSName("evil.example"), x509.DirectoryName(x509.Name([]))])
    certificate = authority.issue(csr, "ocsp-responder")
    text = certificate.subject.rfc4514_string()
    assert text == "CN=Example Issuing CA OCSP responder,O=Example,C=NL"
    assert usage_of(certificate) == {"digital_signature"}
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    nocheck = certificate.extensions.get_extension_for_class(x509.OCSPNoCheck)
    assert (nocheck.critical, nocheck.value.public_bytes()) == (False, b"\x05\x00")
    assert critical_of(certificate) == {ExtensionOID.KEY_USAGE}
    assert {extension.oid for extension in certificate.extensions} == {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.OCSP_NO_CHECK,
    }
    assert certificate.not_valid_after_utc == _FIRST + 3 * _DAY - _SECOND
    assert NOW - certificate.not_valid_before_utc <= timedelta(minutes=5)


def test_a_delegate_takes_no_names(authority: Authority) -> None:
    """Names that are given for a delegate are refused rather than dropped."""
    error = refusal(authority, make_csr(""), "ocsp-responder", sans=SubjectAlternativeNames(dns=("a.example",)))
    assert (error.reason, error.violations[0].field) == ("NAME_NOT_ALLOWED", "subject_alternative_names")


def test_the_key_of_the_ca_is_not_certified_as_another_s(authority: Authority) -> None:
    """A request with the issuer's own key is refused."""
    error = refusal(authority, make_csr("a.example", key=authority.issuer.private_key))
    assert error.reason == "KEY_NOT_ALLOWED"


# Validity


@pytest.mark.parametrize(
    ("options", "last"),
    [
        ({}, _FIRST + 90 * _DAY - _SECOND),
        ({"validity": _DAY}, _FIRST + _DAY - _SECOND),
        ({"validity": timedelta(seconds=61)}, NOW),
        ({"validity": 825 * _DAY}, _FIRST + 825 * _DAY - _SECOND),
        ({"not_after": NOW + _DAY}, NOW + _DAY),
        ({"not_after": (NOW + _DAY).replace(microsecond=999_999)}, NOW + _DAY),
        ({"not_after": (NOW + _DAY).astimezone(timezone(timedelta(hours=5)))}, NOW + _DAY),
        ({"now": NOW.replace(microsecond=5), "validity": _DAY}, _FIRST + _DAY - _SECOND),
    ],
)
def test_the_last_second(authority: Authority, options: dict[str, object], last: datetime) -> None:
    """A length counts both ends, the first of them a minute ago; an end is the last second itself (R92)."""
    assert authority.issue(make_csr("a.example"), **options).not_valid_after_utc == last  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "reason", "field"),
    [
        ({"validity": timedelta(0)}, "VALIDITY_INVALID", "validity"),
        ({"validity": timedelta(seconds=60)}, "VALIDITY_INVALID", "validity"),
        ({"validity": -_DAY}, "VALIDITY_INVALID", "validity"),
        ({"validity": timedelta(milliseconds=1500)}, "VALIDITY_INVALID", "validity"),
        ({"not_after": NOW - _SECOND}, "VALIDITY_INVALID", "not_after_time"),
        ({"not_after": NOW + _DAY, "validity": _DAY}, "VALIDITY_INVALID", "not_after_time"),
        ({"validity": 826 * _DAY}, "VALIDITY_TOO_LONG", "validity"),
        ({"not_after": NOW + 825 * _DAY}, "VALIDITY_TOO_LONG", "not_after_time"),
        ({"validity": 4000 * _DAY}, "VALIDITY_BEYOND_ISSUER", "validity"),
        ({"not_after": NOW + 4000 * _DAY}, "VALIDITY_BEYOND_ISSUER", "not_after_time"),
        (
            {"validity": timedelta(days=10**8)},
            "VALIDITY_BEYOND_ISSUER",
            "validity",
        ),
    ],
)
def test_validities_that_are_refused(authority: Authority, options: dict[str, object], reason: str, field: str) -> None:
    """Each gets its reason, on the field that asked for it."""
    error = refusal(authority, make_csr("a.example"), **options)  # type: ignore[arg-type]
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == (reason, field)


def test_near_the_issuer_s_end_a_default_is_cut(authority: Authority) -> None:
    """What nobody asked for is cut to the issuer's life; what was asked for is refused (R93)."""
    end = authority.issuer.not_after
    near = end - _DAY
    assert authority.issue(make_csr("a.example"), now=near).not_valid_after_utc == end
    assert refusal(authority, make_csr("a.example"), now=near, validity=2 * _DAY).reason == "VALIDITY_BEYOND_ISSUER"
    delegate = authority.issue(make_csr(""), "ocsp-responder", now=near, validity=2 * _DAY)
    assert delegate.not_valid_after_utc == end


def test_issuers_that_cannot_issue_now(authority: Authority) -> None:
    """After its end and before its beginning, an issuer issues nothing."""
    late = refusal(authority, make_csr("a.example"), now=authority.issuer.not_after + _SECOND)
    early = refusal(authority, make_csr("a.example"), now=authority.issuer.not_before - _SECOND)
    assert isinstance(late, FailedPrecondition)
    assert (late.reason, early.reason) == ("ISSUER_EXPIRED", "ISSUER_NOT_ACTIVE")


def test_a_certificate_never_begins_before_its_issuer(authority: Authority) -> None:
    """Back-dating stops at the issuer's own first second."""
    first = authority.issuer.not_before
    assert authority.issue(make_csr("a.example"), now=first).not_valid_before_utc == first


@pytest.mark.parametrize(
    ("last", "encoded"),
    [
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=UTC), b"\x18\x0f20500101000000Z"),
    ],
)
def test_the_year_2050_changes_the_type(last: datetime, encoded: bytes) -> None:
    """UTCTime up to 2049, GeneralizedTime from 2050 on, both in seconds and Z (R91)."""
    now = datetime(2049, 12, 1, tzinfo=UTC)
    certificate = make_authority(now=now).issue(make_csr("a.example"), now=now, not_after=last)
    assert encoded in certificate.tbs_certificate_bytes
    assert certificate.not_valid_after_utc == last


# Names


@pytest.mark.parametrize(
    ("subject", "sans", "given", "result"),
    [
        ("a.example", [], None, ("a.example", ("DNS:a.example",))),
        ("A.Example", [], None, ("a.example", ("DNS:a.example",))),
        ("*.example.com", [], None, ("*.example.com", ("DNS:*.example.com",))),
        ("", ["b.example"], None, (None, ("DNS:b.example",))),
        ("b.example", ["a.example", "b.example"], None, ("b.example", ("DNS:a.example", "DNS:b.example"))),
        ("Our server", ["a.example"], None, ("a.example", ("DNS:a.example",))),
        ("Müller", ["a.example"], None, ("a.example", ("DNS:a.example",))),
        ("a.example", ["a.example"], SubjectAlternativeNames(dns=("c.example",)), ("c.example", ("DNS:c.example",))),
        ("a.example", ["evil_"], SubjectAlternativeNames(dns=("c.example",)), ("c.example", ("DNS:c.example",))),
        ("x", [], SubjectAlternativeNames(ip=("192.0.2.1",)), (None, ("IP:192.0.2.1",))),
        ("192.0.2.1", [], SubjectAlternativeNames(ip=("192.0.2.1",)), ("192.0.2.1", ("IP:192.0.2.1",))),
        (
            "x",
            ["a" * 60 + ".example", "b.example"],
            None,
            ("b.example", ("DNS:" + "a" * 60 + ".example", "DNS:b.example")),
        ),
        ("x", ["a" * 60 + ".example"], None, (None, ("DNS:" + "a" * 60 + ".example",))),
    ],
)
def test_names_of_servers(
    authority: Authority,
    subject: str,
    sans: list[str],
    given: SubjectAlternativeNames | None,
    result: tuple[str | None, tuple[str, ...]],
) -> None:
    """The common name is one of the names or gives way; given names replace the request's (R101)."""
    certificate = authority.issue(make_csr(subject, [x509.DNSName(name) for name in sans]), sans=given)
    expected, names = result
    assert certificate.subject == common_name(expected or "")
    assert names_of(certificate) == names
    critical = ExtensionOID.SUBJECT_ALTERNATIVE_NAME in critical_of(certificate)
    assert critical is (expected is None)  # R95


def test_only_the_common_name_is_taken_for_servers(authority: Authority) -> None:
    """Organisation, country and the rest of the request don't get into a server's certificate."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "NL"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Somebody Else"),
            x509.NameAttribute(NameOID.COMMON_NAME, "a.example"),
        ]
    )
    assert authority.issue(make_csr(name)).subject == common_name("a.example")


def _unicode_name() -> bytes:
    value = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x06\x82\x04\xc3\xbc.a")
    return make_csr("", extensions=[(value, False)])


def _nul_name() -> bytes:
    value = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x0d\x82\x0bgood.a\x00evil")
    return make_csr("", extensions=[(value, False)])


_OWN = x509.UniformResourceIdentifier("spiffe://goodstanding/admin/eve")

# R101, R116: a request, the profile, the reason.
BAD_NAMES: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "no names": (lambda: make_csr(""), "server", "NAMES_MISSING"),
    "a common name that is no DNS name": (lambda: make_csr("Our server"), "server", "NAMES_MISSING"),
    "a common name in Unicode": (lambda: make_csr("münchen.example"), "server", "NAMES_MISSING"),
    "NUL in the common name": (lambda: make_csr("a.example\x00.evil"), "server", "SUBJECT_INVALID"),
    "NUL in a subject": (lambda: make_csr("alice\x00"), "client", "SUBJECT_INVALID"),
    "right-to-left override": (lambda: make_csr("alice\u202e"), "client", "SUBJECT_INVALID"),
    "NUL in a name": (_nul_name, "server", "NAME_INVALID"),
    "Unicode in a name": (_unicode_name, "server", "NAME_INVALID"),
    "underscore": (lambda: make_csr("", [x509.DNSName("a_b.example")]), "server", "NAME_INVALID"),
    "our own trust domain": (lambda: make_csr("eve", [_OWN]), "client", "NAME_RESERVED"),
    "a URI for a server": (lambda: make_csr("", [_OWN]), "server", "NAME_NOT_ALLOWED"),
    "a directory name": (lambda: make_csr("", [x509.DirectoryName(x509.Name([]))]), "server", "NAME_NOT_ALLOWED"),
    "nothing at all": (lambda: make_csr(""), "client", "NAMES_MISSING"),
}


@pytest.mark.parametrize(("make", "profile", "reason"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_bad_names(authority: Authority, make: Callable[[], bytes], profile: str, reason: str) -> None:
    """Each gets its reason, on the request that it came in."""
    error = refusal(authority, make(), profile)
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.violations[0].field) == (reason, "csr_der")


def test_given_names_are_blamed_where_they_were_given(authority: Authority) -> None:
    """A wrong name beside the request names its own element; no names given for a server are missing ones."""
    error = refusal(authority, make_csr("a.example"), sans=SubjectAlternativeNames(dns=("b.example", "_")))
    assert error.violations[0].field == "subject_alternative_names.dns_names[1]"
    empty = refusal(authority, make_csr("a.example"), sans=SubjectAlternativeNames())
    assert (empty.reason, empty.violations[0].field) == ("NAMES_MISSING", "subject_alternative_names")


def test_the_draft_describes_what_is_signed(authority: Authority) -> None:
    """What goes into the database is taken from the draft: subject, common name, names, hash of the key."""
    draft = authority.draft(make_csr("a.example"))
    assert (draft.subject_text, draft.common_name) == ("CN=a.example", "a.example")
    assert draft.sans.labelled() == ("DNS:a.example",)
    assert draft.public_key_sha256 == sha256(spki(leaf_key())).digest()
    assert draft.public_key_der == spki(leaf_key())
