"""Issuers and their CA certificates. There are few: queries read all of them.

A CA certificate that is revoked is so in two places: as a certificate of its issuer (`status`), and here, where it
tells what becomes of the issuer that it is for. Both point to the same row of `status_changes`.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, or_, select, update

from services.clock import from_epoch, to_epoch, utc_now
from services.db import audit, driver
from services.db.chain import AuditEvent, details
from services.db.models import issuer_certificates, issuers, status_changes
from services.db.pending import HIDDEN, hidden_ids
from services.db.records import (
    Actor,
    CompromiseRecord,
    IssuerRecord,
    IssuerState,
    NewIssuer,
    NewIssuerCertificate,
    StatusChange,
)
from services.db.rows import read_revocation
from services.errors import AlreadyExists

# No hierarchy is deeper; a loop in the data must not hang a service.
_MAX_DEPTH = 16


def add_issuer(conn: Connection, issuer: NewIssuer, revision: int, actor: Actor = audit.LOCAL) -> int:
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
        # A key that is in other hands is so under every name.
        "compromised_by": _compromised_by(conn, issuer.public_key_der),
    }
    id_: int = conn.execute(insert(issuers).returning(issuers.c.id), values).scalar_one()
    conn.execute(insert(issuer_certificates), _certificate_values(id_, issuer.certificates))
    said = {
        "certificates_sha256": [hashlib.sha256(each.der).hexdigest() for each in issuer.certificates],
        "public_key_sha256": hashlib.sha256(issuer.public_key_der).hexdigest(),
        "state": issuer.state.value,
    }
    event = AuditEvent("AddIssuer", actor, issuer.created_at, issuer=issuer.name, details=details(said))
    audit.append(conn, [event])
    return id_


def _compromised_by(conn: Connection, public_key_der: bytes) -> int | None:
    """The revision by which a key counts as compromised. What an import said that was given up says nothing."""
    earliest = select(func.min(issuers.c.compromised_by)).where(
        issuers.c.public_key_der == public_key_der, issuers.c.state != IssuerState.ABANDONED.value
    )
    found: int | None = conn.execute(earliest).scalar_one()
    return found


def issuer_name(conn: Connection, issuer_id: int) -> str:
    """The name of an issuer that is there."""
    name: str = conn.execute(select(issuers.c.name).where(issuers.c.id == issuer_id)).scalar_one()
    return name


def set_issuer_state(
    conn: Connection, issuer_id: int, state: IssuerState, revision: int, actor: Actor = audit.LOCAL
) -> None:
    """Change whether an issuer issues. `revision` is from `position.advance`."""
    _change(conn, issuer_id, "SetIssuerState", actor, {"state": state.value}, {"state": state.value}, revision)


def set_issuer_key(
    conn: Connection,
    issuer_id: int,
    key_ref: str | None,
    state: IssuerState,
    revision: int,
    actor: Actor = audit.LOCAL,
) -> None:
    """Say where the key of an issuer is now; None: nowhere here. `revision` is from `position.advance`."""
    values = {"key_ref": key_ref, "state": state.value}
    said = {"key_reference": key_ref or "", "state": state.value}
    _change(conn, issuer_id, "SetIssuerKey", actor, values, said, revision)


def add_certificates(
    conn: Connection,
    issuer_id: int,
    certificates: Sequence[NewIssuerCertificate],
    revision: int,
    actor: Actor = audit.LOCAL,
) -> None:
    """Give an issuer more CA certificates, preferred from now on, the first one most. `revision` as above."""
    least = select(func.min(issuer_certificates.c.preference)).where(issuer_certificates.c.issuer_id == issuer_id)
    first = (conn.execute(least).scalar_one() or 0) - len(certificates)
    conn.execute(insert(issuer_certificates), _certificate_values(issuer_id, certificates, first))
    said = {"certificates_sha256": [hashlib.sha256(each.der).hexdigest() for each in certificates]}
    _change(conn, issuer_id, "AddIssuerCertificates", actor, {}, said, revision)


def _change(
    conn: Connection,
    issuer_id: int,
    method: str,
    actor: Actor,
    values: Mapping[str, object],
    said: Mapping[str, object],
    revision: int,
) -> None:
    """Change an issuer, and have it in the audit log."""
    changed = update(issuers).where(issuers.c.id == issuer_id).values({**values, "revision": revision})
    name = conn.execute(changed.returning(issuers.c.name)).scalar_one_or_none()
    if name is not None:
        audit.append(conn, [AuditEvent(method, actor, utc_now(), issuer=name, details=details(said))])


def follow_certificate(conn: Connection, der: bytes, change: StatusChange, revision: int, *, compromises: bool) -> None:
    """Record what a change of the status of a CA certificate, made at `revision`, means for the issuers it is for.

    `compromises`: its key is in other hands, and with it every issuer with that key, under whatever name. The first
    certificate that told so stays the one that counts; only a change of its own reason takes the place of what it said.
    """
    is_it = issuer_certificates.c.der == der
    revoked_by = None if change.revocation is None else revision
    conn.execute(update(issuer_certificates).where(is_it).values(revoked_by=revoked_by))
    owners = select(issuer_certificates.c.issuer_id).where(is_it)
    conn.execute(update(issuers).where(issuers.c.id.in_(owners)).values(revision=revision))
    if compromises:
        keys = select(issuers.c.public_key_der).where(issuers.c.id.in_(owners))
        told_by_it = exists().where(
            status_changes.c.revision == issuers.c.compromised_by,
            status_changes.c.issuer_id == change.issuer_id,
            status_changes.c.serial == change.serial,
        )
        conn.execute(
            update(issuers)
            .where(issuers.c.public_key_der.in_(keys), or_(issuers.c.compromised_by.is_(None), told_by_it))
            .values(compromised_by=revision, revision=revision)
        )


def list_issuers(conn: Connection) -> list[IssuerRecord]:
    """All issuers, in the order in which they came in, but for those whose import has not ended."""
    return [record for record in _all_issuers(conn) if record.state not in HIDDEN]


def list_pending(conn: Connection) -> list[IssuerRecord]:
    """The issuers whose import has begun, and not ended."""
    if not hidden_ids(conn):
        return []
    return [record for record in _all_issuers(conn) if record.state is IssuerState.PENDING]


def _all_issuers(conn: Connection) -> list[IssuerRecord]:
    rows = {row.id: row for row in conn.execute(_issuers)}
    certificates = _read_certificates(conn)
    return [_record(row, rows, certificates) for row in rows.values()]


class KnownIssuers:
    """All issuers as of a transaction that has not changed any yet, read again only where they have changed.

    Whatever changes an issuer gives it a revision (watchers follow those), so that a version of the table that was seen
    before, in the same history of the same database, has the same rows.
    """

    def __init__(self) -> None:
        self._version: tuple[object, ...] | None = None
        self._records: Mapping[int, IssuerRecord] = {}
        self._key_hashes: frozenset[bytes] = frozenset()

    def by_id(self, conn: Connection) -> Mapping[int, IssuerRecord]:
        """All issuers by id, as `list_issuers` finds them now."""
        version = (conn.info["history_suffix"], *driver.execute(conn, _VERSION).one())
        if version != self._version:
            # Read after the version: what changes in between (PostgreSQL) makes the next look read again.
            self._records = {record.id: record for record in list_issuers(conn)}
            hashes = (hashlib.sha256(record.public_key_der) for record in self._records.values())
            self._key_hashes = frozenset(each.digest() for each in hashes)
            self._version = version
        return self._records

    def key_hashes(self, conn: Connection) -> frozenset[bytes]:
        """The keys of all issuers (SHA-256), as of the same."""
        self.by_id(conn)
        return self._key_hashes


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


def _certificate_values(
    issuer_id: int, certificates: Sequence[NewIssuerCertificate], first: int = 0
) -> list[dict[str, Any]]:
    return [
        {
            "issuer_id": issuer_id,
            "preference": preference,
            "der": certificate.der,
            "not_before": to_epoch(certificate.not_before),
            "not_after": to_epoch(certificate.not_after),
        }
        for preference, certificate in enumerate(certificates, first)
    ]


def _read_certificates(conn: Connection) -> Mapping[int, list[Row[Any]]]:
    found: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in conn.execute(_certificates):
        found[row.issuer_id].append(row)
    return found


def _record(row: Row[Any], rows: Mapping[int, Row[Any]], certificates: Mapping[int, list[Row[Any]]]) -> IssuerRecord:
    above = list(_above(row, rows))
    return IssuerRecord(
        id=row.id,
        name=row.name,
        state=IssuerState(row.state),
        subject_der=row.subject_der,
        public_key_der=row.public_key_der,
        certificates_der=tuple(certificate.der for certificate in certificates[row.id]),
        chain_der=tuple(certificates[parent.id][0].der for parent in above),
        key_ref=row.key_ref,
        revision=row.revision,
        compromise=_compromise(row),
        revoked=any(certificates[each.id][0].revoked_by is not None for each in (row, *above))
        or any(parent.compromised_by is not None for parent in above),
    )


def _above(row: Row[Any], rows: Mapping[int, Row[Any]]) -> Iterator[Row[Any]]:
    """The issuers above one, nearest first."""
    for _ in range(_MAX_DEPTH):
        if row.parent_id is None:
            return
        row = rows[row.parent_id]
        yield row


def _compromise(row: Row[Any]) -> CompromiseRecord | None:
    revocation = read_revocation(row.revoked_at, row.reason, row.invalidity_at)
    if row.compromised_by is None:
        return None
    if revocation is None:
        raise LookupError("an issuer is compromised by a change that is gone, or is no revocation")
    return CompromiseRecord(revocation, from_epoch(row.changed_at), row.compromised_by)


# What was given up is nothing to anybody any more, and may be much.
_is_told = issuers.c.state != IssuerState.ABANDONED.value

_issuers = (
    select(
        issuers,
        status_changes.c.revoked_at,
        status_changes.c.reason,
        status_changes.c.invalidity_at,
        status_changes.c.changed_at,
    )
    .outerjoin(status_changes, status_changes.c.revision == issuers.c.compromised_by)
    .where(_is_told)
    .order_by(issuers.c.id)
)

_VERSION = "SELECT history, (SELECT count(*) FROM issuers), (SELECT max(revision) FROM issuers) FROM position"

# Those that are revoked come last, so that chains go through another one where there is one.
_certificates = (
    select(issuer_certificates)
    .join(issuers, issuers.c.id == issuer_certificates.c.issuer_id)
    .where(_is_told)
    .order_by(issuer_certificates.c.revoked_by.is_not(None), issuer_certificates.c.preference)
)
