"""A3: serial numbers of every size and sign (R31)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.db import certificates, issuers, position, status
from services.db.engine import Database
from services.db.records import Actor, NewCertificate
from tests.conformance.estate import Estate
from tests.conformance.subjects import Subject, echoed
from tests.conformance.wire import Responder, nonce, request, tlv


def serial_cert_id(subject: Subject, content: bytes) -> bytes:
    """A CertID of the issuer, with a serial number of these octets."""
    whole = subject.cert_id(1)
    return tlv(0x30, whole[2:-3], tlv(0x02, content))


LENGTHS = range(1, 21)


def serials(size: int) -> list[bytes]:
    """Serial numbers of that many octets, unsigned: without the top bit, and with it."""
    return [b"\x2a" + b"\x5a" * (size - 1), b"\xaa" + b"\x5a" * (size - 1)]


@pytest.fixture(scope="module")
def solo(estate: Estate) -> Subject:
    """An issuer whose database has a certificate for each of `serials`, as if another CA's records were taken over."""
    now = datetime.now(UTC).replace(microsecond=0)
    actor = Actor("", "records of another CA", "importer", fingerprint="", peer="", request_id="")
    db = Database.open(f"sqlite:///{estate.system.data / 'goodstanding.db'}")
    try:
        with db.write() as conn:
            issuer = next(each for each in issuers.list_issuers(conn) if each.name == "solo")
            rows = [
                NewCertificate(
                    issuer_id=issuer.id,
                    serial=serial,
                    der=None,
                    subject="",
                    common_name=None,
                    subject_alternative_names=(),
                    profile="server",
                    public_key_sha256=None,
                    not_before=now - timedelta(days=1),
                    not_after=now + timedelta(days=30),
                    issued_at=now,
                    actor=actor,
                )
                for size in LENGTHS
                for serial in serials(size)
            ]
            ids = certificates.insert_certificates(conn, rows)
            status.insert_statuses(conn, rows, ids, position.advance(conn, len(rows)))
    finally:
        db.close()
    return Subject(estate.ca("solo"), 0)


@pytest.mark.rule("R31")
@pytest.mark.parametrize("size", LENGTHS)
def test_serial_numbers_that_somebody_issued(responder: Responder, solo: Subject, size: int) -> None:
    """Good at every length from one to twenty octets, with and without the top bit, by POST and by GET."""
    for serial in serials(size):
        cert_id = solo.cert_id(int.from_bytes(serial, "big"))
        for reply in (responder.post(request(cert_id)), responder.get(request(cert_id))):
            answer = solo.verified(reply)
            assert (answer.status, echoed(answer)) == ("good", [cert_id])
        # The same octets read as a negative number are somebody else, and nobody.
        negative = serial_cert_id(solo, serial) if serial[0] & 0x80 else solo.cert_id(-int.from_bytes(serial, "big"))
        assert solo.verified(responder.post(request(negative))).status == "unknown"


@pytest.mark.rule("R31", "R44")
@pytest.mark.parametrize("size", LENGTHS)
def test_serial_numbers_that_somebody_might_issue(responder: Responder, subject: Subject, size: int) -> None:
    """One to twenty octets, the smallest and the largest of them: unknown, since nobody issued them, and echoed."""
    smallest, largest = b"\x01" + bytes(size - 1), b"\x7f" + b"\xff" * (size - 1)
    for content in (smallest, largest):
        cert_id = serial_cert_id(subject, content)
        for reply in (responder.post(request(cert_id)), responder.get(request(cert_id))):
            answer = subject.verified(reply)
            assert (answer.status, echoed(answer)) == ("unknown", [cert_id])


@pytest.mark.rule("R31")
@pytest.mark.parametrize("size", LENGTHS)
def test_serial_numbers_with_the_top_bit(responder: Responder, subject: Subject, size: int) -> None:
    """A zero octet in front keeps them positive; with 20 octets behind it that makes 21."""
    cert_id = serial_cert_id(subject, b"\x00\x80" + b"\x5a" * (size - 1))
    answer = subject.verified(responder.post(request(cert_id)))
    assert (answer.status, echoed(answer)) == ("unknown", [cert_id])


NEVER = {
    "zero": b"\x00",
    "minus-one": b"\xff",
    "minus-128": b"\x80",
    "negative-of-two-octets": b"\x80\x00",
    "negative-of-twenty-octets": b"\x80" + b"\x5a" * 19,
    "twenty-one-octets": b"\x01" + b"\x5a" * 20,
    "twenty-one-octets-top-bit": b"\x00\x80" + b"\x5a" * 20,
    "negative-of-twenty-one-octets": b"\x80" + b"\x5a" * 20,
    "a-hundred-octets": b"\x01" + b"\x5a" * 99,
    "a-thousand-octets": b"\x01" + b"\x5a" * 999,
}


@pytest.mark.rule("R31", "R44")
@pytest.mark.parametrize("name", NEVER)
def test_serial_numbers_that_nobody_issues(responder: Responder, subject: Subject, name: str) -> None:
    """Negative, zero or longer than allowed: unknown, echoed as they came, and not for caches."""
    cert_id = serial_cert_id(subject, NEVER[name])
    for extensions in ([], [nonce(b"n" * 32)]):
        reply = responder.post(request(cert_id, extensions=extensions))
        answer = subject.verified(reply)
        assert (answer.status, echoed(answer)) == ("unknown", [cert_id])
    assert "max-age=0" in (responder.get(request(cert_id)).header("cache-control") or "")


@pytest.mark.rule("R17", "R31")
@pytest.mark.parametrize("zeros", [1, 2, 5])
def test_leading_zeros(responder: Responder, subject: Subject, zeros: int) -> None:
    """More octets than the number needs are not DER, in front of a serial number that was issued too."""
    content = subject.serial.to_bytes((subject.serial.bit_length() + 7) // 8, "big")
    padded = b"\x00" * (zeros + (content[0] >> 7)) + content
    assert responder.post(request(serial_cert_id(subject, padded))).ocsp_status == "malformed_request"
    plain = content if content[0] < 0x80 else b"\x00" + content
    assert responder.post(request(serial_cert_id(subject, plain))).answer.status == "good"


@pytest.mark.rule("R31", "R44")
def test_neighbours_of_a_serial_number_that_was_issued(responder: Responder, subject: Subject) -> None:
    """None of them is good: one more, one less, negated, cut, extended, the top bit set."""
    serial, size = subject.serial, (subject.serial.bit_length() + 7) // 8
    neighbours = {
        "one more": serial + 1,
        "one less": serial - 1,
        "negated": -serial,
        "complement": ~serial,
        "the negative of the same octets": serial - (1 << 8 * size),
        "first octet cut": serial & ((1 << 8 * (size - 1)) - 1),
        "last octet cut": serial >> 8,
        "zero behind": serial << 8,
        "one in front": serial | 1 << 8 * size,
        "beyond 20 octets": serial | 1 << 8 * 20,
    }
    statuses = {
        name: responder.post(request(subject.cert_id(value))).answer.status for name, value in neighbours.items()
    }
    assert statuses == dict.fromkeys(neighbours, "unknown")


@pytest.mark.rule("R31", "R44")
def test_a_serial_number_of_another_issuer(estate: Estate, responder: Responder, subject: Subject) -> None:
    """A number that one CA issued means nothing under another."""
    for issuer in ("rsa", "solo", "rolled", "renamed"):
        other = Subject(estate.ca(issuer), subject.serial)
        assert other.verified(responder.post(request(other.cert_id()))).status == "unknown"
