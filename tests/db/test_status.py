"""Statuses, their changes, and what a watcher is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy.exc import IntegrityError

from services.db import status
from services.db.engine import Database
from services.db.records import ChangeAction, NewCertificate, StatusChange

Certificates = Callable[..., NewCertificate]
Record = Callable[..., list[int]]
Revoke = Callable[..., int]


def test_issued_is_good_and_others_are_absent(
    database: Database, new_certificate: Certificates, record: Record, issuer_id: int
) -> None:
    """Every issued serial number has a record, in any number, and no other has (R44)."""
    rows = [new_certificate() for _ in range(256)]
    ids = record(*rows)
    asked = [row.serial for row in rows] + [b"\x01", b"\x7f" + bytes(19)]
    with database.read() as conn:
        found = status.get_statuses(conn, issuer_id, asked)
        assert status.get_statuses(conn, issuer_id + 1, asked) == {}
        assert status.get_statuses(conn, issuer_id, []) == {}
    assert set(found) == {row.serial for row in rows}
    for id_, revision, row in zip(ids, range(2, 258), rows, strict=True):
        record_ = found[row.serial]
        assert (record_.certificate_id, record_.revision, record_.revocation) == (id_, revision, None)
        assert (record_.changed_at, record_.not_after) == (row.issued_at, row.not_after)


def test_hold_revoke_release(
    database: Database, new_certificate: Certificates, record: Record, revoke: Revoke, now: datetime
) -> None:
    """The status follows each change, and each change stays on record with who did it."""
    row = new_certificate()
    record(row)
    for reason, action in ((6, ChangeAction.HOLD), (None, ChangeAction.RELEASE), (1, ChangeAction.REVOKE)):
        revision = revoke(row, reason=reason)
        with database.read() as conn:
            found = status.get_statuses(conn, row.issuer_id, [row.serial])[row.serial]
            change = status.get_change(conn, revision)
        assert found.revision == revision
        assert found.changed_at == now + timedelta(days=1)
        assert change is not None
        assert change.revocation == found.revocation
        assert change.action == action
        assert change.actor == row.actor
        assert (found.revocation.reason if found.revocation else None) == reason
    with database.read() as conn:
        assert status.get_change(conn, revision + 1) is None


def test_change_of_what_was_never_issued_fails(
    database: Database, new_certificate: Certificates, record: Record, revoke: Revoke
) -> None:
    """A change without its certificate is a mistake of ours: nothing of its batch is recorded."""
    row = new_certificate()
    record(row)
    with pytest.raises(LookupError):
        revoke(row, new_certificate())
    with database.read() as conn:
        assert status.get_statuses(conn, row.issuer_id, [row.serial])[row.serial].revocation is None
        assert status.changes_between(conn, 0, 100, 100).records == ()


def test_watcher_gets_the_latest_of_each(
    database: Database, new_certificate: Certificates, record: Record, revoke: Revoke
) -> None:
    """Changes are coalesced per certificate, and come in the order of their revisions."""
    one, two, three = (new_certificate() for _ in range(3))
    record(one, two, three)  # revisions 2 to 4
    revoke(one, two, reason=6)  # 5, 6
    revoke(one, reason=None)  # 7
    through = revoke(three)  # 8
    with database.read() as conn:
        told = status.changes_between(conn, 4, through, 100)
        assert [(record.serial, record.revision) for record in told.records] == [
            (two.serial, 6),
            (one.serial, 7),
            (three.serial, 8),
        ]
        assert told.records[1].revocation is None
        assert told.through_revision == through
        assert status.changes_between(conn, through, through, 100).records == ()


def test_page_of_changes_tells_how_far_it_goes(
    database: Database, new_certificate: Certificates, record: Record, revoke: Revoke
) -> None:
    """A full page ends at its last change, with each status as of then; the last page reaches what was asked for."""
    one, two = new_certificate(), new_certificate()
    record(one, two)  # 2, 3
    revoke(one, two, reason=6)  # 4, 5
    revoke(one, reason=None)  # 6
    with database.read() as conn:
        first = status.changes_between(conn, 3, 9, 2)
        assert [record.revision for record in first.records] == [4, 5]
        assert first.records[0].revocation is not None
        assert first.through_revision == 5
        second = status.changes_between(conn, first.through_revision, 9, 2)
        assert [record.revision for record in second.records] == [6]
        assert second.through_revision == 9


@pytest.mark.parametrize(("after", "count", "expected"), [(0, 2, True), (0, 3, False), (4, 2, False), (4, 1, True)])
def test_has_more_changes_than(
    database: Database,
    new_certificate: Certificates,
    record: Record,
    revoke: Revoke,
    after: int,
    count: int,
    expected: bool,
) -> None:
    """Tells when a watcher is too far behind, with the three changes 4, 5 and 6."""
    one, two = new_certificate(), new_certificate()
    record(one, two)
    revoke(one, two, reason=6)
    revoke(one)
    with database.read() as conn:
        assert status.has_more_changes_than(conn, after, count) is expected


def test_unknown_issuer_is_refused(database: Database, new_certificate: Certificates) -> None:
    """Foreign keys hold on both databases."""
    row = new_certificate(issuer_id=999)
    with database.write() as conn, pytest.raises(IntegrityError), conn.begin_nested():
        status.insert_statuses(conn, [row], [1], 1)


def test_no_changes_are_no_work(database: Database) -> None:
    """Empty batches need no certificate."""
    changes: list[StatusChange] = []
    with database.write() as conn:
        status.apply_changes(conn, changes, 1)
        status.insert_statuses(conn, [], [], 1)
