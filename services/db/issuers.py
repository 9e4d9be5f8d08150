"""Issuers and their CA certificates. There are few: queries read all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row, insert, or_, select, update

from services.clock import to_epoch
from services.db.models import issuer_certificates, issuers
from services.db.records import IssuerRecord, IssuerState, NewIssuer
from services.errors import AlreadyExists

# No hierarchy is deeper; a loop in the data must not hang a service.
_MAX_DEPTH = 16


def add_issuer(conn: Connection, issuer: NewIssuer, revision: int) -> int:
    """Record an issuer and return its id. `revision` is from `position.advance`.

    Raises AlreadyExists ISSUER_EXISTS for a name, or a subject with public key, that is there already.
    """
    if not issuer.certificates:
        raise ValueError("an issuer without a certificate")
    _check_new(conn, issuer)
    values = {
        "name": issuer.name,
        "state": issuer.state.value,
        "subject_der": issuer.subject_der,
        "public_key_der": issuer.public_key_der,
        "parent_id": issuer.parent_id,
        "key_ref": issuer.key_ref,
        "created_at": to_epoch(issuer.created_at),
        "revision": revision,
    }
    id_: int = conn.execute(insert(issuers).returning(issuers.c.id), values).scalar_one()
    conn.execute(insert(issuer_certificates), _certificate_values(id_, issuer))
    return id_


def set_issuer_state(conn: Connection, issuer_id: int, state: IssuerState, revision: int) -> None:
    """Change whether an issuer issues. `revision` is from `position.advance`."""
    conn.execute(update(issuers).where(issuers.c.id == issuer_id).values(state=state.value, revision=revision))


def list_issuers(conn: Connection) -> list[IssuerRecord]:
    """All issuers, in the order in which they came in."""
    rows = {row.id: row for row in conn.execute(select(issuers).order_by(issuers.c.id))}
    certificates = _read_certificates(conn)
    return [_record(row, rows, certificates) for row in rows.values()]


def issuers_changed_between(conn: Connection, after: int, through: int) -> list[IssuerRecord]:
    """Issuers whose last change has a revision in (after, through], in that order."""
    in_range = issuers.c.revision.between(after + 1, through)
    if conn.execute(select(issuers.c.id).where(in_range).limit(1)).first() is None:
        return []
    changed = [issuer for issuer in list_issuers(conn) if after < issuer.revision <= through]
    return sorted(changed, key=lambda issuer: issuer.revision)


def _check_new(conn: Connection, issuer: NewIssuer) -> None:
    same_key = (issuers.c.subject_der == issuer.subject_der) & (issuers.c.public_key_der == issuer.public_key_der)
    taken = conn.execute(select(issuers.c.name).where(or_(issuers.c.name == issuer.name, same_key)).limit(1)).scalar()
    if taken is not None:
        raise AlreadyExists(
            "ISSUER_EXISTS", f"there is an issuer with this name, or this subject and key: {taken}", field="issuer"
        )


def _certificate_values(issuer_id: int, issuer: NewIssuer) -> list[dict[str, Any]]:
    return [
        {
            "issuer_id": issuer_id,
            "preference": preference,
            "der": certificate.der,
            "not_before": to_epoch(certificate.not_before),
            "not_after": to_epoch(certificate.not_after),
        }
        for preference, certificate in enumerate(issuer.certificates)
    ]


def _read_certificates(conn: Connection) -> Mapping[int, list[bytes]]:
    found: dict[int, list[bytes]] = defaultdict(list)
    for row in conn.execute(select(issuer_certificates).order_by(issuer_certificates.c.preference)):
        found[row.issuer_id].append(row.der)
    return found


def _record(row: Row[Any], rows: Mapping[int, Row[Any]], certificates: Mapping[int, list[bytes]]) -> IssuerRecord:
    chain: list[bytes] = []
    parent_id = row.parent_id
    while parent_id is not None and len(chain) < _MAX_DEPTH:
        chain.append(certificates[parent_id][0])
        parent_id = rows[parent_id].parent_id
    return IssuerRecord(
        id=row.id,
        name=row.name,
        state=IssuerState(row.state),
        subject_der=row.subject_der,
        public_key_der=row.public_key_der,
        certificates_der=tuple(certificates[row.id]),
        chain_der=tuple(chain),
        key_ref=row.key_ref,
        revision=row.revision,
    )
