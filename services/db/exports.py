"""Everything that an issuer has issued, a page at a time, for those who take it elsewhere.

What it guarantees: a page follows the index of the issuer's certificates in the order in which they were recorded, and
reads no more rows than it returns. What is recorded while somebody reads comes at the end.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select

from services.db.models import (
    certificate_counts,
    certificate_status,
    certificates,
    crl_scopes,
    hold_instructions,
    status_changes,
)
from services.db.records import FULL
from services.pki.reasons import Reason


class ExportPlace(NamedTuple):
    """The certificate that was read last."""

    issued_at: int
    id: int


BEGINNING = ExportPlace(-(2**62), -1)


class ExportedRow(NamedTuple):
    """A certificate with its status. Times are seconds since 1970: there are millions of rows."""

    id: int
    issued_at: int
    serial: bytes
    der: bytes | None
    subject: str
    not_before: int
    not_after: int
    revoked_at: int | None
    reason: int | None
    invalidity_at: int | None
    hold_instruction: str | None


def read_exported(conn: Connection, issuer_id: int, after: ExportPlace, limit: int) -> list[ExportedRow]:
    """The next certificates of an issuer, up to `limit` of them; none at the end."""
    values = {"issuer": issuer_id, "at": after.issued_at, "id": after.id}
    rows = conn.execute(_of_that_time, {**values, "limit": limit}).all()
    if len(rows) < limit:
        rows = [*rows, *conn.execute(_later, {**values, "limit": limit - len(rows)})]
    return [ExportedRow._make(row) for row in rows]


def count_issued(conn: Connection, issuer_id: int) -> int:
    """How many certificates are recorded of an issuer."""
    return int(conn.execute(_issued, {"issuer": issuer_id}).scalar_one())


def count_changes(conn: Connection, issuer_id: int, after: int) -> int:
    """How many statuses of an issuer's certificates were changed by revisions behind `after`, which is not long ago."""
    return int(conn.execute(_changes, {"issuer": issuer_id, "after": after}).scalar_one())


def highest_crl_number(conn: Connection, issuer_id: int) -> int:
    """The number that a full revocation list of an issuer has taken last; 0 where there was none."""
    return int(conn.execute(_crl_number, {"issuer": issuer_id}).scalar_one_or_none() or 0)


def _exported(*behind: ColumnElement[bool]) -> Select[Any]:
    # Found in one table first, as in `listing`.
    page = (
        select(certificates.c.id)
        .where(certificates.c.issuer_id == bindparam("issuer"), *behind)
        .order_by(certificates.c.issued_at, certificates.c.id)
        .limit(bindparam("limit"))
        .subquery("page")
    )
    described = page.join(certificates, certificates.c.id == page.c.id)
    with_status = described.join(
        certificate_status,
        (certificate_status.c.issuer_id == certificates.c.issuer_id)
        & (certificate_status.c.serial == certificates.c.serial),
    )
    on_hold = certificate_status.c.reason == int(Reason.CERTIFICATE_HOLD)
    held = (hold_instructions.c.revision == certificate_status.c.revision) & on_hold
    query = select(*_described, *_status, hold_instructions.c.instruction)
    whole = query.select_from(with_status.outerjoin(hold_instructions, held))
    return whole.order_by(certificates.c.issued_at, certificates.c.id)


_described = [
    certificates.c[name] for name in ("id", "issued_at", "serial", "der", "subject", "not_before", "not_after")
]
_status = [certificate_status.c[name] for name in ("revoked_at", "reason", "invalidity_at")]
# Two queries: for one condition on both columns, SQLite walks past all rows of that time. A million may have the same,
# because what is imported without its certificate has the time of its issuer.
_of_that_time = _exported(certificates.c.issued_at == bindparam("at"), certificates.c.id > bindparam("id"))
_later = _exported(certificates.c.issued_at > bindparam("at"))
_issued = select(func.coalesce(func.sum(certificate_counts.c.issued), 0)).where(
    certificate_counts.c.issuer_id == bindparam("issuer")
)
_changes = select(func.count()).where(
    status_changes.c.issuer_id == bindparam("issuer"), status_changes.c.revision > bindparam("after")
)
_crl_number = select(crl_scopes.c.last_number).where(
    crl_scopes.c.issuer_id == bindparam("issuer"), crl_scopes.c.scope == FULL
)
