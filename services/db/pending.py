"""Issuers whose import has begun and not ended: nobody is told of them, nor of what they issued.

Whoever looks for certificates without naming an issuer looks among `visible_ids`, or leaves `hidden_ids` out.
"""

from __future__ import annotations

from sqlalchemy import Connection, select

from services.db.models import issuers
from services.db.records import IssuerState

visible_ids = select(issuers.c.id).where(issuers.c.state != IssuerState.PENDING.value)
pending_ids = select(issuers.c.id).where(issuers.c.state == IssuerState.PENDING.value)


def hidden_ids(conn: Connection) -> tuple[int, ...]:
    """The ids of issuers that are pending: nearly always none."""
    return tuple(conn.execute(pending_ids).scalars())
