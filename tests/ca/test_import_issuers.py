"""Imports: what becomes of the issuer. Pending until the end, its key, its lists, and who may do what."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from goodstanding.ca.v1 import import_pb2
from goodstanding.types.v1 import types_pb2
from services.ca import import_servicer
from services.ca.batch import Batch, Plan
from services.ca.blocked_keys import BlockCommand
from services.ca.crl_schedule import CrlSchedule
from services.ca.hierarchy import ImportCommand
from services.ca.imports import ImportHeader
from services.ca.target import BySerial
from services.ca.writer import Writer
from services.db import crls, issuers, position, status
from services.db.engine import Database
from services.db.records import IssuerState, RevocationRecord
from services.errors import (
    DomainError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
)
from services.pki.hierarchy import make_issuing, make_root
from services.pki.issuers import public_key_of
from services.pki.keys import generate_key
from services.pki.reasons import Reason
from services.rpc.authorization import METHOD_ROLES
from services.status.lookup import BySerial as Asked
from services.status.lookup import StatusReader
from tests.ca.importing import (
    BEFORE,
    COMPROMISE,
    END,
    IMPORTER,
    KEY,
    NAME,
    ROOT,
    Told,
    abandon,
    at,
    chunk,
    entry,
    header,
    leaf,
    listed,
    position_of,
    revoked,
    send,
    statuses,
    told,
    whole,
    with_certificate,
    with_old_key,
)
from tests.ca.world import START, Ca, Hierarchy, audit_entries, chain_flaws, make_actor, make_ca


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


def test_a_listing_goes_past_what_is_pending(old: Ca) -> None:
    """More hidden certificates than a page holds do not end a listing."""
    serials = {old.issue(make_actor("issuer")).certificate.serial.hex() for _ in range(3)}
    begin = START + timedelta(days=1)
    entries = [entry(each, not_before_time={"seconds": int(begin.timestamp())}) for each in range(0x1000, 0x1010)]
    with pytest.raises(FailedPrecondition):
        send(old, whole(entries)[:-1])
    assert serials <= set(listed(old))
    assert set(listed(old, profile="server")) == serials


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
        send(old, whole(rows, **issuing)[:-1], actor=make_actor("admin"))
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


def test_an_import_that_is_given_up(old: Ca) -> None:
    """Nobody ever hears of it, nor finds it; its name and its key are free, and the same CA comes in anew."""
    ends = {"seconds": int(ROOT.not_valid_after_utc.timestamp())}
    own = entry(format(ROOT.serial_number, "040x"), revoked(BEFORE), not_after_time=ends)
    with pytest.raises(FailedPrecondition):
        send(old, whole([entry(0x1000, revoked(BEFORE)), entry(0x1001), own])[:-1])
    before = old.count("audit_entries")
    planned = abandon(old, validate_only=True)
    assert (planned.certificates_count, planned.begin_time) == (3, at(START))
    assert planned.certificate_der == ROOT.public_bytes(Encoding.DER)
    assert old.count("audit_entries") == before
    revision = position_of(old)
    assert abandon(old) == planned
    entry_of_it = audit_entries(old.db)[-1].event
    assert (entry_of_it.method, entry_of_it.issuer, entry_of_it.actor.role) == ("AbandonImport", NAME, "importer")
    assert chain_flaws(old.db) == []
    for name in (NAME, "another"):
        with pytest.raises(NotFound) as gone:
            abandon(old, name)
        assert gone.value.reason == "ISSUER_UNKNOWN"

    send(old, whole([entry(0x1000)], issuer="again"))
    assert statuses(old, 0x1000, 0x1001, name="again") == ["good", "unknown"]
    assert [each for each in listed(old) if each.startswith("10")] == ["1000"]
    counts = {(each.issuer_name, each.profile): each.valid for each in old.authority.count()}
    assert counts["again", "imported"] == 1
    assert not [name for name, _ in counts if name not in ("again", "issuing", "root")]
    other = generate_key("p256")
    der = make_root(name="Another CA", key=other, now=BEFORE).public_bytes(Encoding.DER)
    send(old, whole([entry(0x1001)], certificates_der=[der], key_reference=""))
    assert statuses(old, 0x1000, 0x1001) == ["unknown", "good"]
    with old.db.read() as conn:
        now = position.read_position(conn).revision
        assert {each.name for each in issuers.issuers_changed_between(conn, revision, now)} == {"again", NAME}
        assert status.changes_between(conn, 0, now, 100).records == ()
    for name in ("again", "issuing"):
        with pytest.raises(FailedPrecondition) as known:
            abandon(old, name)
        assert known.value.reason == "ISSUER_NOT_PENDING"


def test_what_was_given_up_compromises_nobody(old: Ca) -> None:
    """A row that had the CA itself as compromised says nothing any more: perhaps it was why the import was given up."""
    ends = {"seconds": int(ROOT.not_valid_after_utc.timestamp())}
    serial = format(ROOT.serial_number, "040x")
    bare = entry(serial, not_after_time=ends)
    for own in (bare, with_certificate(ROOT.public_bytes(Encoding.DER), revoked(BEFORE, COMPROMISE))):
        with pytest.raises(FailedPrecondition):
            send(old, whole([own])[:-1])
    abandon(old)
    send(old, whole([entry(0x1000)], issuer="again"))
    assert old.authority.directory.named("again").compromise is None
    assert statuses(old, 0x1000, name="again") == ["good"]


def test_no_import_is_given_up_while_it_runs(old: Ca) -> None:
    """Whoever wants it gone ends it first."""
    reasons: list[str] = []

    def another(place: int) -> None:
        if place == 1:
            with ThreadPoolExecutor(1) as pool, pytest.raises(FailedPrecondition) as refused:
                pool.submit(abandon, old).result(10)
            reasons.append(refused.value.reason)

    send(old, whole([entry(0x1000)]), before_each=another)
    assert reasons == ["IMPORT_IN_PROGRESS"]


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
    assert told(send(old, whole([bare]), actor=make_actor("admin"))).counts == (1, 0, 0, 1, 0, 0)
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


@pytest.mark.parametrize("given", [{"retired": True}, {"key_reference": ""}], ids=["retired", "offline"])
def test_a_key_that_is_blocked(old: Ca, given: dict[str, Any]) -> None:
    """R103: a CA with it does not come in to issue; to answer for what it issued, it does."""
    block = BlockCommand(hashes=(hashlib.sha256(public_key_of(KEY)).digest(),))
    old.authority.blocking.begin(block, make_actor("admin")).result(10)
    for validate_only in (True, False):
        with pytest.raises(InvalidArgument) as refused:
            send(old, whole([entry(0x1000)], validate_only=validate_only))
        assert [(each.field, each.reason) for each in refused.value.violations] == [
            ("header.certificates_der", "KEY_BLOCKED")
        ]
    send(old, whole([entry(0x1000)], **given))
    assert statuses(old, 0x1000) == ["good"]


@pytest.mark.parametrize("given", [{"retired": True}, {"key_reference": ""}], ids=["retired", "offline"])
def test_a_key_that_is_blocked_before_the_end(old: Ca, given: dict[str, Any]) -> None:
    """R103: an import that was begun before that does not end with a CA that issues; it can go on without."""
    admin = make_actor("admin")
    with pytest.raises(FailedPrecondition):
        send(old, whole([entry(0x1000)])[:-1], actor=admin)
    block = BlockCommand(hashes=(hashlib.sha256(public_key_of(KEY)).digest(),))
    old.authority.blocking.begin(block, admin).result(10)
    with pytest.raises(InvalidArgument) as refused:
        send(old, whole([entry(0x1000)]), actor=admin)
    assert refused.value.reason == "KEY_BLOCKED"
    send(old, whole([entry(0x1000)], **given), actor=admin)
    assert statuses(old, 0x1000) == ["good"]
    assert old.authority.directory.named(NAME).state is not IssuerState.ACTIVE


def test_what_an_import_tells_of_its_own_key(old: Ca) -> None:
    """It keeps nobody from completing it, as it was begun."""
    serial = format(ROOT.serial_number, "040x")
    own = with_certificate(ROOT.public_bytes(Encoding.DER), revoked(BEFORE, COMPROMISE))
    admin = make_actor("admin")
    with pytest.raises(FailedPrecondition):
        send(old, whole([own])[:-1], actor=admin)
    assert old.authority.blocking.get(hashlib.sha256(public_key_of(KEY)).digest()) is not None
    send(old, whole([own, entry(serial, revoked(BEFORE, COMPROMISE))]), actor=admin)
    assert old.authority.directory.named(NAME).compromise is not None


def test_importers_only() -> None:
    """The role importer may import, and do nothing else that changes anything."""
    allowed = {method.rpartition("/")[2] for method, roles in METHOD_ROLES.items() if "importer" in roles}
    assert "ImportCertificates" in allowed
    assert not [name for name in allowed - {"ImportCertificates"} if name.startswith(("Issue", "Revoke", "Update"))]
    for method in ("ImportCertificates", "AbandonImport"):
        assert METHOD_ROLES[f"/goodstanding.ca.v1.ImportService/{method}"] == {"admin", "importer"}
