"""Imports: what comes in, what is odd, and what a second run does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509

from goodstanding.ca.v1 import import_pb2
from goodstanding.types.v1 import types_pb2
from services.ca.find import ListQuery
from services.db import issuers, position, status
from services.db.records import RevocationRecord
from services.pki.hierarchy import make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from services.status.lookup import ByCertificate, StatusReader
from services.status.lookup import BySerial as Asked
from tests.ca.importing import (
    BEFORE,
    COMPROMISE,
    END,
    HOLD,
    IMPORTER,
    LONG_AGO,
    NAME,
    REJECT,
    ROOT,
    Told,
    at,
    chunk,
    entry,
    header,
    leaf,
    listed,
    position_of,
    recorded,
    revoked,
    send,
    statuses,
    told,
    whole,
    with_certificate,
)
from tests.ca.world import START, Ca, audit_entries, chain_flaws, make_actor


def test_everything_comes_in(old: Ca) -> None:
    """Rows with and without certificates, revoked and expired ones: issuer, statuses, descriptions, list, counters."""
    der = leaf(0x1000, "web.example.com")
    response = send(
        old,
        whole(
            [
                with_certificate(der, origin="newcerts/1000.pem"),
                entry(0x1001),
                entry(0x1002, revoked(BEFORE, COMPROMISE, invalidity_at=BEFORE - timedelta(days=1))),
                entry(0x1003, revoked(BEFORE, HOLD, hold_instruction=REJECT)),
                entry(0x1004, not_after_time={"seconds": 1}),
                entry("ff" * 20, revoked(BEFORE), not_after_time={"seconds": 4_000_000_000}),
            ],
            crl_number="1f",
        ),
    )
    assert told(response) == Told((6, 6, 0, 0, 0, 0), [])
    assert (response.issuer.name, response.issuer.state) == (NAME, types_pb2.ISSUER_STATE_ACTIVE)
    assert statuses(old, 0x1000, 0x1001, 0x1002, 0x1003, 0x1004, 0x1005) == [
        "good",
        "good",
        "revoked",
        "revoked",
        "good",
        "unknown",
    ]
    whole_one, plain = recorded(old, 0x1000), recorded(old, 0x1001)
    assert (whole_one.der, whole_one.subject, whole_one.subject_alternative_names) == (
        der,
        "CN=web.example.com",
        ("DNS:web.example.com",),
    )
    assert (plain.der, plain.subject, plain.profile, plain.not_before) == (
        None,
        "/CN=leaf.example.com",
        "imported",
        ROOT.not_valid_before_utc,
    )
    assert (plain.actor.identity, plain.actor.role) == (IMPORTER.identity, "importer")
    compromised = RevocationRecord(BEFORE, Reason.KEY_COMPROMISE, BEFORE - timedelta(days=1))
    assert recorded(old, 0x1002).revocation == compromised
    assert recorded(old, 0x1003).revocation == RevocationRecord(BEFORE, Reason.CERTIFICATE_HOLD, None, REJECT)
    found = old.authority.list(ListQuery(page_size=10, name="LEAF.example.com"))
    assert {each.serial.hex() for each in found.certificates} == {"1001", "1002", "1003", "1004", "ff" * 20}
    assert [each.revocation.hold_instruction for each in found.certificates if each.revocation].count(REJECT) == 1
    counts = {each.profile: (each.valid, each.revoked, each.expired) for each in old.authority.count(NAME)}
    assert counts == {"imported": (2, 3, 1), "ca": (1, 0, 0)}
    assert chain_flaws(old.db) == []
    issued = old.issue(make_actor("issuer"), issuer=NAME).certificate
    x509.load_der_x509_certificate(issued.der or b"").verify_directly_issued_by(ROOT)
    assert len(issued.serial) == 16, "new serial numbers are random (R89)"


def test_a_second_run_brings_what_is_new(old: Ca) -> None:
    """The same again comes to nothing; new rows, new revocations and certificates that were missing come in."""
    der = leaf(0x1000)
    ends = {"seconds": int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp())}
    first = [entry(0x1000, not_after_time=ends), entry(0x1001), entry(0x1002, revoked(BEFORE))]
    send(old, whole(first))
    before = old.count("certificates"), old.count("status_changes")
    assert told(send(old, whole(first))) == Told((3, 0, 3, 0, 0, 0), [])
    assert (old.count("certificates"), old.count("status_changes")) == before
    second = [with_certificate(der), entry(0x1001, revoked(START)), *first[2:], entry(0x1003)]
    assert told(send(old, whole(second))) == Told((4, 1, 1, 1, 1, 0), [])
    assert recorded(old, 0x1000).der == der
    assert set(listed(old, name="leaf.example.com")) == {"1000", "1001", "1002", "1003"}
    assert told(send(old, whole(second))).counts == (4, 0, 4, 0, 0, 0)
    counts = {each.profile: (each.valid, each.revoked, each.expired) for each in old.authority.count(NAME)}
    assert counts["imported"] == (2, 2, 0)


def test_a_revocation_that_comes_in_is_told(old: Ca) -> None:
    """With its own time, as a change at a revision of its own (G3), and in the audit log under the importer's name."""
    send(old, whole([entry(0x1001)]))
    before = position_of(old)
    old.clock.advance(hours=1)
    send(old, whole([entry(0x1001, revoked(BEFORE, HOLD, hold_instruction=REJECT))]))
    with old.db.read() as conn:
        found = status.changes_between(conn, before, position.read_position(conn).revision, 10).records
    assert [(each.serial, each.revocation, each.changed_at) for each in found] == [
        (b"\x10\x01", RevocationRecord(BEFORE, HOLD), old.clock())
    ]
    revocation = recorded(old, 0x1001).revocation
    assert (revocation.revoked_at, revocation.hold_instruction) == (BEFORE, REJECT)
    entries = [each.event for each in audit_entries(old.db) if each.event.serial == b"\x10\x01"]
    assert [(each.method, each.actor.identity) for each in entries] == [("ImportCertificates", IMPORTER.identity)]
    old.revoke(make_actor("revoker"), b"\x10\x01", Reason.REMOVE_FROM_CRL)
    old.revoke(make_actor("revoker"), b"\x10\x01", Reason.CERTIFICATE_HOLD)
    assert recorded(old, 0x1001).revocation.hold_instruction is None, "the instruction went with its hold"


HERE = [
    ("revoked here", revoked(BEFORE), None, "REVOKED_HERE"),
    ("another time", revoked(BEFORE), revoked(BEFORE - timedelta(1)), "REVOCATION_DIFFERS"),
    ("another reason", revoked(BEFORE, HOLD), revoked(BEFORE, COMPROMISE), "REVOCATION_DIFFERS"),
    ("no reason", revoked(BEFORE, 5), revoked(BEFORE), "REVOCATION_DIFFERS"),
]


@pytest.mark.parametrize(("here", "there", "code"), [each[1:] for each in HERE], ids=[each[0] for each in HERE])
def test_what_is_recorded_here_wins(
    old: Ca,
    here: import_pb2.ImportedRevocation,
    there: import_pb2.ImportedRevocation | None,
    code: str,
) -> None:
    """Nothing becomes less revoked, or revoked for another reason or at another time, and the difference is told."""
    send(old, whole([entry(0x1001, here)]))
    before = recorded(old, 0x1001)
    assert told(send(old, whole([entry(0x1001, there)]))) == Told((1, 0, 1, 0, 0, 0), [("1001", code, False)])
    assert recorded(old, 0x1001) == before


def _odd() -> list[tuple[str, import_pb2.ImportedCertificate, str, bool]]:
    other = generate_key("p256")
    later = START + timedelta(days=1)
    good, name = leaf(0x1000), "Another CA"
    foreign = leaf(0x1000, key=other, issuer=make_root_of(name, other).subject)
    ends = {"seconds": int(x509.load_der_x509_certificate(good).not_valid_after_utc.timestamp())}
    return [
        ("no serial number", entry("xyz"), "SERIAL_INVALID", True),
        ("zero", entry("00"), "SERIAL_INVALID", True),
        ("21 octets", entry("11" * 21), "SERIAL_INVALID", True),
        ("odd length", entry("0x1:00:0"), "SERIAL_INVALID", True),
        ("no end", import_pb2.ImportedCertificate(serial_number="1000"), "NOT_AFTER_MISSING", True),
        ("beyond the calendar", entry(0x1000, not_after_time={"seconds": 2**40}), "TIME_INVALID", True),
        ("not a certificate", with_certificate(b"0\x00"), "CERTIFICATE_MALFORMED", True),
        ("cut off", with_certificate(good[:-9]), "CERTIFICATE_MALFORMED", True),
        ("of another CA", with_certificate(foreign), "CERTIFICATE_NOT_BY_ISSUER", True),
        ("signed by another", with_certificate(leaf(0x1000, key=other)), "CERTIFICATE_SIGNATURE_INVALID", True),
        ("another serial", with_certificate(good, serial_number="1001"), "SERIAL_MISMATCH", True),
        ("another end", with_certificate(good, not_after_time={"seconds": 5}), "NOT_AFTER_DIFFERS", False),
        ("the same end", with_certificate(good, not_after_time=ends), "", False),
        ("no such reason", entry(0x1000, revoked(BEFORE, 7)), "REASON_DROPPED", False),
        ("removeFromCRL", entry(0x1000, revoked(BEFORE, 8)), "REASON_DROPPED", False),
        ("revoked tomorrow", entry(0x1000, revoked(later)), "REVOCATION_TIME_IN_FUTURE", False),
        ("no time", entry(0x1000, import_pb2.ImportedRevocation()), "REVOCATION_TIME_MISSING", True),
        ("unsafe tomorrow", entry(0x1000, revoked(BEFORE, 1, invalidity_at=later)), "INVALIDITY_TIME_IN_FUTURE", False),
        (
            "instruction of no hold",
            entry(0x1000, revoked(BEFORE, 1, hold_instruction=REJECT)),
            "HOLD_INSTRUCTION_DROPPED",
            False,
        ),
        (
            "instruction by name",
            entry(0x1000, revoked(BEFORE, 6, hold_instruction="reject")),
            "HOLD_INSTRUCTION_DROPPED",
            False,
        ),
        (
            "instruction without end",
            entry(0x1000, revoked(BEFORE, 6, hold_instruction="1.2" + ".123456789" * 26)),
            "HOLD_INSTRUCTION_DROPPED",
            False,
        ),
        (
            "revoked before it began",
            with_certificate(good, revoked(LONG_AGO - timedelta(days=1))),
            "REVOKED_BEFORE_VALIDITY",
            False,
        ),
        ("NUL", entry(0x1000, subject="/CN=a\0b"), "SUBJECT_CHANGED", False),
    ]


def make_root_of(name: str, key: Any) -> x509.Certificate:
    """A root of somebody else."""
    return make_root(name=name, key=key, now=LONG_AGO)


ODD = _odd()


def test_what_is_wrong_with_one_keeps_no_other_out(old: Ca) -> None:
    """Each oddity is a finding of its own; what is refused is not there, and its neighbours are."""
    for place, (name, odd, code, refused) in enumerate(ODD):
        neighbour = 0x2000 + place
        origin = odd.origin
        response = send(old, [header(validate_only=True), chunk(odd, entry(neighbour)), END])
        assert told(response).counts == (2, 1 if refused else 2, 0, 0, 0, int(refused)), name
        found = [(each.origin, each.code, each.refused) for each in response.findings]
        assert found == ([(origin, code, refused)] if code else []), name
    response = send(old, whole([each[1] for each in ODD if each[3]] + [entry(0x2000), entry(0x2001, revoked())]))
    assert response.counts.added_count == 2
    assert statuses(old, 0x1000, 0x2000, 0x2001) == ["unknown", "good", "revoked"]


def test_revoked_without_a_good_reason_is_revoked(old: Ca) -> None:
    """A reason that is none, and a time to come, do not keep the revocation itself out."""
    later = START + timedelta(days=1)
    send(old, whole([entry(0x1000, revoked(BEFORE, 8)), entry(0x1001, revoked(later))]))
    assert recorded(old, 0x1000).revocation == RevocationRecord(BEFORE, Reason.UNSPECIFIED)
    assert recorded(old, 0x1001).revocation == RevocationRecord(later, Reason.UNSPECIFIED)
    assert statuses(old, 0x1000, 0x1001) == ["revoked", "revoked"]


def test_a_serial_number_stands_for_one_certificate(old: Ca) -> None:
    """In one message, in another, and in a later run: another certificate with it is refused, and the first stays."""
    one, other = leaf(0x1000), leaf(0x1000, "other.example.com")
    conflict = ("1000", "SERIAL_CONFLICT", True)
    response = send(old, [header(), chunk(with_certificate(one), with_certificate(other)), END])
    assert told(response) == Told((2, 1, 0, 0, 0, 1), [conflict])
    assert told(send(old, whole([with_certificate(other), entry(0x1000)]))) == Told(
        (2, 0, 0, 0, 0, 2), [conflict, conflict]
    ), "and one that ends at another time is another one"
    assert recorded(old, 0x1000).der == one


def test_what_only_a_list_has_told_is_completed(old: Ca) -> None:
    """Its end is not known, and stands as the CA's: the certificate, or its row, brings it, for good."""
    unknown = at(ROOT.not_valid_after_utc)
    told_by_list = [entry(each, revoked(BEFORE), not_after_time=unknown, subject="") for each in (0x1000, 0x1001)]
    send(old, whole(told_by_list))
    der = leaf(0x1000)
    rows = [with_certificate(der, revoked(BEFORE)), entry(0x1001, revoked(BEFORE))]
    assert told(send(old, whole(rows))) == Told((2, 0, 0, 0, 2, 0), [])
    ends = x509.load_der_x509_certificate(der).not_valid_after_utc, START + timedelta(days=100)
    for serial, end in zip((0x1000, 0x1001), ends, strict=True):
        record = recorded(old, serial)
        assert (record.not_after, record.revocation.revoked_at) == (end, BEFORE)
        with old.db.read() as conn:
            octets = serial.to_bytes(2)
            issuer_id = next(each.id for each in issuers.list_issuers(conn) if each.name == NAME)
            assert status.get_statuses(conn, issuer_id, [octets])[octets].not_after == end
    assert (recorded(old, 0x1000).der, recorded(old, 0x1001).subject) == (der, "/CN=leaf.example.com")
    assert told(send(old, whole([*told_by_list, *rows]))) == Told((4, 0, 4, 0, 0, 0), [])
    another = entry(0x1001, revoked(BEFORE), not_after_time=at(START))
    assert told(send(old, whole([another]))) == Told((1, 0, 0, 0, 0, 1), [("1001", "SERIAL_CONFLICT", True)])


def test_the_certificate_says_when_it_ends(old: Ca) -> None:
    """A row with another end, which came before it, gives way: in the record, and where they are counted."""
    send(old, whole([entry(0x1000), entry(0x1001)]))
    found = told(send(old, whole([with_certificate(leaf(0x1000))])))
    assert found == Told((1, 0, 0, 0, 1, 0), [("1000", "NOT_AFTER_DIFFERS", False)])
    old.clock.advance(days=200)
    counts = {each.profile: (each.valid, each.revoked, each.expired) for each in old.authority.count(NAME)}
    assert counts["imported"] == (1, 0, 1)


def test_twice_in_one_message(old: Ca) -> None:
    """The same row twice is one; if one of them is revoked, or has the certificate, that counts."""
    der = leaf(0x1002)
    ends = {"seconds": int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp())}
    bare = entry(0x1002, revoked(BEFORE), not_after_time=ends)
    rows = [entry(0x1000), entry(0x1000), entry(0x1001), entry(0x1001, revoked(BEFORE)), bare, with_certificate(der)]
    response = send(old, [header(), chunk(*rows), END])
    assert told(response) == Told((6, 3, 1, 1, 1, 0), [("1002", "REVOKED_HERE", False)])
    assert statuses(old, 0x1000, 0x1001, 0x1002) == ["good", "revoked", "revoked"]
    assert (recorded(old, 0x1002).der, recorded(old, 0x1002).revocation.revoked_at) == (der, BEFORE)
    assert old.count("status_changes") == 2


def test_validate_only_records_nothing(old: Ca) -> None:
    """It tells what would come in, of an issuer that is not known, and of one that is."""
    rows = [entry(0x1000), entry(0x1001, revoked(BEFORE))]
    before = {table: old.count(table) for table in ("certificates", "issuers", "audit_entries", "status_changes")}
    response = send(old, whole(rows, validate_only=True))
    assert (told(response), response.HasField("issuer")) == (Told((2, 2, 0, 0, 0, 0), []), False)
    assert {table: old.count(table) for table in before} == before
    send(old, whole([entry(0x1001)]))
    response = send(old, whole(rows, validate_only=True))
    assert (told(response).counts, response.issuer.name) == ((2, 1, 0, 1, 0, 0), NAME)
    assert statuses(old, 0x1000, 0x1001) == ["unknown", "good"]


def test_keys_of_compromised_certificates_are_blocked(old: Ca) -> None:
    """Whoever asks for a certificate for a key that the old CA knew to be in other hands is refused (R103)."""
    known, new = leaf(0x1000), leaf(0x1001)
    send(old, whole([with_certificate(known)]))
    assert old.count("blocked_keys") == 0
    rows = [with_certificate(known, revoked(BEFORE, COMPROMISE)), with_certificate(new, revoked(BEFORE, COMPROMISE))]
    assert told(send(old, whole(rows))).counts == (2, 1, 0, 1, 0, 0)
    assert old.count("blocked_keys") == 1, "they have the same key"
    third = send(old, whole([with_certificate(leaf(0x1002)), with_certificate(leaf(0x1003), revoked(BEFORE, 4))]))
    assert told(third) == Told((2, 2, 0, 0, 0, 0), [("1002", "KEY_BLOCKED", False)])


def test_asked_by_a_certificate_of_which_only_the_status_came(old: Ca) -> None:
    """It is known by the issuer's signature; a forgery with the same serial number is not."""
    der, forged = leaf(0x1000), leaf(0x1000, key=generate_key("p256"))
    ends = {"seconds": int(x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp())}
    send(old, whole([entry(0x1000, not_after_time=ends)]))
    reader = StatusReader(old.db, old.clock)
    found = [reader.get(ByCertificate(each, b"\x10\x00")).findings[0].record is not None for each in (der, forged)]
    assert found == [True, False]


def test_a_past_status(old: Ca) -> None:
    """What the old CA said then is what is told of then."""
    send(old, whole([entry(0x1000, revoked(BEFORE, HOLD)), entry(0x1001)]))
    reader = StatusReader(old.db, old.clock)

    def then(serial: bytes, days: int) -> bool | None:
        record = reader.get_at(Asked(NAME, serial, ""), BEFORE + timedelta(days=days)).record
        return None if record is None else record.revocation is not None

    assert [then(b"\x10\x00", days) for days in (-9999, -1, 1)] == [None, False, True]
    assert [then(b"\x10\x01", days) for days in (-1, 1)] == [False, False]


def test_what_the_audit_log_says(old: Ca) -> None:
    """Who brought in what from where: an entry for each message and one for the end; none for a dry run or a repeat."""
    rows = [entry(0x1000), entry(0x1001), entry(0x1002, revoked(BEFORE))]
    send(old, whole(rows, crl_number="0a"))
    entries = [each.event for each in audit_entries(old.db) if each.event.method == "ImportCertificates"]
    assert [(each.issuer, each.actor.role) for each in entries] == [(NAME, "importer")] * 3
    assert '"source":"/root/ca"' in entries[0].details
    assert '"added":3' in entries[-1].details
    before = len(audit_entries(old.db))
    send(old, whole(rows, validate_only=True))
    assert len(audit_entries(old.db)) == before
    send(old, whole(rows))
    assert len(audit_entries(old.db)) == before + 1
    with old.db.read() as conn:
        actions = [each.revocation for each in status.get_changes(conn, range(position_of(old))).values()]
    assert actions == [RevocationRecord(BEFORE, 0)]


def test_findings_are_bounded(old: Ca) -> None:
    """The first thousand are told, and how many there were besides."""
    bad = [entry("xyz")] * 600
    response = send(old, [header(validate_only=True), chunk(*bad), chunk(*bad), END])
    assert (len(response.findings), response.omitted_findings_count) == (1000, 200)
    assert response.counts.refused_count == 1200
