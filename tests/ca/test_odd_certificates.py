"""Certificates and lists that others made, each with something odd in it: told with a reason, and never an INTERNAL.

What the library raises for them is not always a ValueError, and some of it only when a part is asked for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodstanding.ca.v1 import ca_pb2
from goodstanding.status.v1 import status_pb2
from goodstanding.types.v1.types_pb2 import REVOCATION_REASON_SUPERSEDED as SUPERSEDED
from goodstanding.types.v1.types_pb2 import IssuerAndSerialNumber
from services.ca.find import ListQuery
from services.db.records import CertificateRecord
from services.errors import DomainError
from services.pki import foreign
from services.pki.crls import make_crl
from services.pki.csr import read_csr
from services.pki.issuers import Issuer
from services.pki.unreadable import UNREADABLE
from services.status.explanation import explain
from services.status.lookup import StatusReader
from services.status.messages import read_reference
from tests.ca.importing import BEFORE, COMPROMISE, KEY, ROOT, header, revoked, send, told, whole, with_certificate
from tests.ca.test_bad_input import call
from tests.ca.test_bulk_calls import revoke
from tests.ca.test_odd_requests import oid, signature, spki, tlv
from tests.ca.world import Ca

# Of serial numbers that are not positive, the library says that it will refuse them some day.
pytestmark = pytest.mark.filterwarnings("ignore:Parsed a serial number")

ECDSA = tlv(0x30, oid("1.2.840.10045.4.3.2"))
NAME = ROOT.subject.public_bytes()
SERIAL = 0x4711


def extension(kind: str, value: bytes, *, critical: bool = False) -> bytes:
    """An extension in DER."""
    return tlv(0x30, oid(kind) + (b"\x01\x01\xff" if critical else b"") + tlv(0x04, value))


AUTHORITY = extension("2.5.29.19", tlv(0x30, b"\x01\x01\xff"), critical=True)
USAGE = extension("2.5.29.15", b"\x03\x02\x01\x06", critical=True)
IDENTIFIER = extension("2.5.29.14", tlv(0x04, b"identifier"))
NAMES = extension("2.5.29.17", tlv(0x30, tlv(0x82, b"odd.example.com")))


def names(tag: int, content: bytes) -> bytes:
    """Alternative names, one of them of that kind."""
    return extension("2.5.29.17", tlv(0x30, tlv(0x82, b"odd.example.com") + tlv(tag, content)))


@dataclass(frozen=True)
class Parts:
    """A certificate of the old CA, in pieces of DER."""

    version: bytes = tlv(0xA0, b"\x02\x01\x02")
    serial: bytes = tlv(0x02, SERIAL.to_bytes(2))
    algorithm: bytes = ECDSA
    issuer: bytes = NAME
    begins: bytes = tlv(0x17, b"210101000000Z")
    ends: bytes = tlv(0x17, b"290101000000Z")
    subject: bytes = tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3") + tlv(0x0C, b"Odd"))))
    public_key: bytes = spki(KEY)
    extensions: tuple[bytes, ...] = (AUTHORITY, USAGE, IDENTIFIER, NAMES)

    def der(self) -> bytes:
        """Signed with the old CA's key, whatever it is."""
        period, extensions = tlv(0x30, self.begins + self.ends), tlv(0xA3, tlv(0x30, b"".join(self.extensions)))
        first = self.version + self.serial + self.algorithm + self.issuer + period + self.subject + self.public_key
        part = tlv(0x30, first + extensions)
        return tlv(0x30, part + self.algorithm + tlv(0x03, b"\x00" + signature(KEY, part)[1]))


def rsa_key(content: bytes) -> bytes:
    """An RSA key whose numbers are that."""
    return tlv(0x30, tlv(0x30, oid("1.2.840.113549.1.1.1") + b"\x05\x00") + tlv(0x03, b"\x00" + content))


GOOD = Parts()
REST = (USAGE, IDENTIFIER, NAMES)
ODD: dict[str, Parts] = {
    "nothing odd": GOOD,
    "version 4": replace(GOOD, version=tlv(0xA0, b"\x02\x01\x03")),
    "version 1 with extensions": replace(GOOD, version=b""),
    "a version below 0": replace(GOOD, version=tlv(0xA0, b"\x02\x01\xff")),
    "basic constraints twice": replace(GOOD, extensions=(AUTHORITY, AUTHORITY, *REST)),
    "an unknown extension twice": replace(
        GOOD, extensions=(AUTHORITY, *REST, *[extension("1.2.3.4", b"\x05\x00")] * 2)
    ),
    "an X.400 address": replace(GOOD, extensions=(AUTHORITY, USAGE, IDENTIFIER, names(0xA3, tlv(0x30, b"")))),
    "an EDI party": replace(GOOD, extensions=(AUTHORITY, USAGE, IDENTIFIER, names(0xA5, tlv(0xA1, tlv(0x0C, b"x"))))),
    "three octets of an address": replace(GOOD, extensions=(AUTHORITY, USAGE, IDENTIFIER, names(0x87, b"abc"))),
    "a name of nothing": replace(GOOD, extensions=(AUTHORITY, USAGE, IDENTIFIER, names(0x82, b""))),
    "basic constraints that are none": replace(
        GOOD, extensions=(extension("2.5.29.19", tlv(0x30, b"\x01\x02\xff\xff")), *REST)
    ),
    "a key usage that is none": replace(
        GOOD, extensions=(AUTHORITY, extension("2.5.29.15", b"\xff"), IDENTIFIER, NAMES)
    ),
    "an odd place of lists": replace(
        GOOD,
        extensions=(
            AUTHORITY,
            *REST,
            extension("2.5.29.31", tlv(0x30, tlv(0x30, tlv(0xA0, tlv(0xA0, tlv(0xA3, b"")))))),
        ),
    ),
    "no extensions": replace(GOOD, extensions=()),
    "the year 0": replace(GOOD, begins=tlv(0x18, b"00000101000000Z")),
    "ends before it begins": replace(GOOD, begins=tlv(0x18, b"99991231235959Z")),
    "no such day": replace(GOOD, begins=tlv(0x17, b"210231000000Z")),
    "serial number 0": replace(GOOD, serial=tlv(0x02, b"\x00")),
    "serial number below 0": replace(GOOD, serial=tlv(0x02, b"\xff\x01")),
    "serial number of 21 octets": replace(GOOD, serial=tlv(0x02, b"\x7f" * 21)),
    "a key of an unknown kind": replace(GOOD, public_key=tlv(0x30, tlv(0x30, oid("1.2.3.4")) + tlv(0x03, b"\x00\x00"))),
    "a key that is no point": replace(GOOD, public_key=spki(KEY)[:-1] + bytes([spki(KEY)[-1] ^ 1])),
    "an RSA key of rubbish": replace(GOOD, public_key=rsa_key(b"rubbish")),
    "an RSA key of nothing": replace(GOOD, public_key=rsa_key(b"")),
    "a modulus below 0": replace(
        GOOD, public_key=rsa_key(tlv(0x30, tlv(0x02, b"\x80" + b"\x11" * 255) + tlv(0x02, b"\x01\x00\x01")))
    ),
    "a signature of an unknown kind": replace(GOOD, algorithm=tlv(0x30, oid("1.2.3.4"))),
    "an empty subject": replace(GOOD, subject=tlv(0x30, b"")),
    "a subject that is no UTF-8": replace(
        GOOD, subject=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3") + tlv(0x0C, b"\xff\xfe"))))
    ),
    "a subject with a NUL": replace(GOOD, subject=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3") + tlv(0x0C, b"a\0b"))))),
    "a subject in BMPString of odd length": replace(
        GOOD, subject=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3") + tlv(0x1E, b"\x00"))))
    ),
    "an issuer without a value": replace(GOOD, issuer=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3"))))),
    "an issuer in a string of no type": replace(
        GOOD, issuer=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3") + tlv(0x0D, b"Odd"))))
    ),
    "a subject without a value": replace(GOOD, subject=tlv(0x30, tlv(0x31, tlv(0x30, oid("2.5.4.3"))))),
}


def ask(ca: Ca, method: str, request: Any, role: str) -> None:
    """Call the servicer. Raises what it raises."""
    if method == "RevokeCertificates":
        revoke(ca, request)
    else:
        call(ca, method, request, role)


@contextlib.contextmanager
def naming(case: str) -> Iterator[None]:
    """Say which case has failed: a database for each of them would take long."""
    try:
        yield
    except Exception as error:
        error.add_note(f"of: {case}")
        raise


@contextlib.contextmanager
def told_at_the_most() -> Iterator[None]:
    """Refusals have a reason. Anything else that is raised would be an INTERNAL."""
    with contextlib.suppress(DomainError):
        yield


def by_certificate(der: bytes) -> list[tuple[str, Any, str]]:
    """Calls that are given a certificate: method, request and role."""
    listed = ca_pb2.ListedCertificates(certificates=[ca_pb2.ListedCertificate(certificate_der=der)])
    return [
        ("ImportIssuer", ca_pb2.ImportIssuerRequest(name="odd", certificates_der=[der], validate_only=True), "admin"),
        ("RevokeCertificate", ca_pb2.RevokeCertificateRequest(certificate_der=der, reason=SUPERSEDED), "revoker"),
    ] + [
        (
            "RevokeCertificates",
            ca_pb2.RevokeCertificatesRequest(**selection, reason=SUPERSEDED, validate_only=True),
            "revoker",
        )
        for selection in (
            {"certificates": listed},
            {"public_key": ca_pb2.PublicKeySelection(certificate_der=der)},
            {"public_key": ca_pb2.PublicKeySelection(csr_der=der)},
            {"public_key": ca_pb2.PublicKeySelection(public_key_der=der)},
        )
    ]


def look_up(ca: Ca, der: bytes) -> None:
    """Ask the status service about a certificate, and why it answers so."""
    with told_at_the_most():
        reference = read_reference(status_pb2.CertificateReference(certificate_der=der), "certificate")
        reader = StatusReader(ca.db, ca.clock)
        reader.get(reference)
        reader.examine(lambda conn, index: explain(conn, index, reference))


def ask_all(ca: Ca, der: bytes) -> None:
    """Give a certificate to whatever takes one."""
    for method, request, role in by_certificate(der):
        with told_at_the_most():
            ask(ca, method, request, role)
    look_up(ca, der)
    with told_at_the_most():
        read_csr(der=der)
    with contextlib.suppress(foreign.ForeignCertificateError):
        foreign.read_certificate(der, ROOT)


def test_certificates_that_are_given(ca: Ca) -> None:
    """As an issuer, to be revoked, by their keys, and for their statuses."""
    for name, parts in ODD.items():
        with naming(name):
            ask_all(ca, parts.der())


def test_certificates_that_are_imported(old: Ca) -> None:
    """They come in or are refused; what has come in is listed, asked for, revoked by number and by a filter."""
    for number, (name, parts) in enumerate(ODD.items(), 0x4000):
        own = replace(parts, serial=tlv(0x02, number.to_bytes(2))) if parts.serial == GOOD.serial else parts
        with naming(name):
            import_one(old, own.der())
    filters = [
        ca_pb2.CertificateFilter(issuer="old"),
        *(ca_pb2.CertificateFilter(profile=p) for p in ("imported", "ca")),
    ]
    for wanted in filters:
        selection = ca_pb2.RevokeCertificatesRequest(filter=wanted, reason=SUPERSEDED)
        ask(old, "RevokeCertificates", selection, "revoker")
    unreadable = {record.serial for record in records(old) if record.profile == "imported"}
    assert unreadable, "nothing has come in that cannot be read as a whole"


def import_one(old: Ca, der: bytes) -> None:
    """Bring a certificate in, and do with it what can be done."""
    found = send(old, whole([with_certificate(der), with_certificate(der, revoked(BEFORE))]))
    assert sum(told(found).counts[1:]) == 2
    with told_at_the_most():
        send(old, [header(issuer="other", certificates_der=[der], validate_only=True), *whole([])[1:]])
    look_up(old, der)
    for record in records(old):
        named = IssuerAndSerialNumber(issuer=record.issuer_name, serial_number=record.serial.hex())
        ask(old, "GetCertificate", ca_pb2.GetCertificateRequest(issuer_and_serial_number=named), "reader")
        request = ca_pb2.RevokeCertificateRequest(issuer_and_serial_number=named, reason=COMPROMISE, validate_only=True)
        ask(old, "RevokeCertificate", request, "revoker")


def records(ca: Ca) -> list[CertificateRecord]:
    """All certificates."""
    return list(ca.authority.list(ListQuery(page_size=100)).certificates)


@pytest.mark.parametrize("which", [name for name in ODD if name.startswith("an RSA key")])
def test_a_ca_whose_key_is_none(old: Ca, which: str) -> None:
    """Both ways in say that it cannot be an issuer, and why; a key that can be read keeps its own reason."""
    small = rsa_key(tlv(0x30, tlv(0x02, b"\x7f" * 64) + tlv(0x02, b"\x01\x00\x01")))
    for key, reason in ((ODD[which].public_key, "ISSUER_CERTIFICATE_INVALID"), (small, "KEY_TOO_SMALL")):
        der = replace(GOOD, public_key=key).der()
        request = ca_pb2.ImportIssuerRequest(name="odd", certificates_der=[der])
        with pytest.raises(DomainError) as refused:
            call(old, "ImportIssuer", request, "admin")
        assert refused.value.reason == reason
        with pytest.raises(DomainError) as refused:
            send(old, [header(issuer="odd", certificates_der=[der], key_reference=""), *whole([])[1:]])
        assert refused.value.reason == reason


def crl(edit: Callable[[bytes], bytes]) -> bytes:
    """A list of the old CA, changed after it was signed."""
    now = ROOT.not_valid_before_utc
    return edit(make_crl(Issuer(ROOT, KEY), number=7, this_update=now, next_update=now + timedelta(days=9999)))


NUMBER = oid("2.5.29.20") + tlv(0x04, b"\x02\x01\x07")
LISTS: dict[str, Callable[[bytes], bytes]] = {
    "nothing odd": lambda der: der,
    "version 3": lambda der: der.replace(b"\x02\x01\x01\x30", b"\x02\x01\x02\x30", 1),
    "a number twice": lambda der: der.replace(oid("2.5.29.35"), oid("2.5.29.20")),
    "a number below 0": lambda der: der.replace(NUMBER, oid("2.5.29.20") + tlv(0x04, b"\x02\x01\xff")),
    "a number that is none": lambda der: der.replace(NUMBER, oid("2.5.29.20") + tlv(0x04, b"\x05\x01\x07")),
    "a number under another name": lambda der: der.replace(NUMBER, oid("2.5.29.35") + tlv(0x04, b"\x02\x01\x07")),
    "cut off": lambda der: der[:-1],
}


def test_lists_that_are_given(old: Ca) -> None:
    """A revocation list of an issuer whose key is elsewhere is recorded or refused."""
    send(old, [header(key_reference=""), *whole([])[1:]])
    for name, edit in LISTS.items():
        request = ca_pb2.ImportCertificateRevocationListRequest(issuer="old", crl_der=crl(edit))
        with naming(name), told_at_the_most():
            ask(old, "ImportCertificateRevocationList", request, "admin")


def test_the_cases_are_what_they_are_meant_to_be() -> None:
    """The good one is good, and some of the others are not read by the library, each for a reason of its own."""
    x509.load_der_x509_certificate(GOOD.der()).verify_directly_issued_by(ROOT)
    raised = set()
    for parts in ODD.values():
        try:
            _ = x509.load_der_x509_certificate(parts.der()).extensions
        except UNREADABLE as error:
            raised.add(type(error))
    assert {x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType, ValueError} <= raised


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(which=st.sampled_from(list(ODD)), place=st.integers(0, 10_000), octets=st.binary(max_size=3))
def test_no_certificate_is_an_internal_error(ca: Ca, which: str, place: int, octets: bytes) -> None:
    """The same for certificates that are broken anywhere."""
    der = ODD[which].der()
    place %= len(der)
    ask_all(ca, der[:place] + octets + der[place + 1 :])
