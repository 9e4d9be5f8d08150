"""Everything that an issuer has issued, a page at a time, for those who take it elsewhere.

What it guarantees: a page follows the index of the issuer's certificates in the order in which they were recorded, and
reads no more rows than it returns. What is recorded while somebody reads comes at the end.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, bindparam, func, select, tuple_

from services.db.models import (
    certificate_counts,
    certificate_status,
    certificates,
    crl_scopes,
    hold_instructions,
    status_changes,
)
from services.db.records import FULL

_HOLD = 6


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
    values = {"issuer": issuer_id, "at": after.issued_at, "id": after.id, "limit": limit}
    return [ExportedRow._make(row) for row in conn.execute(_exported, values)]


def count_issued(conn: Connection, issuer_id: int) -> int:
    """How many certificates are recorded of an issuer."""
    return int(conn.execute(_issued, {"issuer": issuer_id}).scalar_one())


def count_changes(conn: Connection, issuer_id: int, after: int) -> int:
    """How many statuses of an issuer's certificates were changed by revisions behind `after`, which is not long ago."""
    return int(conn.execute(_changes, {"issuer": issuer_id, "after": after}).scalar_one())


def highest_crl_number(conn: Connection, issuer_id: int) -> int:
    """The number that a full revocation list of an issuer has taken last; 0 where there was none."""
    return int(conn.execute(_crl_number, {"issuer": issuer_id}).scalar_one_or_none() or 0)


# Found in one table first, as in `listing`.
_page = (
    select(certificates.c.id)
    .where(
        certificates.c.issuer_id == bindparam("issuer"),
        tuple_(certificates.c.issued_at, certificates.c.id) > tuple_(bindparam("at"), bindparam("id")),
    )
    .order_by(certificates.c.issued_at, certificates.c.id)
    .limit(bindparam("limit"))
    .subquery("page")
)
_exported = (
    select(
        certificates.c.id,
        certificates.c.issued_at,
        certificates.c.serial,
        certificates.c.der,
        certificates.c.subject,
        certificates.c.not_before,
        certificates.c.not_after,
        certificate_status.c.revoked_at,
        certificate_status.c.reason,
        certificate_status.c.invalidity_at,
        hold_instructions.c.instruction,
    )
    .select_from(_page)
    .join(certificates, certificates.c.id == _page.c.id)
    .join(
        certificate_status,
        (certificate_status.c.issuer_id == certificates.c.issuer_id)
        & (certificate_status.c.serial == certificates.c.serial),
    )
    .outerjoin(
        hold_instructions,
        (hold_instructions.c.revision == certificate_status.c.revision) & (certificate_status.c.reason == _HOLD),
    )
    .order_by(certificates.c.issued_at, certificates.c.id)
)
_issued = select(func.coalesce(func.sum(certificate_counts.c.issued), 0)).where(
    certificate_counts.c.issuer_id == bindparam("issuer")
)
_changes = select(func.count()).where(
    status_changes.c.issuer_id == bindparam("issuer"), status_changes.c.revision > bindparam("after")
)
_crl_number = select(crl_scopes.c.last_number).where(
    crl_scopes.c.issuer_id == bindparam("issuer"), crl_scopes.c.scope == FULL
)
