"""Certificate revocation lists, as signed."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from services.clock import from_epoch, to_epoch
from services.db.models import crls
from services.db.records import CrlRecord
from services.errors import AlreadyExists


def add_crl(conn: Connection, crl: CrlRecord) -> None:
    """Record a list. Raises as `require_next`."""
    require_next(conn, crl)
    values = {
        "issuer_id": crl.issuer_id,
        "number": crl.number,
        "der": crl.der,
        "this_update": to_epoch(crl.this_update),
        "next_update": to_epoch(crl.next_update),
    }
    conn.execute(insert(crls), values)


def require_next(conn: Connection, crl: CrlRecord) -> None:
    """Raise AlreadyExists CRL_NUMBER_USED unless its number is greater than all before it (R108)."""
    latest = latest_crl(conn, crl.issuer_id)
    if latest is not None and crl.number <= latest.number:
        raise AlreadyExists("CRL_NUMBER_USED", f"the issuer's latest revocation list is number {latest.number} already")


def latest_crl(conn: Connection, issuer_id: int) -> CrlRecord | None:
    """The list with the greatest number."""
    query = select(crls).where(crls.c.issuer_id == issuer_id).order_by(crls.c.number.desc()).limit(1)
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    return CrlRecord(row.issuer_id, row.number, row.der, from_epoch(row.this_update), from_epoch(row.next_update))
