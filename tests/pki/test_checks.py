"""The last look before signing catches drafts that `prepare` would never make."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.pki.certificates import Draft, check, extension, key_usage
from services.pki.profiles import CLIENT
from services.pki.serials import new_serial

from .conftest import NOW, Authority, common_name, make_csr, rsa_spki


def _with(draft: Draft, value: x509.ExtensionType, *, critical: bool = False) -> Draft:
    """The draft with one extension put in the place of its like, or added."""
    others = tuple(item for item in draft.extensions if item.oid != value.oid)
    return replace(draft, extensions=(*others, extension(value, critical=critical)))


def _without(draft: Draft, kind: type[x509.ExtensionType]) -> Draft:
    return replace(draft, extensions=tuple(item for item in draft.extensions if item.oid != kind.oid))


# R89, R91, R93, R95, R96, R99 to R102, R105.
BROKEN: dict[str, Callable[[Draft], Draft]] = {
    "short serial number": lambda d: replace(d, serial=b"\x01" * 7),
    "long serial number": lambda d: replace(d, serial=b"\x01" * 21),
    "serial number of 21 octets in DER": lambda d: replace(d, serial=b"\x80" * 20),
    "serial number with a leading zero": lambda d: replace(d, serial=b"\x00" + b"\x01" * 15),
    "fractions of seconds": lambda d: replace(d, not_after=d.not_after.replace(microsecond=1)),
    "a time without zone": lambda d: replace(d, not_after=d.not_after.replace(tzinfo=None)),
    "ends before it begins": lambda d: replace(d, not_after=d.not_before - timedelta(seconds=1)),
    "outlives the issuer": lambda d: replace(d, not_after=NOW + timedelta(days=9000)),
    "older than the issuer": lambda d: replace(d, not_before=NOW - timedelta(days=9000)),
    "another AKI": lambda d: _with(d, x509.AuthorityKeyIdentifier(b"\x01" * 20, None, None)),
    "no AKI": lambda d: _without(d, x509.AuthorityKeyIdentifier),
    "no key usage": lambda d: _without(d, x509.KeyUsage),
    "no EKU": lambda d: _without(d, x509.ExtendedKeyUsage),
    "keyCertSign": lambda d: _with(d, key_usage(ca=True), critical=True),
    "no digitalSignature": lambda d: _with(d, key_usage(digital_signature=False, key_encipherment=True), critical=True),
    "keyEncipherment on EC": lambda d: _with(d, key_usage(key_encipherment=True), critical=True),
    "key usage not critical": lambda d: _with(d, key_usage()),
    "cA": lambda d: _with(d, x509.BasicConstraints(ca=True, path_length=None), critical=True),
    "OCSPSigning": lambda d: _with(d, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])),
    "another EKU": lambda d: _with(d, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])),
    "EKU critical": lambda d: _with(d, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True),
    "nocheck": lambda d: _with(d, x509.OCSPNoCheck()),
    "name constraints": lambda d: _with(d, x509.NameConstraints([x509.DNSName("a")], None), critical=True),
    "an extension twice": lambda d: replace(d, extensions=(*d.extensions, d.extensions[0])),
    "no SAN": lambda d: _without(d, x509.SubjectAlternativeName),
    "SAN critical beside a subject": lambda d: _with(d, d.sans.to_extension(), critical=True),
    "SAN not critical without a subject": lambda d: replace(d, subject=x509.Name([])),
    "another common name": lambda d: replace(d, subject=common_name("evil.example")),
    "another attribute": lambda d: replace(
        d, subject=x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "a.example")])
    ),
    "profile of another name": lambda d: replace(d, profile=CLIENT),
    "two attributes in an RDN": lambda d: replace(
        d,
        subject=x509.Name(
            [
                x509.RelativeDistinguishedName(
                    [x509.NameAttribute(oid, "a.example") for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)]
                )
            ]
        ),
    ),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_drafts(authority: Authority, broken: Callable[[Draft], Draft]) -> None:
    """Each broken rule is noticed, and nothing of it is an answer to a caller (R104)."""
    draft = authority.draft(make_csr("a.example"))
    with pytest.raises(Exception, match="a rule is broken") as caught:
        check(broken(draft), authority.issuer)
    assert type(caught.value).__name__ == "CheckFailed"


DELEGATE_BROKEN: dict[str, Callable[[Draft], Draft]] = {
    "SAN": lambda d: _with(d, x509.SubjectAlternativeName([x509.DNSName("a")])),
    "AIA": lambda d: _with(d, x509.AuthorityInformationAccess([])),
    "no nocheck": lambda d: _without(d, x509.OCSPNoCheck),
    "no subject": lambda d: replace(d, subject=x509.Name([])),
}


@pytest.mark.parametrize("broken", DELEGATE_BROKEN.values(), ids=DELEGATE_BROKEN)
def test_broken_delegates(authority: Authority, broken: Callable[[Draft], Draft]) -> None:
    """What a delegate must not have, or must have, is checked too (R66)."""
    draft = authority.draft(make_csr(""), "ocsp-responder")
    check(draft, authority.issuer)
    with pytest.raises(Exception, match="a rule is broken"):
        check(broken(draft), authority.issuer)


def test_keys_are_looked_at_again(authority: Authority) -> None:
    """A weak key, and the issuer's own, are not signed even if they got into a draft (R102)."""
    draft = authority.draft(make_csr("a.example"))
    with pytest.raises(Exception, match="RSA keys need"):
        check(replace(draft, public_key_der=rsa_spki(2**1023 + 1)), authority.issuer)
    with pytest.raises(Exception, match="key of the issuer"):
        check(replace(draft, public_key_der=authority.issuer.public_key_der), authority.issuer)


def test_good_drafts_pass(authority: Authority) -> None:
    """The same draft with another serial number is still good."""
    draft = authority.draft(make_csr("a.example"))
    check(replace(draft, serial=new_serial()), authority.issuer)
    check(replace(draft, serial=b"\x7f" * 20), authority.issuer)
