"""Issuers whose import has begun and not ended, or was given up: nobody is told of them, nor of what they issued.

Whoever looks for certificates without naming an issuer looks among `visible_ids`, or leaves `hidden_ids` out.
"""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from services.clock import from_epoch
from services.db import position
from services.db.models import certificate_counts, issuers
from services.db.records import IssuerState, UnfinishedImport

HIDDEN = (IssuerState.PENDING, IssuerState.ABANDONED)
_states = [state.value for state in HIDDEN]

visible_ids = select(issuers.c.id).where(issuers.c.state.not_in(_states))
pending_ids = select(issuers.c.id).where(issuers.c.state.in_(_states))


def hidden_ids(conn: Connection) -> tuple[int, ...]:
    """The ids of issuers that are hidden: nearly always none."""
    return tuple(conn.execute(pending_ids).scalars())


def unfinished_import(conn: Connection, issuer_id: int) -> UnfinishedImport:
    """How far the import of a pending issuer came."""
    begun: int = conn.execute(select(issuers.c.created_at).where(issuers.c.id == issuer_id)).scalar_one()
    counted = select(func.sum(certificate_counts.c.issued)).where(certificate_counts.c.issuer_id == issuer_id)
    return UnfinishedImport(from_epoch(begun), int(conn.execute(counted).scalar_one() or 0))


def abandon(conn: Connection, issuer_id: int) -> None:
    """Free the name of a pending issuer, and its subject with its key. What came in with it stays hidden for good.

    Nothing is deleted: the number of a certificate stands for that one in the audit log, for ever.
    """
    mark = f"~{issuer_id}"  # no issuer can be called that, and no subject begins so
    values = {
        "name": mark,
        "subject_der": mark.encode(),
        "state": IssuerState.ABANDONED.value,
        "revision": position.advance(conn, 1),
    }
    conn.execute(update(issuers).where(issuers.c.id == issuer_id).values(values))
