"""Imports: what comes in, what stays hidden until the end, what is odd, and what a second run does."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import import_pb2
from goodstanding.types.v1 import types_pb2
from services.ca import import_servicer
from services.ca.batch import Batch, Plan
from services.ca.crl_schedule import CrlSchedule
from services.ca.find import ListQuery
from services.ca.hierarchy import ImportCommand
from services.ca.imports import ImportHeader
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db import crls, issuers, position, status
from services.db.engine import Database
from services.db.records import IssuerState, RevocationRecord
from services.errors import DomainError, FailedPrecondition, NotFound, PermissionDenied, ResourceExhausted
from services.pki.hierarchy import make_issuing, make_root
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from services.rpc.authorization import METHOD_ROLES
from services.status.lookup import ByCertificate, StatusReader
from services.status.lookup import BySerial as Asked
from tests.ca.importing import (
    END,
    IMPORTER,
    KEY,
    LONG_AGO,
    NAME,
    ROOT,
    Told,
    chunk,
    entry,
    header,
    leaf,
    revoked,
    send,
    told,
    whole,
    with_certificate,
    with_old_key,
)
from tests.ca.world import START, Ca, Hierarchy, audit_entries, chain_flaws, make_actor, make_ca

BEFORE = START - timedelta(days=30)
HOLD = types_pb2.REVOCATION_REASON_CERTIFICATE_HOLD
COMPROMISE = types_pb2.REVOCATION_REASON_KEY_COMPROMISE
REJECT = "1.2.840.10040.2.3"


@pytest.fixture
def old(ca: Ca) -> Ca:
    """An installation that can open the old CA's key."""
    return with_old_key(ca)


def statuses(ca: Ca, *serials: int, name: str = NAME) -> list[str]:
    """What the status service says."""
    reader = StatusReader(ca.db, ca.clock)
    found = reader.batch([Asked(name, bytes.fromhex(format(each, "04x")), "") for each in serials]).findings
    return ["unknown" if each.record is None else "revoked" if each.record.revocation else "good" for each in found]


def recorded(ca: Ca, serial: int) -> Any:
    """The certificate as recorded."""
    return ca.authority.get(BySerial(bytes.fromhex(format(serial, "04x")), NAME))


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


def test_nobody_knows_before_the_end(old: Ca) -> None:
    """While it comes in, and after it broke off: no status, no issuer, no listing, no list, no name to issue under."""
    reader = StatusReader(old.db, old.clock)

    def unheard_of() -> None:
        assert NAME not in {each.name for each in (*old.authority.issuers(), *reader.issuers()[0])}
        assert statuses(old, 0x1001, 0x1002) == ["unknown", "unknown"]
        for target in (BySerial(b"\x10\x01"), BySerial(b"\x10\x01", NAME)):
            with pytest.raises(NotFound):
                old.authority.get(target)
        assert reader.get(Asked(None, b"\x10\x01", "")).findings[0].record is None
        for query in ({}, {"name": "leaf.example.com"}, {"serial_prefix": "1001"}, {"profile": "imported"}):
            assert not [each for each in listed(old, **query) if each.startswith("10")], query
        assert NAME not in {each.issuer_name for each in old.authority.count()}
        with pytest.raises(NotFound):
            old.issue(make_actor("issuer"), issuer=NAME)
        with old.db.read() as conn:
            now = position.read_position(conn).revision
            assert status.changes_between(conn, 0, now, 100).records == ()
            assert issuers.issuers_changed_between(conn, before, now) == []

    before = position_of(old)
    requests = whole([entry(0x1001), entry(0x1002, revoked(BEFORE))])
    with pytest.raises(FailedPrecondition) as unfinished:
        send(old, requests[:-1], before_each=lambda place: unheard_of() if place else None)
    assert unfinished.value.reason == "IMPORT_UNFINISHED"
    unheard_of()
    send(old, requests)
    assert statuses(old, 0x1001, 0x1002) == ["good", "revoked"]
    with old.db.read() as conn:
        now = position.read_position(conn).revision
        assert [each.name for each in issuers.issuers_changed_between(conn, before, now)] == [NAME]
        assert [each.serial for each in status.changes_between(conn, 0, now, 100).records] == [b"\x10\x02"]


def position_of(ca: Ca) -> int:
    """The last revision."""
    with ca.db.read() as conn:
        return position.read_position(conn).revision


def listed(ca: Ca, **query: Any) -> list[str]:
    """The serial numbers of a listing, all of its pages."""
    asked, found = ListQuery(page_size=2, **query), []
    while True:
        page = ca.authority.list(asked)
        found += [each.serial.hex() for each in page.certificates]
        if page.next is None:
            return found
        asked = asked.behind(page.next)


def test_a_listing_goes_past_what_is_pending(old: Ca) -> None:
    """More hidden certificates than a page holds do not end a listing."""
    serials = {old.issue(make_actor("issuer")).certificate.serial.hex() for _ in range(3)}
    begin = START + timedelta(days=1)
    entries = [entry(each, not_before_time={"seconds": int(begin.timestamp())}) for each in range(0x1000, 0x1010)]
    with pytest.raises(FailedPrecondition):
        send(old, whole(entries)[:-1])
    assert serials <= set(listed(old))
    assert set(listed(old, profile="server")) == serials


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


def test_the_key_of_an_offline_issuer_is_not_the_importers(old: Ca) -> None:
    """A CA that is known and offline, as the root is, starts issuing by the hand of an admin only."""
    send(old, whole([entry(0x1000)], key_reference=""))
    for validate_only in (False, True):
        with pytest.raises(PermissionDenied) as refused:
            send(old, whole([entry(0x1001)], validate_only=validate_only))
        assert refused.value.reason == "ROLE_NOT_ALLOWED"
    assert old.authority.directory.named(NAME).state is IssuerState.OFFLINE
    assert statuses(old, 0x1001) == ["unknown"]
    send(old, whole([entry(0x1001)]), actor=make_actor("admin"))
    assert old.authority.directory.named(NAME).state is IssuerState.ACTIVE


def test_into_an_issuer_that_issues_here(old: Ca) -> None:
    """Rows come in with each message, the issuer keeps its key, and its certificates are no longer needed."""
    issuing = {"issuer": "issuing", "certificates_der": [], "key_reference": ""}
    own = old.issue(make_actor("issuer")).certificate
    rows = [entry(0x1000), entry(0x1001, revoked(BEFORE))]
    with pytest.raises(FailedPrecondition):
        send(old, whole(rows, **issuing)[:-1])
    assert statuses(old, 0x1000, 0x1001, name="issuing") == ["good", "revoked"], "without the end"
    response = send(old, whole(rows, **issuing, crl_number="0a"))
    assert response.issuer.state == types_pb2.ISSUER_STATE_ACTIVE
    assert old.issue(make_actor("issuer")).certificate.issuer_name == "issuing"
    again = with_certificate(own.der or b"", revoked(START, 4))
    refused_row = told(send(old, whole([again], **issuing)))
    assert refused_row == Told((1, 0, 0, 0, 0, 1), [(own.serial.hex(), "ISSUED_HERE", True)])
    assert old.authority.get(BySerial(own.serial)).revocation is None, "an importer is no revoker"
    assert told(send(old, whole([again], **issuing), actor=make_actor("admin"))).counts == (1, 0, 0, 1, 0, 0)
    assert old.authority.get(BySerial(own.serial)).revocation == RevocationRecord(START, Reason.SUPERSEDED)


def test_numbers_of_revocation_lists_go_on(old: Ca) -> None:
    """The first list has the next number (R108), and every revocation that came in (R111)."""
    send(old, whole([entry(0x1000), entry(0x1001, revoked(BEFORE, COMPROMISE))], crl_number="1f"))
    authority = old.authority
    schedule = CrlSchedule(old.db, authority.directory, authority.crl_points, clock=old.clock)
    try:
        schedule.step()
    finally:
        schedule.close()
    with old.db.read() as conn:
        issuer_id = next(each.id for each in issuers.list_issuers(conn) if each.name == NAME)
        found = crls.latest_crl(conn, issuer_id)
    assert found is not None
    assert found.number == 0x20
    listed_there = x509.load_der_x509_crl(found.der).get_revoked_certificate_by_serial_number(0x1001)
    assert listed_there is not None
    assert listed_there.revocation_date_utc == BEFORE
    send(old, whole([], crl_number="05"))
    with old.db.write() as conn:
        assert crls.take_number(conn, issuer_id, 0) > 0x20, "a lower number takes nothing back"


@pytest.mark.parametrize(
    ("given", "state"),
    [({}, IssuerState.ACTIVE), ({"retired": True}, IssuerState.RETIRED), ({"key_reference": ""}, IssuerState.OFFLINE)],
    ids=["active", "retired", "offline"],
)
def test_what_becomes_of_the_issuer(old: Ca, given: dict[str, Any], state: IssuerState) -> None:
    """It is what the header of the run says that ends, with its own certificate among those that have a status."""
    with pytest.raises(FailedPrecondition):
        send(old, [header(), chunk(entry(0x1000))])
    send(old, whole([entry(0x1000)], **given))
    record = old.authority.directory.named(NAME)
    assert (record.state, record.key_ref is None) == (state, state is IssuerState.OFFLINE)
    reader = StatusReader(old.db, old.clock)
    found = reader.get(Asked(NAME, ROOT.serial_number.to_bytes(20).lstrip(b"\0"), "")).findings[0]
    assert found.record is not None


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no name", {"issuer": "No Name"}, "ISSUER_NAME_INVALID"),
    ("no certificate", {"certificates_der": []}, "ISSUER_CERTIFICATE_INVALID"),
    ("no CA", {"certificates_der": [leaf(5)]}, "ISSUER_CERTIFICATE_INVALID"),
    ("no key there", {"key_reference": "file:other.key"}, "KEY_MISSING"),
    ("a key outside", {"key_reference": "file:/etc/key"}, "KEY_REFERENCE_INVALID"),
    ("retired without key", {"key_reference": "", "retired": True}, "STATE_INVALID"),
    ("a name that is taken", {"issuer": "root"}, "ISSUER_EXISTS"),
    ("no number", {"crl_number": "x"}, "CRL_NUMBER_INVALID"),
    ("a number with none above it", {"crl_number": "4000000000000000"}, "CRL_NUMBER_INVALID"),
    ("a source with a tab", {"source": "a\tb"}, "SOURCE_INVALID"),
    ("a long source", {"source": "a" * 201}, "SOURCE_INVALID"),
]


def test_headers_that_are_refused(old: Ca) -> None:
    """Before a single certificate is read, and with nothing recorded; the field is named as it is in the message."""
    before = old.count("issuers")
    for name, given, reason in REFUSED:
        for validate_only in (False, True):
            with pytest.raises(DomainError) as refused:
                send(old, whole([entry(0x1000)], validate_only=validate_only, **given))
            assert refused.value.reason == reason, name
            assert all(each.field.startswith("header.") for each in refused.value.violations), name
    assert old.count("issuers") == before


ORDERS: list[tuple[str, list[import_pb2.ImportCertificatesRequest], str]] = [
    ("nothing", [], "IMPORT_ORDER_INVALID"),
    ("no header", [chunk(entry(1)), END], "IMPORT_ORDER_INVALID"),
    ("two headers", [header(), header(), END], "IMPORT_ORDER_INVALID"),
    ("an empty message", [header(), import_pb2.ImportCertificatesRequest(), END], "IMPORT_ORDER_INVALID"),
    ("no certificates", [header(), chunk(), END], "LIST_SIZE_INVALID"),
    ("too many", [header(), chunk(*[entry(1)] * 2001), END], "LIST_SIZE_INVALID"),
    ("no end", [header()], "IMPORT_UNFINISHED"),
]


def test_messages_in_another_order(old: Ca) -> None:
    """The stream has one form."""
    for name, requests, reason in ORDERS:
        with pytest.raises(DomainError) as refused:
            send(old, requests)
        assert refused.value.reason == reason, name


def test_what_is_pending_keeps_its_name(old: Ca) -> None:
    """Nobody else takes the name, or the subject and key, while an import is not finished; the import may go on."""
    with pytest.raises(FailedPrecondition):
        send(old, [header(), chunk(entry(0x1000))])
    der = ROOT.public_bytes(Encoding.DER)
    for name in (NAME, "another"):
        with pytest.raises(FailedPrecondition) as pending:
            old.authority.hierarchy.begin_import(ImportCommand(name=name, certificates_der=(der,)), IMPORTER).result(5)
        assert pending.value.reason == "ISSUER_PENDING"
    with pytest.raises(DomainError) as exists:
        send(old, whole([], issuer="another"))
    assert exists.value.reason == "ISSUER_EXISTS"
    assert told(send(old, whole([entry(0x1000)], certificates_der=[]))).counts == (1, 0, 1, 0, 0, 0)


def test_one_import_of_an_issuer_at_a_time(old: Ca) -> None:
    """A second one is refused while the first runs, and goes through after it."""
    reasons: list[str] = []

    def another(place: int) -> None:
        if place == 1:
            with pytest.raises(FailedPrecondition) as refused, old.authority.importing.alone(ImportHeader(issuer=NAME)):
                pass
            reasons.append(refused.value.reason)

    send(old, whole([entry(0x1000)]), before_each=another)
    assert reasons == ["IMPORT_IN_PROGRESS"]
    send(old, whole([entry(0x1000)]))


class Halt:
    """A work that keeps the writer busy until it is released."""

    key = None
    serialise = False

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def decide(self, _batch: Batch) -> Plan[None]:
        """Wait."""
        self.begun.set()
        self.go_on.wait(30)
        return Plan(lambda: None)


def test_a_full_queue(database: Database, hierarchy: Hierarchy, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import waits until there is room, and leaves what there is to others."""
    monkeypatch.setattr(import_servicer, "QUEUE_FULL_SECONDS", 0.01)
    with Writer(database, max_queue=1) as writer:
        old = with_old_key(make_ca(database, writer, hierarchy))
        halt, waiting = Halt(), Halt()

        def fill(place: int) -> None:
            if place == 1:
                writer.submit(halt)
                halt.begun.wait(10)
                writer.submit(waiting)
                waiting.go_on.set()
                with pytest.raises(ResourceExhausted):
                    writer.submit(Halt())
                threading.Timer(0.2, halt.go_on.set).start()

        assert told(send(old, whole([entry(0x1000)]), before_each=fill)).counts == (1, 1, 0, 0, 0, 0)


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


def test_the_certificate_of_an_issuer(old: Ca) -> None:
    """A CA certificate that comes in revoked for a compromise compromises its issuer, which is told (R51)."""
    key = generate_key("p256")
    below = make_issuing(root=ROOT, root_key=KEY, name="Below", key=key, now=START)
    der, serial = below.public_bytes(Encoding.DER), below.serial_number
    ends = {"seconds": int(below.not_valid_after_utc.timestamp())}
    bare = entry(format(serial, "040x"), not_after_time=ends)
    send(old, whole([bare]))
    send(old, whole([], issuer="below", certificates_der=[der], key_reference=""))
    send(old, whole([entry(0x3000)], issuer="below", certificates_der=[], key_reference=""))
    assert statuses(old, 0x3000, name="below") == ["good"]
    bare.revocation.CopyFrom(revoked(BEFORE, 2))
    before = position_of(old)
    assert told(send(old, whole([bare]))).counts == (1, 0, 0, 1, 0, 0)
    found = StatusReader(old.db, old.clock).get(Asked("below", b"\x30\x00", "")).findings[0].record
    assert found is not None
    assert found.revocation == RevocationRecord(BEFORE, Reason.CA_COMPROMISE)
    with old.db.read() as conn:
        changed = issuers.issuers_changed_between(conn, before, position.read_position(conn).revision)
    assert [each.name for each in changed] == ["below"]


def test_a_root_that_revoked_itself(old: Ca) -> None:
    """Its own row in its own index, revoked, compromises it from the moment on at which it is known."""
    serial = format(ROOT.serial_number, "040x")
    ends = {"seconds": int(ROOT.not_valid_after_utc.timestamp())}
    send(old, whole([entry(0x1000), entry(serial, revoked(BEFORE, COMPROMISE), not_after_time=ends)]))
    record = old.authority.directory.named(NAME)
    assert record.compromise is not None
    assert record.compromise.revocation == RevocationRecord(BEFORE, Reason.KEY_COMPROMISE)
    assert statuses(old, 0x1000) == ["revoked"]


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


def test_importers_only() -> None:
    """The role importer may import, and do nothing else that changes anything."""
    allowed = {method.rpartition("/")[2] for method, roles in METHOD_ROLES.items() if "importer" in roles}
    assert "ImportCertificates" in allowed
    assert not [name for name in allowed - {"ImportCertificates"} if name.startswith(("Issue", "Revoke", "Update"))]
    assert METHOD_ROLES["/goodstanding.ca.v1.ImportService/ImportCertificates"] == {"admin", "importer"}
