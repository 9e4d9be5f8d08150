"""The hot table: statuses by issuer and serial number, and the changes that watchers are told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from services.clock import from_epoch, to_epoch
from services.db import counts, driver
from services.db.models import certificate_status, status_changes
from services.db.pending import pending_ids, visible_ids
from services.db.records import ChangeAction, ChangedStatuses, NewCertificate, StatusChange, StatusRecord
from services.db.rows import actor_values, read_actor, read_revocation, revocation_values


def insert_statuses(
    conn: Connection, rows: Sequence[NewCertificate], certificate_ids: Sequence[int], first_revision: int
) -> None:
    """Record the status good for certificates just inserted. They take `len(rows)` revisions from `first_revision` on.

    An issuer and serial number that is there already makes `Database.write` raise Conflict.
    """
    numbered = zip(rows, certificate_ids, strict=True)
    values = [_new_values(row, id_, revision) for revision, (row, id_) in enumerate(numbered, first_revision)]
    if values:
        _insertion.run(conn, values)
        counts.add_issued(conn, rows)


def get_statuses(conn: Connection, issuer_id: int, serials: Sequence[bytes]) -> dict[bytes, StatusRecord]:
    """The statuses of those serial numbers; those never issued are not in the answer."""
    rows = conn.execute(_by_serials, {"issuer": issuer_id, "serials": list(serials)})
    return {row[1]: _status_record(row) for row in rows}


def find_issuers_of_serial(conn: Connection, serial: bytes) -> list[int]:
    """The ids of the issuers that issued that serial number."""
    return list(conn.execute(_issuers_of_serial, {"serial_number": serial}).scalars())


def apply_changes(conn: Connection, changes: Sequence[StatusChange], first_revision: int) -> None:
    """Carry out changes, which take `len(changes)` revisions from `first_revision` on. The certificates must exist."""
    if not changes:
        return
    counts.follow_changes(conn, changes)
    values = [_change_values(change, revision) for revision, change in enumerate(changes, first_revision)]
    result = conn.execute(_set_status, [{**row, "issuer": row["issuer_id"], "number": row["serial"]} for row in values])
    if result.rowcount != len(changes):
        raise LookupError("a change of a certificate that is not recorded")
    conn.execute(insert(status_changes), values)


def get_change(conn: Connection, revision: int) -> StatusChange | None:
    """The change with that revision (the outcome of an earlier call)."""
    return get_changes(conn, [revision]).get(revision)


def get_changes(conn: Connection, revisions: Sequence[int]) -> dict[int, StatusChange]:
    """The changes with those revisions; others are not in the answer."""
    rows = conn.execute(_by_revisions, {"revisions": list(revisions)})
    return {row.revision: _status_change(row) for row in rows}


def latest_changes(conn: Connection, issuer_id: int, serial: bytes, limit: int) -> list[tuple[int, StatusChange]]:
    """The last `limit` changes of one certificate with their revisions, oldest first."""
    values = {"issuer": issuer_id, "serial_number": serial, "limit": limit}
    return [(row.revision, _status_change(row)) for row in conn.execute(_latest_changes, values)][::-1]


def get_status_at(conn: Connection, issuer_id: int, serial: bytes, at: datetime) -> StatusRecord | None:
    """The status that a certificate had at a past time; None for one that was not issued by then.

    Its revision is 0 where it was that of issuing, and the status has changed since.
    """
    row = conn.execute(_issuing, {"issuer": issuer_id, "serial_number": serial}).one_or_none()
    if row is None or row.issued_at > to_epoch(at):
        return None
    values = {"issuer": issuer_id, "serial_number": serial, "at": to_epoch(at)}
    change = conn.execute(_last_change, values).one_or_none()
    if change is None:
        issued_at = from_epoch(row.issued_at)
        revision = row.revision if row.changed_at == row.issued_at and row.revoked_at is None else 0
        return StatusRecord(issuer_id, serial, row.certificate_id, from_epoch(row.not_after), None, issued_at, revision)
    return StatusRecord(
        issuer_id,
        serial,
        row.certificate_id,
        from_epoch(row.not_after),
        read_revocation(change.revoked_at, change.reason, change.invalidity_at),
        from_epoch(change.changed_at),
        change.revision,
    )


def changes_between(conn: Connection, after: int, through: int, limit: int) -> ChangedStatuses:
    """Changes with a revision in (after, through], the first `limit` of them, coalesced per certificate.

    Read `through` (the position) in the same snapshot, or before. Each record is the status as of `through_revision`.
    """
    rows = conn.execute(_changes, {"after": after, "through": through, "limit": limit}).all()
    latest: dict[tuple[int, bytes], StatusRecord] = {}
    for row in rows:
        record = _status_record(row)
        key = (record.issuer_id, record.serial)
        latest.pop(key, None)  # so that it moves to the end: records come in the order of their revisions
        latest[key] = record
    reached = rows[-1].revision if len(rows) == limit else through
    return ChangedStatuses(tuple(latest.values()), reached)


def has_more_changes_than(conn: Connection, after: int, count: int) -> bool:
    """Whether more than `count` changes follow that revision. Its cost is bounded by `count`."""
    query = (
        select(status_changes.c.revision)
        .where(status_changes.c.revision > after)
        .order_by(status_changes.c.revision)
        .offset(count)
        .limit(1)
    )
    return conn.execute(query).first() is not None


def _new_values(row: NewCertificate, certificate_id: int, revision: int) -> tuple[Any, ...]:
    """In the order of `_insertion`."""
    issued_at, not_after = to_epoch(row.issued_at), to_epoch(row.not_after)
    return (row.issuer_id, row.serial, certificate_id, issued_at, not_after, issued_at, revision, row.crl_shard)


def _change_values(change: StatusChange, revision: int) -> dict[str, Any]:
    return {
        "revision": revision,
        "issuer_id": change.issuer_id,
        "serial": change.serial,
        "action": change.action.value,
        "changed_at": to_epoch(change.changed_at),
        **revocation_values(change.revocation),
        **actor_values(change.actor),
    }


def _status_change(row: Row[Any]) -> StatusChange:
    return StatusChange(
        issuer_id=row.issuer_id,
        serial=row.serial,
        action=ChangeAction(row.action),
        revocation=read_revocation(row.revoked_at, row.reason, row.invalidity_at),
        changed_at=from_epoch(row.changed_at),
        actor=read_actor(row),
    )


def _status_record(row: Row[Any]) -> StatusRecord:
    issuer_id, serial, certificate_id, not_after, revoked_at, reason, invalidity_at, changed_at, revision = tuple(row)
    return StatusRecord(
        issuer_id,
        serial,
        certificate_id,
        from_epoch(not_after),
        read_revocation(revoked_at, reason, invalidity_at),
        from_epoch(changed_at),
        revision,
    )


_CHANGING = ("revoked_at", "reason", "invalidity_at", "changed_at", "revision")

_by_serials = select(
    certificate_status.c.issuer_id,
    certificate_status.c.serial,
    certificate_status.c.certificate_id,
    certificate_status.c.not_after,
    *(certificate_status.c[name] for name in _CHANGING),
).where(
    certificate_status.c.issuer_id == bindparam("issuer"),
    certificate_status.c.serial.in_(bindparam("serials", expanding=True)),
)

_by_revisions = select(status_changes).where(status_changes.c.revision.in_(bindparam("revisions", expanding=True)))

_issuers_of_serial = (
    select(certificate_status.c.issuer_id)
    .where(
        certificate_status.c.issuer_id.in_(visible_ids),
        certificate_status.c.serial == bindparam("serial_number"),
    )
    .order_by(certificate_status.c.issuer_id)
)

_issuing = select(certificate_status).where(
    certificate_status.c.issuer_id == bindparam("issuer"), certificate_status.c.serial == bindparam("serial_number")
)

_last_change = (
    select(status_changes)
    .where(
        status_changes.c.issuer_id == bindparam("issuer"),
        status_changes.c.serial == bindparam("serial_number"),
        status_changes.c.changed_at <= bindparam("at"),
    )
    .order_by(status_changes.c.revision.desc())
    .limit(1)
)

_latest_changes = (
    select(status_changes)
    .where(status_changes.c.issuer_id == bindparam("issuer"), status_changes.c.serial == bindparam("serial_number"))
    .order_by(status_changes.c.revision.desc())
    .limit(bindparam("limit"))
)

_set_status = (
    update(certificate_status)
    .where(certificate_status.c.issuer_id == bindparam("issuer"), certificate_status.c.serial == bindparam("number"))
    .values({name: bindparam(name) for name in _CHANGING})
)

# The status after each change, in the shape of `_by_serials`.
_changes = (
    select(
        status_changes.c.issuer_id,
        status_changes.c.serial,
        certificate_status.c.certificate_id,
        certificate_status.c.not_after,
        *(status_changes.c[name] for name in _CHANGING),
    )
    .join(
        certificate_status,
        (certificate_status.c.issuer_id == status_changes.c.issuer_id)
        & (certificate_status.c.serial == status_changes.c.serial),
    )
    .where(
        status_changes.c.revision > bindparam("after"),
        status_changes.c.revision <= bindparam("through"),
        # Nobody has heard of issuers that are still being imported.
        status_changes.c.issuer_id.not_in(pending_ids),
    )
    .order_by(status_changes.c.revision)
    .limit(bindparam("limit"))
)

_insertion = driver.Insertion(
    certificate_status,
    *("issuer_id", "serial", "certificate_id", "issued_at", "not_after", "changed_at", "revision", "crl_shard"),
)
