"""Public keys that are never certified again (R103), by the SHA-256 of their SubjectPublicKeyInfo."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, tuple_

from services.clock import from_epoch, to_epoch
from services.db import driver
from services.db.models import blocked_keys, certificate_status, certificates
from services.db.records import BlockedKey, StatusChange
from services.db.rows import actor_values, read_actor
from services.pki.reasons import COMPROMISES

_PARAMETERS = 500
"""In one statement; SQLite and PostgreSQL take some more."""

_IMPORTED = "imported"
"""The profile of certificates that were issued elsewhere."""

_among = driver.Selection("SELECT public_key_sha256 FROM blocked_keys WHERE public_key_sha256 IN")
_named = blocked_keys.c.public_key_sha256.in_(bindparam("hashes", expanding=True))
_blocked_by_revocation = select(blocked_keys.c.public_key_sha256).where(_named, blocked_keys.c.source == "revocation")
_unblock = delete(blocked_keys).where(_named)
_compromised = (
    select(certificates.c.public_key_sha256)
    .join(certificate_status, certificate_status.c.certificate_id == certificates.c.id)
    .where(
        certificates.c.public_key_sha256.in_(bindparam("hashes", expanding=True)),
        certificate_status.c.revoked_at.is_not(None),
        certificate_status.c.reason.in_(sorted(int(reason) for reason in COMPROMISES)),
    )
    .distinct()
)
_IN_USE = tuple(
    "SELECT 1 FROM (SELECT issuer_id, serial, profile FROM certificates WHERE public_key_sha256 = ?"  # noqa: S608
    f" ORDER BY id {direction} LIMIT 1000) c JOIN certificate_status s ON s.issuer_id = c.issuer_id"
    f" AND s.serial = c.serial WHERE c.profile <> '{_IMPORTED}' AND s.revoked_at IS NULL LIMIT 1"
    for direction in ("ASC", "DESC")
)
_keys_of = (
    select(certificate_status.c.issuer_id, certificate_status.c.serial, certificates.c.public_key_sha256)
    .join(certificates, certificates.c.id == certificate_status.c.certificate_id)
    .where(
        tuple_(certificate_status.c.issuer_id, certificate_status.c.serial).in_(bindparam("places", expanding=True)),
        certificates.c.public_key_sha256.is_not(None),
    )
)


def find_blocked(conn: Connection, hashes: Iterable[bytes]) -> frozenset[bytes]:
    """Which of these keys are blocked."""
    return frozenset(row[0] for row in _among.run(conn, list(dict.fromkeys(hashes))))


def block_keys(conn: Connection, keys: Sequence[BlockedKey]) -> int:
    """Block keys, and return how many of them were not blocked yet; what is recorded of the others stays."""
    known = find_blocked(conn, (key.public_key_sha256 for key in keys))
    new = {key.public_key_sha256: key for key in reversed(keys) if key.public_key_sha256 not in known}
    if new:
        conn.execute(insert(blocked_keys), [_values(key) for key in new.values()])
    return len(new)


def find_compromised(conn: Connection, hashes: Iterable[bytes]) -> frozenset[bytes]:
    """Which of these keys are in a certificate that is revoked for a compromise, or were blocked by such a one."""
    wanted = list(dict.fromkeys(hashes))
    found: set[bytes] = set()
    for begin in range(0, len(wanted), _PARAMETERS):
        some = {"hashes": wanted[begin : begin + _PARAMETERS]}
        found.update(conn.execute(_blocked_by_revocation, some).scalars())
        found.update(conn.execute(_compromised, some).scalars())
    return frozenset(found)


def unblock_keys(conn: Connection, hashes: Sequence[bytes]) -> int:
    """Take keys off the list, and return how many were on it. None of them may be one of `find_compromised`."""
    count = 0
    for begin in range(0, len(hashes), _PARAMETERS):
        count += conn.execute(_unblock, {"hashes": hashes[begin : begin + _PARAMETERS]}).rowcount
    return count


def keys_of(conn: Connection, changes: Sequence[StatusChange]) -> list[tuple[StatusChange, bytes]]:
    """The keys of the certificates whose status changes, as far as they are known."""
    if not changes:
        return []
    by_place = {(change.issuer_id, change.serial): change for change in changes}
    places = list(by_place)
    found = []
    for begin in range(0, len(places), _PARAMETERS // 2):
        rows = conn.execute(_keys_of, {"places": places[begin : begin + _PARAMETERS // 2]})
        found += [(by_place[row.issuer_id, row.serial], row.public_key_sha256) for row in rows]
    return found


def find_in_use(conn: Connection, hashes: Iterable[bytes]) -> frozenset[bytes]:
    """Which of these keys are not blocked, and in a certificate that was issued here and is not revoked.

    Of each key the first and the last thousand certificates are looked at: other CAs may have it in millions.
    """
    wanted = frozenset(hashes)
    wanted -= find_blocked(conn, wanted)
    return frozenset(each for each in wanted if any(driver.execute(conn, sql, (each,)).first() for sql in _IN_USE))


def list_blocked(conn: Connection, *, limit: int, after: bytes | None = None) -> list[BlockedKey]:
    """The next `limit` keys in the order of their hashes."""
    query = select(blocked_keys).order_by(blocked_keys.c.public_key_sha256).limit(limit)
    if after is not None:
        query = query.where(blocked_keys.c.public_key_sha256 > after)
    return [_record(row) for row in conn.execute(query)]


def get_blocked(conn: Connection, public_key_sha256: bytes) -> BlockedKey | None:
    """What is recorded of that key, if it is blocked."""
    row = conn.execute(select(blocked_keys).where(blocked_keys.c.public_key_sha256 == public_key_sha256)).one_or_none()
    return None if row is None else _record(row)


def _values(key: BlockedKey) -> dict[str, Any]:
    return {
        "public_key_sha256": key.public_key_sha256,
        "source": key.source,
        "comment": key.comment,
        "blocked_at": to_epoch(key.blocked_at),
        **actor_values(key.actor),
    }


def _record(row: Row[Any]) -> BlockedKey:
    return BlockedKey(row.public_key_sha256, row.source, row.comment, from_epoch(row.blocked_at), read_actor(row))
