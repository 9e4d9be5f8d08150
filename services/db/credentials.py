"""Certificates for the gRPC services themselves, and which of them are denied. The audit log tells of each change."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from services.clock import from_epoch, rfc3339, to_epoch
from services.db import audit
from services.db.chain import AuditEvent, details
from services.db.models import credentials
from services.db.records import Actor, CredentialRecord
from services.db.rows import optional_from_epoch, optional_to_epoch

_denied = select(credentials.c.fingerprint).where(credentials.c.denied_at.is_not(None))


def upsert_credential(conn: Connection, credential: CredentialRecord, actor: Actor = audit.LOCAL) -> None:
    """Record a credential. One that is there already is described anew; its denial stays."""
    said = _described(credential) | {"not_after_time": rfc3339(credential.not_after)}
    audit.append(conn, [AuditEvent("RecordCredential", actor, credential.created_at, details=details(said))])
    described: dict[str, Any] = {
        "name": credential.name,
        "role": credential.role,
        "identity": credential.identity,
        "not_after": to_epoch(credential.not_after),
        "created_at": to_epoch(credential.created_at),
    }
    same = credentials.c.fingerprint == credential.fingerprint
    if conn.execute(update(credentials).where(same).values(described)).rowcount:
        return
    denial = {"denied_at": optional_to_epoch(credential.denied_at), "denied_because": credential.denied_because}
    conn.execute(insert(credentials), {"fingerprint": credential.fingerprint, **described, **denial})


def list_credentials(conn: Connection) -> list[CredentialRecord]:
    """All credentials, the latest made first."""
    query = select(credentials).order_by(credentials.c.created_at.desc(), credentials.c.fingerprint)
    return [_record(row) for row in conn.execute(query)]


def get_credential(conn: Connection, fingerprint: str) -> CredentialRecord | None:
    """The credential with that fingerprint."""
    row = conn.execute(select(credentials).where(credentials.c.fingerprint == fingerprint)).one_or_none()
    return None if row is None else _record(row)


def deny_credential(
    conn: Connection, fingerprint: str, now: datetime, because: str, actor: Actor = audit.LOCAL
) -> CredentialRecord | None:
    """Deny a credential from now on; None if it is not recorded. One that is denied already stays as it is."""
    live = (credentials.c.fingerprint == fingerprint) & credentials.c.denied_at.is_(None)
    denied = conn.execute(update(credentials).where(live).values(denied_at=to_epoch(now), denied_because=because))
    record = get_credential(conn, fingerprint)
    if record is not None and denied.rowcount:
        said = _described(record) | {"because": because}
        audit.append(conn, [AuditEvent("DenyCredential", actor, now, details=details(said))])
    return record


def denied_fingerprints(conn: Connection) -> frozenset[str]:
    """The fingerprints of all denied credentials."""
    return frozenset(conn.execute(_denied).scalars())


def _described(credential: CredentialRecord) -> dict[str, str]:
    return {
        "credential_fingerprint": credential.fingerprint,
        "identity": credential.identity,
        "name": credential.name,
        "role": credential.role,
    }


def _record(row: Row[Any]) -> CredentialRecord:
    return CredentialRecord(
        fingerprint=row.fingerprint,
        name=row.name,
        role=row.role,
        identity=row.identity,
        not_after=from_epoch(row.not_after),
        created_at=from_epoch(row.created_at),
        denied_at=optional_from_epoch(row.denied_at),
        denied_because=row.denied_because,
    )
