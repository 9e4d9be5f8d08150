"""Certificate revocation lists."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from asn1crypto import crl as asn1_crl
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from services.pki import der
from services.pki.certificates import Issuer
from services.pki.crls import MAX_NUMBER, CrlEntry, make_crl
from services.pki.reasons import NAMES, Reason
from services.pki.serials import serial_to_int

from .conftest import NOW, Authority

_LATER = NOW + timedelta(days=30)


def root_of(authority: Authority) -> Issuer:
    """The root, ready to sign."""
    return Issuer(authority.root, authority.root_key)


def test_an_empty_crl(authority: Authority) -> None:
    """Without revoked certificates the list is absent, and AKI and number are there, not critical (R106 to R108)."""
    data = make_crl(root_of(authority), number=1, this_update=NOW, next_update=_LATER)
    parsed = asn1_crl.CertificateList.load(data, strict=True)["tbs_cert_list"]
    assert parsed["version"].native == "v2"
    assert parsed["revoked_certificates"].native is None
    assert parsed["issuer"].dump() == der.subject_der(authority.root)
    crl = x509.load_der_x509_crl(data)
    assert [extension.critical for extension in crl.extensions] == [False, False]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 1
    aki = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert aki == root_of(authority).authority_key_identifier
    assert (crl.last_update_utc, crl.next_update_utc) == (NOW, _LATER)
    assert crl.is_signature_valid(authority.root_key.public_key())


def test_entries(authority: Authority) -> None:
    """Each entry has its date and reason; unspecified is not said; an invalidity date is (R110)."""
    entries = [
        CrlEntry(bytes([n + 1]) * 16, NOW - timedelta(days=n), reason, NOW - timedelta(days=n + 1) if n % 2 else None)
        for n, reason in enumerate(reason for reason in Reason if reason is not Reason.REMOVE_FROM_CRL)
    ]
    data = make_crl(root_of(authority), entries, number=MAX_NUMBER, this_update=NOW, next_update=_LATER)
    crl = x509.load_der_x509_crl(data)
    assert len(crl) == len(entries)
    for entry in entries:
        revoked = crl.get_revoked_certificate_by_serial_number(serial_to_int(entry.serial))
        assert revoked is not None
        assert revoked.revocation_date_utc == entry.revoked_at
        found = {type(extension.value): extension.value for extension in revoked.extensions}
        reason = found.get(x509.CRLReason)
        assert (reason.reason.value if isinstance(reason, x509.CRLReason) else "unspecified") == NAMES[
            Reason(entry.reason)
        ]
        assert (x509.InvalidityDate in found) == (entry.invalidity_at is not None)


def test_times_beyond_2049(authority: Authority) -> None:
    """Dates change their type with the year 2050, in CRLs too (R106)."""
    last = datetime(2050, 1, 1, tzinfo=UTC)
    data = make_crl(root_of(authority), number=1, this_update=last - timedelta(seconds=1), next_update=last)
    assert b"\x17\x0d491231235959Z\x18\x0f20500101000000Z" in data


@pytest.mark.parametrize(
    ("number", "next_update", "reason"),
    [(-1, _LATER, 0), (2**159, _LATER, 0), (1, NOW - timedelta(days=1), 0), (1, _LATER, 8), (1, _LATER, 7)],
)
def test_crls_that_cannot_be(authority: Authority, number: int, next_update: datetime, reason: int) -> None:
    """Numbers out of range, an end before the beginning, and reasons that don't belong there are refused."""
    with pytest.raises(ValueError):
        make_crl(
            root_of(authority),
            [CrlEntry(b"\x01", NOW, reason)],
            number=number,
            this_update=NOW,
            next_update=next_update,
        )


def test_openssl_checks_the_chain_against_it(authority: Authority, openssl: Callable[..., str], tmp_path: Path) -> None:
    """`openssl verify -crl_check` takes the root's CRL for the issuing CA."""
    data = make_crl(root_of(authority), number=1, this_update=NOW, next_update=_LATER)
    crl = x509.load_der_x509_crl(data)
    (tmp_path / "root.crl").write_bytes(crl.public_bytes(Encoding.PEM))
    (tmp_path / "root.pem").write_bytes(authority.root.public_bytes(Encoding.PEM))
    (tmp_path / "issuing.pem").write_bytes(authority.issuer.certificate.public_bytes(Encoding.PEM))
    when = str(int(NOW.timestamp()) + 60)
    options = ["-x509_strict", "-attime", when, "-CAfile", "root.pem", "-CRLfile", "root.crl", "-crl_check"]
    assert openssl("verify", *options, "issuing.pem") == "issuing.pem: OK\n"
