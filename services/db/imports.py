"""Certificates that were issued elsewhere: what is known of them, and recording very many at once.

Guarantees: a row that comes in revoked is there with its revocation from the first moment on, and has a change in
`status_changes` like any other revocation, under the same revision, at the time that it carries. The counters follow.

Rows go straight to the driver, with plain numbers for times: there are millions, and this takes a third as long.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, bindparam, insert, select, text, update

from services.clock import to_epoch
from services.db import counts, driver, postgresql
from services.db.certificates import reserve_ids, search_name
from services.db.driver import Insertion
from services.db.models import (
    certificate_names,
    certificate_status,
    certificates,
    hold_instructions,
    status_changes,
)
from services.db.records import Actor, ChangeAction, NewCertificate
from services.db.rows import actor_values
from services.pki.reasons import Reason

_BY_SERIAL = itemgetter(1)


class ImportRow(NamedTuple):
    """A certificate with its status, to be recorded. Times are seconds since 1970."""

    serial: bytes
    der: bytes | None
    subject: str
    names: tuple[str, ...]
    """What it is found by, each once: common name and subject alternative names as from `search_name`."""
    alternative_names_json: str
    profile: str
    public_key_sha256: bytes | None
    not_before: int
    not_after: int
    revoked_at: int | None = None
    reason: int | None = None
    invalidity_at: int | None = None
    hold_instruction: str | None = None


class KnownRow(NamedTuple):
    """What is recorded of a certificate already. `der` is None where only its status is."""

    certificate_id: int
    not_after: int
    revoked_at: int | None
    reason: int | None
    invalidity_at: int | None
    revision: int
    der: bytes | None
    profile: str


def import_row(new: NewCertificate) -> ImportRow:
    """A certificate in the form that imported ones have."""
    names = [name.partition(":")[2] for name in new.subject_alternative_names]
    return ImportRow(
        new.serial,
        new.der,
        new.subject,
        search_names((new.common_name or "", *names)),
        json.dumps(new.subject_alternative_names),
        new.profile,
        new.public_key_sha256,
        to_epoch(new.not_before),
        to_epoch(new.not_after),
    )


def search_names(names: Iterable[str]) -> tuple[str, ...]:
    """What a certificate with these names, some of them perhaps empty, is found by."""
    return tuple({search_name(name) for name in names if name})


def find_known(conn: Connection, issuer_id: int, serials: Sequence[bytes]) -> dict[bytes, KnownRow]:
    """What is recorded of those serial numbers; the others are not in the answer."""
    if not serials:
        return {}
    if conn.dialect.name == "postgresql":
        rows = conn.exec_driver_sql(_KNOWN + " WHERE s.issuer_id = %s AND s.serial = ANY(%s)", (issuer_id, [*serials]))
    else:
        marks = ", ".join("?" * len(serials))
        rows = conn.exec_driver_sql(f"{_KNOWN} WHERE s.issuer_id = ? AND s.serial IN ({marks})", (issuer_id, *serials))
    return {
        bytes(row[0]): KnownRow._make((*row[1:7], None if row[7] is None else bytes(row[7]), row[8])) for row in rows
    }


def has_imported(conn: Connection, issuer_id: int, profile: str) -> bool:
    """Whether any certificate of an issuer has that profile: the one of those that were imported."""
    return driver.execute(conn, _IMPORTED, (issuer_id, profile)).first() is not None


def insert_imported(
    conn: Connection, issuer_id: int, rows: Sequence[ImportRow], actor: Actor, now: int, first_revision: int
) -> None:
    """Record certificates with their statuses. They take `len(rows)` revisions from `first_revision` on.

    An issuer and serial number that is there already makes `Database.write` raise Conflict.
    """
    ids = reserve_ids(conn, len(rows))
    who = tuple(actor_values(actor).values())
    described, statuses, changes, names, instructions = [], [], [], [], []
    buckets = Counter([(issuer_id, row.profile, row.not_after // counts.HOUR) for row in rows])
    revoked: Counter[tuple[int, str, int]] = Counter()
    for id_, revision, row in zip(ids, range(first_revision, first_revision + len(rows)), rows, strict=True):
        serial, der, subject, found_by, alternative, profile, key, not_before, not_after, *revocation, instruction = row
        described.append(
            (id_, issuer_id, serial, der, subject, alternative, profile, key, not_before, not_after, not_before, *who)
        )
        revoked_at, reason, _ = revocation
        if revoked_at is None:
            changed_at = not_before
        else:
            # It was so then, too: what was its status at some time is answered by this.
            changed_at = min(revoked_at, now)
            revoked[issuer_id, profile, not_after // counts.HOUR] += 1
            action = ChangeAction.HOLD if reason == Reason.CERTIFICATE_HOLD else ChangeAction.REVOKE
            changes.append((revision, issuer_id, serial, action.value, *revocation, changed_at, *who))
            if instruction:
                instructions.append({"revision": revision, "instruction": instruction})
        statuses.append((issuer_id, serial, id_, not_before, not_after, *revocation, changed_at, revision, None))
        names += [(name, id_) for name in found_by]
    _insert_all(conn, certificates, described)
    _insert_all(conn, certificate_names, names)
    _insert_all(conn, certificate_status, sorted(statuses, key=_BY_SERIAL))
    _insert_all(conn, status_changes, changes)
    if instructions:
        conn.execute(insert(hold_instructions), instructions)
    counts.add_imported(conn, {bucket: (count, revoked[bucket]) for bucket, count in buckets.items()})


def complete(conn: Connection, rows: Mapping[int, ImportRow]) -> None:
    """Record by id what was missing where only the status was known: the certificates themselves, and their ends."""
    values = [
        {
            "certificate": id_,
            "der": row.der,
            "subject": row.subject,
            "subject_alternative_names": row.alternative_names_json,
            "public_key_sha256": row.public_key_sha256,
            "not_before": row.not_before,
        }
        for id_, row in rows.items()
    ]
    if not values:
        return
    _move_ends(conn, {id_: row.not_after for id_, row in rows.items()})
    conn.execute(_complete, values)
    names = sorted((name, id_) for id_, row in rows.items() for name in row.names)
    if names:
        conn.execute(_add_names, [{"name": name, "certificate_id": id_} for name, id_ in names])


def _move_ends(conn: Connection, ends: Mapping[int, int]) -> None:
    """Have certificates end at these times, by id, wherever that is said, and count them there."""
    found = conn.execute(_ends, {"ids": list(ends)}).all()
    moved = [row for row in found if row.not_after != ends[row.id]]
    if not moved:
        return
    issued: Counter[tuple[int, str, int]] = Counter()
    revoked: Counter[tuple[int, str, int]] = Counter()
    for row in moved:
        for end, count in ((row.not_after, -1), (ends[row.id], 1)):
            bucket = (row.issuer_id, row.profile, end // counts.HOUR)
            issued[bucket] += count
            revoked[bucket] += count * (row.revoked_at is not None)
    counts.add_imported(conn, {bucket: (count, revoked[bucket]) for bucket, count in issued.items()})
    values = [
        {"certificate": row.id, "issuer": row.issuer_id, "number": row.serial, "end": ends[row.id]} for row in moved
    ]
    for statement in (_move_end, _move_status_end):
        conn.execute(statement, values)


def set_hold_instruction(conn: Connection, revision: int, instruction: str) -> None:
    """What to do about the certificate that is on hold by that change."""
    conn.execute(insert(hold_instructions), {"revision": revision, "instruction": instruction})


def _insert_all(conn: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Rows with all columns, in the order of the table's."""
    if not rows:
        return
    if conn.dialect.name == "postgresql":
        postgresql.copy_in(conn, f"COPY {table.name} ({', '.join(table.c.keys())}) FROM STDIN", rows)
    else:
        # Not executemany: that stops for other threads after every row.
        _insertion(table).run(conn, rows)


_insertion = cache(Insertion)

# Straight to the driver as well; its marks for parameters differ.
_KNOWN = (
    "SELECT s.serial, s.certificate_id, s.not_after, s.revoked_at, s.reason, s.invalidity_at, s.revision, c.der,"
    " c.profile"
    " FROM certificate_status s JOIN certificates c ON c.id = s.certificate_id"
)
_IMPORTED = "SELECT 1 FROM certificate_counts WHERE issuer_id = ? AND profile = ? LIMIT 1"
_complete = (
    update(certificates)
    .where(certificates.c.id == bindparam("certificate"))
    .values(
        {
            name: bindparam(name)
            for name in ("der", "subject", "subject_alternative_names", "public_key_sha256", "not_before")
        }
    )
)
# What it was found by before, it still is.
_add_names = text(
    "INSERT INTO certificate_names (name, certificate_id) VALUES (:name, :certificate_id) ON CONFLICT DO NOTHING"
)
_ends = (
    select(
        certificates.c.id,
        certificates.c.issuer_id,
        certificates.c.serial,
        certificates.c.profile,
        certificates.c.not_after,
        certificate_status.c.revoked_at,
    )
    .join(
        certificate_status,
        (certificate_status.c.issuer_id == certificates.c.issuer_id)
        & (certificate_status.c.serial == certificates.c.serial),
    )
    .where(certificates.c.id.in_(bindparam("ids", expanding=True)))
)
_move_end = update(certificates).where(certificates.c.id == bindparam("certificate")).values(not_after=bindparam("end"))
_move_status_end = (
    update(certificate_status)
    .where(certificate_status.c.issuer_id == bindparam("issuer"), certificate_status.c.serial == bindparam("number"))
    .values(not_after=bindparam("end"))
)
