"""Certificates with their descriptions: recording and finding. Listing is in `listing`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    func,
    select,
    text,
)

from services.clock import from_epoch, to_epoch
from services.db import driver
from services.db.models import certificate_names, certificate_status, certificates, hold_instructions, issuers
from services.db.pending import visible_ids
from services.db.records import CertificateRecord, NewCertificate
from services.db.rows import actor_row, read_actor, read_revocation
from services.pki.reasons import Reason

_NAME_LENGTH = 255
_DELEGATE_PROFILE = "ocsp-responder"


def insert_certificates(conn: Connection, rows: Sequence[NewCertificate]) -> list[int]:
    """Record descriptions, and return their ids in order. The same transaction must call `status.insert_statuses`."""
    if not rows:
        return []
    ids = reserve_ids(conn, len(rows))
    numbered = list(zip(ids, rows, strict=True))
    _insertion.run(conn, [_values(id_, row) for id_, row in numbered])
    _names_insertion.run(conn, [(name, id_) for id_, row in numbered for name in _search_names(row)])
    return ids


def get_certificate(conn: Connection, issuer_id: int, serial: bytes) -> CertificateRecord | None:
    """The certificate of that issuer and serial number."""
    row = conn.execute(_by_issuer_and_serial, {"issuer": issuer_id, "serial_number": serial}).one_or_none()
    return None if row is None else with_hold_instructions(conn, [read_record(row, row.der)])[0]


def get_certificate_by_id(conn: Connection, certificate_id: int) -> CertificateRecord | None:
    """The certificate of that id (the outcome of an earlier call)."""
    row = conn.execute(_by_id, {"certificate": certificate_id}).one_or_none()
    return None if row is None else read_record(row, row.der)


def find_by_serial(conn: Connection, serial: bytes) -> list[CertificateRecord]:
    """The certificates of all issuers with that serial number."""
    found = [read_record(row, row.der) for row in conn.execute(_by_serial, {"serial_number": serial})]
    return with_hold_instructions(conn, found)


def count_live_delegates(conn: Connection, identity: str, issuer_id: int, now: datetime) -> int:
    """How many `ocsp-responder` certificates that have not expired this identity holds of that issuer.

    Revoked ones count: they carry nocheck, so clients take their signatures until they expire.
    """
    values = {"identity": identity, "issuer": issuer_id, "now": to_epoch(now)}
    count: int = conn.execute(_live_delegates, values).scalar_one()
    return count


def first_delegate_expiry(conn: Connection, identity: str, issuer_id: int, now: datetime) -> datetime | None:
    """When the first of those that `count_live_delegates` counts expires."""
    values = {"identity": identity, "issuer": issuer_id, "now": to_epoch(now)}
    first: int | None = conn.execute(_first_delegate_expiry, values).scalar_one()
    return None if first is None else from_epoch(first)


def search_name(name: str) -> str:
    """The form under which a name is searched for: lower case, and a hash where it is too long to be indexed."""
    lowered = name.lower()
    return lowered if len(lowered) <= _NAME_LENGTH else "sha256:" + hashlib.sha256(lowered.encode()).hexdigest()


def reserve_ids(conn: Connection, count: int) -> list[int]:
    """Ids for new rows: many rows go in with one statement, which cannot return them."""
    if conn.dialect.name == "postgresql":
        return list(driver.execute(conn, _NEXT_IDS, (count,)).scalars())
    # SQLite has one writer at a time, and certificates are never deleted.
    highest: int = driver.execute(conn, _HIGHEST_ID).scalar_one()
    return list(range(highest + 1, highest + 1 + count))


def _values(id_: int, row: NewCertificate) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return (
        id_,
        row.issuer_id,
        row.serial,
        row.der,
        row.subject,
        f"[{', '.join(map(encode_basestring_ascii, row.subject_alternative_names))}]",  # JSON
        row.profile,
        row.public_key_sha256,
        to_epoch(row.not_before),
        to_epoch(row.not_after),
        to_epoch(row.issued_at),
        *actor_row(row.actor),
    )


def _search_names(row: NewCertificate) -> set[str]:
    names = {search_name(name.partition(":")[2]) for name in row.subject_alternative_names}
    if row.common_name:
        names.add(search_name(row.common_name))
    return names


def read_record(row: Row[Any], der: bytes | None) -> CertificateRecord:
    """A certificate, from a row of `without_der`."""
    return CertificateRecord(
        id=row.id,
        issuer_id=row.issuer_id,
        issuer_name=row.issuer_name,
        serial=row.serial,
        der=der,
        subject=row.subject,
        subject_alternative_names=tuple(json.loads(row.subject_alternative_names)),
        profile=row.profile,
        not_before=from_epoch(row.not_before),
        not_after=from_epoch(row.not_after),
        issued_at=from_epoch(row.issued_at),
        actor=read_actor(row),
        revocation=read_revocation(row.revoked_at, row.reason, row.invalidity_at),
        revision=row.revision,
    )


def with_hold_instructions(conn: Connection, records: list[CertificateRecord]) -> list[CertificateRecord]:
    """The same certificates; those on hold with what was imported along with that."""
    held = [
        each.revision
        for each in records
        if each.revocation is not None and each.revocation.reason == Reason.CERTIFICATE_HOLD
    ]
    found = {row.revision: row.instruction for row in conn.execute(_instructions, {"revisions": held})} if held else {}
    return [_instructed(each, found[each.revision]) if each.revision in found else each for each in records]


def _instructed(record: CertificateRecord, instruction: str) -> CertificateRecord:
    if record.revocation is None:
        return record
    return replace(record, revocation=replace(record.revocation, hold_instruction=instruction))


# The key says it all; the id lets a query that begins with statuses find the descriptions.
_described = certificates.join(
    certificate_status,
    (certificate_status.c.issuer_id == certificates.c.issuer_id)
    & (certificate_status.c.serial == certificates.c.serial)
    & (certificate_status.c.certificate_id == certificates.c.id),
).join(issuers, issuers.c.id == certificates.c.issuer_id)

# What a listing reads.
without_der: Select[Any] = select(
    *(column for column in certificates.c if column.name not in ("der", "public_key_sha256")),
    issuers.c.name.label("issuer_name"),
    certificate_status.c.revoked_at,
    certificate_status.c.reason,
    certificate_status.c.invalidity_at,
    certificate_status.c.revision,
).select_from(_described)

_whole = without_der.add_columns(certificates.c.der)
_instructions = select(hold_instructions.c.revision, hold_instructions.c.instruction).where(
    hold_instructions.c.revision.in_(bindparam("revisions", expanding=True))
)
_by_id = _whole.where(certificates.c.id == bindparam("certificate"))
_by_issuer_and_serial = _whole.where(
    certificates.c.id
    == select(certificate_status.c.certificate_id)
    .where(
        certificate_status.c.issuer_id == bindparam("issuer"), certificate_status.c.serial == bindparam("serial_number")
    )
    .scalar_subquery()
)
# One look-up per issuer: there is no index by serial number alone.
_by_serial = _whole.where(
    certificates.c.id.in_(
        select(certificate_status.c.certificate_id).where(
            certificate_status.c.issuer_id.in_(visible_ids),
            certificate_status.c.serial == bindparam("serial_number"),
        )
    )
).order_by(certificates.c.id)

_are_live_delegates = (
    certificates.c.profile == text(f"'{_DELEGATE_PROFILE}'"),  # spelled out, so that the partial index fits
    certificates.c.actor_identity == bindparam("identity"),
    certificates.c.issuer_id == bindparam("issuer"),
    certificates.c.not_after >= bindparam("now"),
)
_live_delegates = select(func.count()).select_from(certificates).where(*_are_live_delegates)
_first_delegate_expiry = select(func.min(certificates.c.not_after)).where(*_are_live_delegates)

_insertion = driver.Insertion(certificates)
_names_insertion = driver.Insertion(certificate_names)
_HIGHEST_ID = "SELECT coalesce(max(id), 0) FROM certificates"
_NEXT_IDS = "SELECT nextval('certificates_id_seq') FROM generate_series(1, ?)"
