"""Revoked certificates by the million, in pieces, for those who make lists of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, bindparam, select, tuple_

from services.db.models import certificate_status, status_changes
from services.db.records import RevocationRow

CHUNK = 20_000


def revoked(conn: Connection, issuer_ids: Iterable[int], *, not_before: int) -> Iterator[RevocationRow]:
    """The revoked certificates of these issuers, holds included, that have not been of the past before `not_before`.

    Of the past: expired, and not changed since. One snapshot, if `conn` is.
    """
    # Sorted out here: with a condition on them, databases walk and sort all certificates instead of the revoked ones.
    ids, after = frozenset(issuer_ids), (-1, -1)
    while rows := conn.execute(_revoked, {"issued_at": after[0], "id": after[1]}).all():
        for row in rows:
            if row[0] in ids and (row[3] >= not_before or row[7] >= not_before):
                yield RevocationRow._make(row)
        after = (rows[-1].issued_at, rows[-1].certificate_id)


def issued(conn: Connection, issuer_id: int, *, not_before: int) -> Iterator[RevocationRow]:
    """All certificates of an issuer, revoked or not, that have not been of the past before `not_before`."""
    after = b""
    while rows := conn.execute(_issued, {"issuer": issuer_id, "after": after}).all():
        for row in rows:
            found = RevocationRow._make(row)
            if found.not_after >= not_before or (found.revoked_at is not None and found.changed_at >= not_before):
                yield found
        after = rows[-1].serial


def changed(conn: Connection, after: int, through: int) -> Iterator[RevocationRow]:
    """The certificates whose status was changed by revisions in (after, through], as they are now.

    Read `through` (the position) in the same snapshot. One that was changed twice comes twice.
    """
    while rows := conn.execute(_changed, {"after": after, "through": through}).all():
        for row in rows:
            yield RevocationRow._make(row[:-1])
        (*_, after) = rows[-1]


def _of(*more: ColumnElement[int]) -> Select[Any]:
    return select(*(certificate_status.c[name] for name in RevocationRow._fields), *more)


_key = (certificate_status.c.issued_at, certificate_status.c.certificate_id)

# Along the index of revoked certificates: those that are good are not touched.
_revoked = (
    _of()
    .where(
        certificate_status.c.revoked_at.is_not(None),
        tuple_(*_key) > tuple_(bindparam("issued_at"), bindparam("id")),
    )
    .order_by(*_key)
    .limit(CHUNK)
)

_issued = (
    _of()
    .where(certificate_status.c.issuer_id == bindparam("issuer"), certificate_status.c.serial > bindparam("after"))
    .order_by(certificate_status.c.serial)
    .limit(CHUNK)
)

_changed = (
    _of(status_changes.c.revision.label("changed_by"))
    .join(
        status_changes,
        (certificate_status.c.issuer_id == status_changes.c.issuer_id)
        & (certificate_status.c.serial == status_changes.c.serial),
    )
    .where(status_changes.c.revision > bindparam("after"), status_changes.c.revision <= bindparam("through"))
    .order_by(status_changes.c.revision)
    .limit(CHUNK)
)
