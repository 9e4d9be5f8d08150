"""Subjects of clients, and the name of a delegate."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from services.errors import DomainError
from services.pki.certificates import Issuer
from services.pki.hierarchy import ca_name, make_root
from services.pki.names import SubjectAlternativeNames

from .conftest import NOW, Authority, key_of, make_csr
from .test_certificates import names_of

Pairs = list[tuple[x509.ObjectIdentifier, str]]


def name_of(pairs: Pairs) -> x509.Name:
    """A name, with values as they are."""
    return x509.Name([x509.NameAttribute(oid, value, _validate=False) for oid, value in pairs])


def test_a_client_keeps_its_subject_in_the_usual_order(authority: Authority) -> None:
    """Standard attributes stay, one in each RDN, country first and common name last (R105)."""
    csr = make_csr(
        x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [
                        x509.NameAttribute(NameOID.COMMON_NAME, "Alice Müller"),
                        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "B"),
                    ]
                ),
                x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "A")]),
                x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example")]),
                x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "NL")]),
            ]
        ),
        [x509.RFC822Name("Alice@Example.com")],
    )
    certificate = authority.issue(csr, "client")
    shown = [(attribute.rfc4514_attribute_name, attribute.value) for attribute in certificate.subject]
    assert shown[0] == ("C", "NL")
    assert shown[-1] == ("CN", "Alice Müller")
    assert sorted(value for name, value in shown if name == "OU") == ["A", "B"]
    assert all(len(list(rdn)) == 1 for rdn in certificate.subject.rdns)
    assert names_of(certificate) == ("email:Alice@example.com",)


@pytest.mark.parametrize("serial_number", ["ü", "a*b"])
def test_serial_numbers_must_be_printable_strings(authority: Authority, serial_number: str) -> None:
    """What came as UTF8String is refused if PrintableString can't hold it."""
    utf8 = x509.name._ASN1Type.UTF8String
    name = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number, utf8)])
    with pytest.raises(DomainError) as caught:
        authority.issue(make_csr(name), "client")
    assert caught.value.reason == "SUBJECT_INVALID"


def test_string_types_of_subjects(authority: Authority) -> None:
    """Country and serial number are PrintableString, domain components IA5String, the rest UTF8String (R105)."""
    pairs: Pairs = [
        (NameOID.DOMAIN_COMPONENT, "example"),
        (NameOID.COUNTRY_NAME, "NL"),
        (NameOID.ORGANIZATION_NAME, "Example"),
        (NameOID.SERIAL_NUMBER, "42"),
        (NameOID.COMMON_NAME, "alice"),
    ]
    certificate = authority.issue(make_csr(name_of(pairs)), "client")
    types = {attribute.oid: attribute._type.name for attribute in certificate.subject}
    assert types == {
        NameOID.DOMAIN_COMPONENT: "IA5String",
        NameOID.COUNTRY_NAME: "PrintableString",
        NameOID.ORGANIZATION_NAME: "UTF8String",
        NameOID.SERIAL_NUMBER: "PrintableString",
        NameOID.COMMON_NAME: "UTF8String",
    }


def test_an_email_address_moves_to_the_alternative_names(authority: Authority) -> None:
    """RFC 5280, section 4.1.2.6, wants it there; names that are given replace it, too."""
    pairs: Pairs = [(NameOID.COMMON_NAME, "alice"), (NameOID.EMAIL_ADDRESS, "alice@example.com")]
    certificate = authority.issue(make_csr(name_of(pairs)), "client")
    assert certificate.subject.rfc4514_string() == "CN=alice"
    assert names_of(certificate) == ("email:alice@example.com",)
    given = SubjectAlternativeNames(uri=("urn:a:b",))
    assert names_of(authority.issue(make_csr(name_of(pairs)), "client", given)) == ("URI:urn:a:b",)


def test_a_client_without_alternative_names(authority: Authority) -> None:
    """A subject alone is enough for a client."""
    certificate = authority.issue(make_csr("alice"), "client")
    assert certificate.subject.rfc4514_string() == "CN=alice"
    with pytest.raises(x509.ExtensionNotFound):
        names_of(certificate)


@pytest.mark.parametrize(
    "pairs",
    [
        [(NameOID.COMMON_NAME, "alice"), (NameOID.COMMON_NAME, "bob")],
        [(NameOID.COUNTRY_NAME, "NL"), (NameOID.COUNTRY_NAME, "BE")],
        [(NameOID.COUNTRY_NAME, "nl")],
        [(NameOID.COUNTRY_NAME, "N1")],
        [(NameOID.ORGANIZATION_NAME, "a" * 65)],
        [(NameOID.ORGANIZATION_NAME, "ü" * 33)],
        [(NameOID.ORGANIZATION_NAME, " ")],
        [(NameOID.ORGANIZATION_NAME, "a\nb")],
        [(NameOID.ORGANIZATION_NAME, "a\u200bb")],
        [(NameOID.DN_QUALIFIER, "a")],
        [(x509.ObjectIdentifier("1.2.3.4"), "a")],
        [(NameOID.ORGANIZATIONAL_UNIT_NAME, str(n)) for n in range(21)],
    ],
    ids=str,
)
def test_subjects_that_are_refused(authority: Authority, pairs: Pairs) -> None:
    """Doubled, overlong, invisible, wrongly spelled and unknown attributes get SUBJECT_INVALID."""
    with pytest.raises(DomainError) as caught:
        authority.issue(make_csr(name_of(pairs)), "client")
    assert caught.value.reason == "SUBJECT_INVALID"
    assert caught.value.violations[0].field == "csr_der"


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ("CA", "CA OCSP responder"),
        ("a" * 64, "a" * 49 + " OCSP responder"),
        ("ü" * 32, "ü" * 24 + " OCSP responder"),
    ],
)
def test_a_delegate_is_named_after_its_issuer(own: str, expected: str) -> None:
    """The name is the issuer's with what the delegate is for, cut to 64 bytes without splitting a letter."""
    key = key_of("p384")
    root = make_root(name=ca_name(own), key=key, now=NOW)
    certificate = Authority(root, key, Issuer(root, key)).issue(make_csr(""), "ocsp-responder")
    assert [attribute.value for attribute in certificate.subject] == [expected]
