"""Rows of imports, on both databases: what is known, what is recorded at once, what the counters say."""

from __future__ import annotations

import pytest

from services.clock import to_epoch
from services.db import certificates, counts, imports, issuers, position, status
from services.db.engine import Conflict, Database
from services.db.imports import ImportRow
from services.db.records import Actor, ChangeAction, RevocationRecord, StatusChange
from tests.db.conftest import NOW

BEGINS, ENDS = to_epoch(NOW) - 1000, to_epoch(NOW) + 100_000


def row(serial: bytes, **changes: object) -> ImportRow:
    """A row that came in without its certificate."""
    found = ImportRow(serial, None, "/CN=a", ("a",), "[]", "imported", None, BEGINS, ENDS)
    return found._replace(**changes)  # type: ignore[arg-type]


def insert(database: Database, issuer_id: int, actor: Actor, *rows: ImportRow) -> int:
    """Record them, and return the first of their revisions."""
    with database.write() as conn:
        first = position.advance(conn, len(rows))
        imports.insert_imported(conn, issuer_id, rows, actor, to_epoch(NOW), first)
    return first


def test_rows_come_in_with_their_status(database: Database, issuer_id: int, actor: Actor) -> None:
    """Each under a revision; those that are revoked with a change of that revision, at the time of the revocation."""
    at = to_epoch(NOW) - 500
    held = row(b"\x03", revoked_at=at, reason=6, invalidity_at=at - 5, hold_instruction="1.2.840.10040.2.1")
    late = row(b"\x02", revoked_at=ENDS, reason=1)
    first = insert(database, issuer_id, actor, row(b"\x01"), late, held)
    with database.read() as conn:
        known = imports.find_known(conn, issuer_id, [b"\x01", b"\x02", b"\x03", b"\x04"])
        changes = status.get_changes(conn, range(first, first + 3))
        described = certificates.get_certificate(conn, issuer_id, b"\x03")
        (counted,) = counts.count_certificates(conn, NOW)
        assert imports.find_known(conn, issuer_id, []) == {}
    assert {serial: each[1:6] for serial, each in known.items()} == {
        b"\x01": (ENDS, None, None, None, first),
        b"\x02": (ENDS, ENDS, 1, None, first + 1),
        b"\x03": (ENDS, at, 6, at - 5, first + 2),
    }
    assert {number: (each.action, to_epoch(each.changed_at)) for number, each in changes.items()} == {
        first + 1: (ChangeAction.REVOKE, to_epoch(NOW)),
        first + 2: (ChangeAction.HOLD, at),
    }
    assert described is not None
    assert described.revocation is not None
    assert (described.revocation.hold_instruction, described.actor) == ("1.2.840.10040.2.1", actor)
    assert (counted.valid, counted.revoked, counted.expired) == (1, 2, 0)


def test_the_same_serial_number_twice_is_a_conflict(database: Database, issuer_id: int, actor: Actor) -> None:
    """The key guards, and nothing of the transaction is there."""
    insert(database, issuer_id, actor, row(b"\x01"))
    with pytest.raises(Conflict):
        insert(database, issuer_id, actor, row(b"\x02"), row(b"\x01"))
    with database.read() as conn:
        assert imports.find_known(conn, issuer_id, [b"\x02"]) == {}


def test_a_certificate_comes_later(database: Database, issuer_id: int, actor: Actor) -> None:
    """It is found by all of its names, and by those of before, with the status that it had."""
    insert(database, issuer_id, actor, row(b"\x01"))
    with database.write() as conn:
        known = imports.find_known(conn, issuer_id, [b"\x01"])[b"\x01"]
        whole = row(b"\x01", der=b"der", names=("a", "b"), subject="CN=a", public_key_sha256=bytes(32))
        imports.complete(conn, {known.certificate_id: whole})
        imports.complete(conn, {known.certificate_id: whole})
        imports.complete(conn, {})
    with database.read() as conn:
        found = certificates.get_certificate(conn, issuer_id, b"\x01")
        names = conn.exec_driver_sql("SELECT name FROM certificate_names ORDER BY name").scalars().all()
    assert found is not None
    assert (found.der, found.subject, found.revocation, names) == (b"der", "CN=a", None, ["a", "b"])


def test_an_instruction_goes_with_its_hold(database: Database, issuer_id: int, actor: Actor) -> None:
    """Another hold has none."""
    at = to_epoch(NOW) - 500
    insert(database, issuer_id, actor, row(b"\x01", revoked_at=at, reason=6, hold_instruction="1.2.3"))
    again = StatusChange(issuer_id, b"\x01", ChangeAction.HOLD, RevocationRecord(NOW, 6), NOW, actor)
    with database.write() as conn:
        status.apply_changes(conn, [again], position.advance(conn, 1))
        found = certificates.get_certificate(conn, issuer_id, b"\x01")
        assert issuers.list_pending(conn) == []
    assert found is not None
    assert found.revocation == RevocationRecord(NOW, 6)
