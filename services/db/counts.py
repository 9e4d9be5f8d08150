"""How many certificates there are, by issuer, profile and state, without counting them.

Counters are kept for each issuer, profile and hour of expiry, in the transactions that issue and revoke: so a count
adds up a few thousand rows, whether there are ten certificates or ten million. Only those that expire within the
current hour are looked at one by one. It is exact: an estimate would have to be explained to whoever compares it with
a list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, func, select

from services.clock import to_epoch
from services.db import driver
from services.db.models import certificate_counts, certificate_status, certificates, issuers
from services.db.pending import visible_ids
from services.db.records import CertificateCount, NewCertificate, StatusChange

HOUR = 3600
_CHUNK = 1000

_Bucket = tuple[int, str, int]
"""Issuer id, profile, hour of expiry."""


def add_issued(conn: Connection, rows: Sequence[NewCertificate]) -> None:
    """Count certificates that this transaction records."""
    issued: Counter[_Bucket] = Counter((row.issuer_id, row.profile, to_epoch(row.not_after) // HOUR) for row in rows)
    _add(conn, {bucket: (count, 0) for bucket, count in issued.items()})


def add_imported(conn: Connection, counts: Mapping[_Bucket, tuple[int, int]]) -> None:
    """Count certificates that come in with their statuses: how many by bucket, and how many of them revoked."""
    _add(conn, counts)


def follow_changes(conn: Connection, changes: Sequence[StatusChange]) -> None:
    """Count what changes are going to revoke and release. Call it before they are applied."""
    by_issuer: defaultdict[int, set[bytes]] = defaultdict(set)
    for change in changes:
        by_issuer[change.issuer_id].add(change.serial)
    found: dict[tuple[int, bytes], tuple[_Bucket, bool]] = {}
    for issuer_id, serials in by_issuer.items():
        wanted = list(serials)
        for start in range(0, len(wanted), _CHUNK):
            rows = conn.execute(_standing, {"issuer": issuer_id, "serials": wanted[start : start + _CHUNK]})
            for serial, revoked_at, profile, not_after in rows:
                found[issuer_id, bytes(serial)] = (issuer_id, profile, not_after // HOUR), revoked_at is not None
    revoked: Counter[_Bucket] = Counter()
    for change in changes:
        key = (change.issuer_id, change.serial)
        if key in found:
            bucket, before = found[key]
            after = change.revocation is not None
            revoked[bucket] += after - before
            found[key] = bucket, after
    _add(conn, {bucket: (0, count) for bucket, count in revoked.items() if count})


def count_certificates(conn: Connection, now: datetime, issuer_id: int | None = None) -> list[CertificateCount]:
    """The counts at `now`, by issuer name and profile."""
    hour = to_epoch(now) // HOUR
    of_issuer = [] if issuer_id is None else [certificate_counts.c.issuer_id == issuer_id]
    rows = conn.execute(_sums.where(*of_issuer), {"hour": hour}).all()
    gone = {
        (row.issuer_id, row.profile): row.gone
        for row in conn.execute(_expired_within_hour, {"begin": hour * HOUR, "now": to_epoch(now)})
    }
    counts = []
    for row in rows:
        expired = int(row.before) + int(gone.get((row.issuer_id, row.profile), 0))
        revoked, issued = int(row.revoked), int(row.issued)
        counts.append(CertificateCount(row.issuer_name, row.profile, issued - revoked - expired, revoked, expired))
    return counts


def _add(conn: Connection, counts: Mapping[_Bucket, tuple[int, int]]) -> None:
    driver.execute_each(conn, _UPSERT, [(*bucket, *numbers) for bucket, numbers in sorted(counts.items())])


_UPSERT = (
    "INSERT INTO certificate_counts (issuer_id, profile, expiry_hour, issued, revoked) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (issuer_id, profile, expiry_hour) DO UPDATE"
    " SET issued = certificate_counts.issued + excluded.issued, revoked = certificate_counts.revoked + excluded.revoked"
)

_of_status = (certificate_status.c.issuer_id == certificates.c.issuer_id) & (
    certificate_status.c.serial == certificates.c.serial
)

_standing = (
    select(
        certificate_status.c.serial, certificate_status.c.revoked_at, certificates.c.profile, certificates.c.not_after
    )
    .join(certificates, certificates.c.id == certificate_status.c.certificate_id)
    .where(
        certificate_status.c.issuer_id == bindparam("issuer"),
        certificate_status.c.serial.in_(bindparam("serials", expanding=True)),
    )
)

_unrevoked = certificate_counts.c.issued - certificate_counts.c.revoked

_sums = (
    select(
        certificate_counts.c.issuer_id,
        certificate_counts.c.profile,
        issuers.c.name.label("issuer_name"),
        func.sum(certificate_counts.c.issued).label("issued"),
        func.sum(certificate_counts.c.revoked).label("revoked"),
        func.sum(case((certificate_counts.c.expiry_hour < bindparam("hour"), _unrevoked), else_=0)).label("before"),
    )
    .join(issuers, issuers.c.id == certificate_counts.c.issuer_id)
    .where(issuers.c.id.in_(visible_ids))
    .group_by(certificate_counts.c.issuer_id, certificate_counts.c.profile, issuers.c.name)
    .order_by(issuers.c.name, certificate_counts.c.profile)
)

# notAfter is the last second of the validity (RFC 5280, section 4.1.2.5).
_expired_within_hour = (
    select(certificates.c.issuer_id, certificates.c.profile, func.count().label("gone"))
    .join(certificate_status, _of_status)
    .where(
        certificates.c.not_after >= bindparam("begin"),
        certificates.c.not_after < bindparam("now"),
        certificate_status.c.revoked_at.is_(None),
    )
    .group_by(certificates.c.issuer_id, certificates.c.profile)
)
