"""The audit log: adding entries in the transaction of what they tell, and reading them.

Entries are added behind the one row of `audit_head`, whose lock a writer takes and keeps until it commits: so no two
entries follow the same one, whichever processes write, and their numbers have no gaps. Take the lock on the position,
if it is needed at all, before this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, or_, select, text, tuple_

from services.clock import from_epoch, to_epoch
from services.db import driver
from services.db.chain import OK, AuditEntry, AuditEvent, Head, link
from services.db.models import audit_entries, audit_head
from services.db.records import Actor
from services.db.rows import PEER_LENGTH, read_actor

WINDOW = 20_000
"""How many entries one page looks at where no index leads to those that fit."""

LOCAL = Actor(identity="", name="local", role="admin", fingerprint="", peer="local", request_id="")
"""Whoever works on the data folder itself, with the commands that need no service."""


class KnownHead:
    """What one process takes for the head: its own last entry. Saves reading it, and is checked whenever it is used."""

    def __init__(self) -> None:
        self.head: Head | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilters:
    """Which entries to list: those that fit all that is given."""

    time_from: datetime | None = None
    """Inclusive."""
    time_until: datetime | None = None
    """Exclusive."""
    identity: str | None = None
    method: str | None = None
    result: str | None = None
    """A reason, or `OK`."""
    refused: bool = False
    """Only what was not done, for whatever reason."""
    certificate_id: int | None = None
    """Only entries about this recorded certificate."""
    serial: bytes | None = None
    """Only entries about this serial number that name no recorded certificate, or `certificate_id`."""


@dataclass(frozen=True, slots=True)
class AuditCursor:
    """A place in a listing: the entry that was looked at last."""

    at: datetime
    sequence: int


def append(conn: Connection, events: Sequence[AuditEvent], known: KnownHead | None = None) -> Head:
    """Add entries, and return the new head. They are there if the transaction commits, and not otherwise."""
    head = known.head if known is not None and known.head is not None else None
    entries, last = _link(events, head or _locked_head(conn))
    moved = _move_head(conn, entries[0], last)
    if not moved and head is not None:  # another process has written, or an earlier transaction of ours came to nothing
        entries, last = _link(events, _locked_head(conn))
        moved = _move_head(conn, entries[0], last)
    if not moved:
        raise LookupError("the head of the audit log is gone")
    _insertion.run(conn, [row_values(entry) for entry in entries])
    if known is not None:
        known.head = last
    return last


def read_head(conn: Connection) -> Head:
    """The last entry, as the database keeps it beside the entries."""
    row = conn.execute(_head).one()
    return Head(row.sequence, bytes(row.hash))


def read_entries(conn: Connection, *, after: int, limit: int) -> list[AuditEntry]:
    """The next entries in the order of the chain."""
    return [_entry(row) for row in conn.execute(_following, {"after": after, "limit": limit})]


def list_entries(
    conn: Connection, filters: AuditFilters, *, limit: int, after: AuditCursor | None = None
) -> tuple[list[AuditEntry], AuditCursor | None]:
    """Up to `limit` entries that fit, the latest first, and where to go on; None at the end.

    Where only reading tells what fits, no more than `WINDOW` entries are looked at: then there may be fewer than
    `limit`, or none, with more to come.
    """
    conditions = list(_conditions(filters))
    if after is not None:
        conditions.append(tuple_(*_order) < (to_epoch(after.at), after.sequence))
    floor = None
    if filters.certificate_id is None and filters.serial is None and _is_selective(filters):
        floor = _floor(conn, conditions)
        if floor is not None:
            conditions.append(tuple_(*_order) >= (to_epoch(floor.at), floor.sequence))
    query = select(audit_entries).where(*conditions, *_selections(filters)).order_by(*_latest_first).limit(limit)
    found = [_entry(row) for row in conn.execute(query)]
    if len(found) == limit:
        return found, AuditCursor(found[-1].event.at, found[-1].sequence)
    return found, floor


def _link(events: Sequence[AuditEvent], head: Head) -> tuple[list[AuditEntry], Head]:
    entries = []
    for event in events:
        entry = link(_fitting(event), head)
        head = Head(entry.sequence, entry.hash)
        entries.append(entry)
    return entries, head


def _fitting(event: AuditEvent) -> AuditEvent:
    """The event as its row will hold it: what is hashed is what can be read again."""
    if len(event.actor.peer) <= PEER_LENGTH:
        return event
    return event._replace(actor=replace(event.actor, peer=event.actor.peer[:PEER_LENGTH]))


def _move_head(conn: Connection, first: AuditEntry, last: Head) -> bool:
    """False where it is not the head that `first` follows."""
    values = (last.sequence, last.hash, first.sequence - 1, first.previous_hash)
    return bool(driver.execute(conn, _MOVE_HEAD, values).rowcount)


def _locked_head(conn: Connection) -> Head:
    row = conn.execute(_head.with_for_update()).one()
    return Head(row.sequence, bytes(row.hash))


def row_values(entry: AuditEntry) -> tuple[Any, ...]:
    """An entry as the table has it, in the order of its columns."""
    sequence, event, previous_hash, hash_ = entry
    method, actor, at, result, issuer, serial, certificate_id, more = event
    who = (actor.identity, actor.name, actor.role, actor.fingerprint, actor.peer, actor.request_id)
    about = (method, result, issuer, serial or None, certificate_id, more)
    return (sequence, to_epoch(at), *who, *about, previous_hash, hash_)


def _entry(row: Row[Any]) -> AuditEntry:
    event = AuditEvent(
        row.method,
        read_actor(row),
        from_epoch(row.time),
        row.result,
        row.issuer,
        bytes(row.serial or b""),
        row.certificate_id,
        row.details,
    )
    return AuditEntry(row.sequence, event, bytes(row.previous_hash), bytes(row.hash))


def _conditions(filters: AuditFilters) -> Iterator[ColumnElement[bool]]:
    """What an index leads to."""
    if filters.time_from is not None:
        yield audit_entries.c.time >= to_epoch(filters.time_from)
    if filters.time_until is not None:
        yield audit_entries.c.time < to_epoch(filters.time_until)
    if filters.refused or filters.result not in (None, OK):
        yield _refused
    if filters.serial is not None:
        unrecorded = audit_entries.c.certificate_id.is_(None) & (audit_entries.c.serial == filters.serial)
        known = audit_entries.c.certificate_id == filters.certificate_id
        yield unrecorded if filters.certificate_id is None else or_(known, unrecorded)
    elif filters.certificate_id is not None:
        yield audit_entries.c.certificate_id == filters.certificate_id


def _is_selective(filters: AuditFilters) -> bool:
    return any(value is not None for value in (filters.identity, filters.method, filters.result))


def _selections(filters: AuditFilters) -> Iterator[ColumnElement[bool]]:
    """What only reading an entry tells."""
    for column, wanted in (
        (audit_entries.c.actor_identity, filters.identity),
        (audit_entries.c.method, filters.method),
        (audit_entries.c.result, filters.result),
    ):
        if wanted is not None:
            yield column == wanted


def _floor(conn: Connection, conditions: Sequence[ColumnElement[bool]]) -> AuditCursor | None:
    """The last entry that this page looks at; None where it looks at all that are left."""
    query = select(*_order).where(*conditions).order_by(*_latest_first).offset(WINDOW).limit(1)
    row = conn.execute(query).one_or_none()
    return None if row is None else AuditCursor(from_epoch(row.time), row.sequence)


_order = (audit_entries.c.time, audit_entries.c.sequence)
_latest_first = tuple(column.desc() for column in _order)
_refused = audit_entries.c.result != text("'OK'")  # spelled out, so that the partial index fits
_insertion = driver.Insertion(audit_entries)
_MOVE_HEAD = "UPDATE audit_head SET sequence = ?, hash = ? WHERE sequence = ? AND hash = ?"
_head = select(audit_head.c.sequence, audit_head.c.hash)
_following = (
    select(audit_entries)
    .where(audit_entries.c.sequence > bindparam("after"))
    .order_by(audit_entries.c.sequence)
    .limit(bindparam("limit"))
)
