"""Certificates with their descriptions: recording, finding, listing.

Listing costs the same at ten thousand and at ten million certificates: pages follow an index by time and id, and never
count or skip. Only where filters are combined does an index for one of them lead, past what the others leave out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    Table,
    bindparam,
    func,
    insert,
    select,
    text,
    tuple_,
)

from services.clock import from_epoch, to_epoch
from services.db.models import certificate_names, certificate_status, certificates, issuers
from services.db.records import (
    CertificateCursor,
    CertificateFilters,
    CertificateRecord,
    CertificateState,
    NewCertificate,
)
from services.db.rows import actor_values, read_actor, read_revocation

_NAME_LENGTH = 255
_DELEGATE_PROFILE = "ocsp-responder"


def insert_certificates(conn: Connection, rows: Sequence[NewCertificate]) -> list[int]:
    """Record descriptions, and return their ids in order. The same transaction must call `status.insert_statuses`."""
    if not rows:
        return []
    ids = _reserve_ids(conn, len(rows))
    numbered = list(zip(ids, rows, strict=True))
    conn.execute(insert(certificates), [_values(id_, row) for id_, row in numbered])
    names = [{"name": name, "certificate_id": id_} for id_, row in numbered for name in _search_names(row)]
    if names:
        conn.execute(insert(certificate_names), names)
    return ids


def get_certificate(conn: Connection, issuer_id: int, serial: bytes) -> CertificateRecord | None:
    """The certificate of that issuer and serial number."""
    row = conn.execute(_by_issuer_and_serial, {"issuer": issuer_id, "serial_number": serial}).one_or_none()
    return None if row is None else _record(row, row.der)


def get_certificate_by_id(conn: Connection, certificate_id: int) -> CertificateRecord | None:
    """The certificate of that id (the outcome of an earlier call)."""
    row = conn.execute(_by_id, {"certificate": certificate_id}).one_or_none()
    return None if row is None else _record(row, row.der)


def find_by_serial(conn: Connection, serial: bytes) -> list[CertificateRecord]:
    """The certificates of all issuers with that serial number."""
    return [_record(row, row.der) for row in conn.execute(_by_serial, {"serial_number": serial})]


def list_certificates(
    conn: Connection,
    filters: CertificateFilters,
    *,
    now: datetime,
    limit: int,
    after: CertificateCursor | None = None,
) -> list[CertificateRecord]:
    """The next `limit` certificates that fit, without DER. `now` tells expired from valid.

    Latest issued first; but where the filters are about expiry (a bound of not_after, or the state EXPIRED), latest to
    expire first. Either way an index leads to the next page.
    """
    page = _page(filters, now).limit(limit)
    if after is not None:
        moment = to_epoch(after.issued_at)
        if _by_expiry(filters):
            moment = conn.execute(_expiry, {"certificate": after.id}).scalar_one_or_none() or 0
        page = page.where(tuple_(*_order(filters)) < (moment, after.id))
    found = page.subquery("page")
    rows = conn.execute(_without_der.join(found, found.c.id == certificates.c.id).add_columns(found.c.moment))
    return [_record(row, None) for row in sorted(rows, key=lambda row: (row.moment, row.id), reverse=True)]


def count_live_delegates(conn: Connection, identity: str, issuer_id: int, now: datetime) -> int:
    """How many `ocsp-responder` certificates that have not expired this identity holds of that issuer.

    Revoked ones count: they carry nocheck, so clients take their signatures until they expire.
    """
    values = {"identity": identity, "issuer": issuer_id, "now": to_epoch(now)}
    count: int = conn.execute(_live_delegates, values).scalar_one()
    return count


def search_name(name: str) -> str:
    """The form under which a name is searched for: lower case, and a hash where it is too long to be indexed."""
    lowered = name.lower()
    return lowered if len(lowered) <= _NAME_LENGTH else "sha256:" + hashlib.sha256(lowered.encode()).hexdigest()


def _reserve_ids(conn: Connection, count: int) -> list[int]:
    """Ids for new rows: many rows go in with one statement, which cannot return them."""
    if conn.dialect.name == "postgresql":
        return list(conn.execute(_next_ids, {"count": count}).scalars())
    # SQLite has one writer at a time, and certificates are never deleted.
    highest: int = conn.execute(_highest_id).scalar_one()
    return list(range(highest + 1, highest + 1 + count))


def _values(id_: int, row: NewCertificate) -> dict[str, Any]:
    return {
        "id": id_,
        "issuer_id": row.issuer_id,
        "serial": row.serial,
        "der": row.der,
        "subject": row.subject,
        "subject_alternative_names": json.dumps(row.subject_alternative_names),
        "profile": row.profile,
        "public_key_sha256": row.public_key_sha256,
        "not_before": to_epoch(row.not_before),
        "not_after": to_epoch(row.not_after),
        "issued_at": to_epoch(row.issued_at),
        **actor_values(row.actor),
    }


def _search_names(row: NewCertificate) -> set[str]:
    names = {search_name(name.partition(":")[2]) for name in row.subject_alternative_names}
    if row.common_name:
        names.add(search_name(row.common_name))
    return names


def _by_expiry(filters: CertificateFilters) -> bool:
    bounds = (filters.not_after_from, filters.not_after_until)
    return filters.state is CertificateState.EXPIRED or any(bound is not None for bound in bounds)


def _order(filters: CertificateFilters) -> tuple[Column[Any], Column[Any]]:
    """A time and the id. The columns are equal in both tables; revoked certificates are few: their indexes lead."""
    time = "not_after" if _by_expiry(filters) else "issued_at"
    if filters.state is CertificateState.REVOKED:
        return certificate_status.c[time], certificate_status.c.certificate_id
    return certificates.c[time], certificates.c.id


def _page(filters: CertificateFilters, now: datetime) -> Select[Any]:
    """The ids of what fits, in order, from one table.

    Joined to the other one first, PostgreSQL expects next to nothing to be left, and reads and sorts everything.
    """
    time, id_ = _order(filters)
    lead = certificate_status if filters.state is CertificateState.REVOKED else certificates
    query = select(time.label("moment"), id_.label("id")).where(*_conditions(filters, lead))
    match filters.state:
        case CertificateState.REVOKED:
            query = query.where(certificate_status.c.revoked_at.is_not(None))
        case CertificateState.VALID:
            query = query.where(certificates.c.not_after >= to_epoch(now), ~_revoked)
        case CertificateState.EXPIRED:
            query = query.where(certificates.c.not_after < to_epoch(now), ~_revoked)
    return query.order_by(time.desc(), id_.desc())


def _conditions(filters: CertificateFilters, lead: Table) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    issuer_id: ColumnElement[int] = lead.c.issuer_id
    profile: ColumnElement[str] = certificates.c.profile if lead is certificates else _profile_of_status
    if lead is certificate_status or filters.name is not None or _by_expiry(filters):
        # Another index leads. Expressions keep SQLite from reading all of an issuer or a profile, and sorting that.
        issuer_id, profile = issuer_id + 0, profile.concat("")
    if filters.issuer_id is not None:
        found.append(issuer_id == filters.issuer_id)
    if filters.profile is not None:
        found.append(profile == filters.profile)
    if filters.not_after_from is not None:
        found.append(lead.c.not_after >= to_epoch(filters.not_after_from))
    if filters.not_after_until is not None:
        found.append(lead.c.not_after < to_epoch(filters.not_after_until))
    if filters.name is not None:
        named = select(certificate_names.c.certificate_id).where(certificate_names.c.name == search_name(filters.name))
        found.append(_order(filters)[1].in_(named))
    return found


def _record(row: Row[Any], der: bytes | None) -> CertificateRecord:
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


# The key says it all; the id lets a query that begins with statuses find the descriptions.
_described = certificates.join(
    certificate_status,
    (certificate_status.c.issuer_id == certificates.c.issuer_id)
    & (certificate_status.c.serial == certificates.c.serial)
    & (certificate_status.c.certificate_id == certificates.c.id),
).join(issuers, issuers.c.id == certificates.c.issuer_id)

_without_der: Select[Any] = select(
    *(column for column in certificates.c if column.name not in ("der", "public_key_sha256")),
    issuers.c.name.label("issuer_name"),
    certificate_status.c.revoked_at,
    certificate_status.c.reason,
    certificate_status.c.invalidity_at,
    certificate_status.c.revision,
).select_from(_described)

# For `services.db.selection`, which finds certificates in other ways.
described_certificates = _without_der
read_described = _record
# Asked of the index of the revoked, which is small, and not of the key of all.
_revoked = (
    select(certificate_status.c.certificate_id)
    .where(
        certificate_status.c.issued_at == certificates.c.issued_at,
        certificate_status.c.certificate_id == certificates.c.id,
        certificate_status.c.revoked_at.is_not(None),
    )
    .correlate(certificates)
    .exists()
)
_profile_of_status = (
    select(certificates.c.profile)
    .where(certificates.c.id == certificate_status.c.certificate_id)
    .correlate(certificate_status)
    .scalar_subquery()
)

_whole = _without_der.add_columns(certificates.c.der)
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
            certificate_status.c.issuer_id.in_(select(issuers.c.id)),
            certificate_status.c.serial == bindparam("serial_number"),
        )
    )
).order_by(certificates.c.id)

_live_delegates = (
    select(func.count())
    .select_from(certificates)
    .where(
        certificates.c.profile == text(f"'{_DELEGATE_PROFILE}'"),  # spelled out, so that the partial index fits
        certificates.c.actor_identity == bindparam("identity"),
        certificates.c.issuer_id == bindparam("issuer"),
        certificates.c.not_after >= bindparam("now"),
    )
)
_expiry = select(certificates.c.not_after).where(certificates.c.id == bindparam("certificate"))
_highest_id = select(func.coalesce(func.max(certificates.c.id), 0))
_next_ids = text("SELECT nextval('certificates_id_seq') FROM generate_series(1, :count)")
