"""How many responder certificates one caller may hold from one issuer.

Such certificates carry nocheck, so nobody can revoke them (R66): what a stolen gateway may collect is bounded here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from services.clock import rfc3339
from services.db import certificates
from services.db.engine import Connection
from services.db.records import NewCertificate
from services.errors import ResourceExhausted
from services.pki.profiles import OCSP_RESPONDER


def require_room(
    conn: Connection, new: NewCertificate, limit: int, now: datetime, pending: Sequence[datetime] = ()
) -> None:
    """Raises ResourceExhausted (TOO_MANY_DELEGATES) if the caller holds `limit` of them or more.

    `pending` are the expiries of those that the same transaction is about to record.
    """
    identity = new.actor.identity
    count = certificates.count_live_delegates(conn, identity, new.issuer_id, now) + len(pending)
    if count < limit:
        return
    recorded = certificates.first_delegate_expiry(conn, identity, new.issuer_id, now)
    oldest = min([*([recorded] if recorded else []), *pending], default=None)
    until = f"; the oldest expires at {rfc3339(oldest)}" if oldest else ""
    raise ResourceExhausted(
        "TOO_MANY_DELEGATES",
        f"{identity} holds {count} live {OCSP_RESPONDER} certificates of this issuer{until}. "
        f"The limit is max_live_delegates in [ca] of the configuration",
        metadata={"limit": str(limit), "config_key": "ca.max_live_delegates"}
        | ({"oldest_expires": rfc3339(oldest)} if oldest else {}),
    )
