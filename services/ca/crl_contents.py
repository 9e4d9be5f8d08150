"""What is in the revocation lists of the issuers, kept up to date change by change.

Guarantee: after `follow`, the entries of each list are what the status service answers at that position, for every
certificate that has not expired long ago (R111, R113). A million are read once, at the start; from then on a change
costs one change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from services.clock import to_epoch
from services.db import issuers, revocations
from services.db.engine import Connection, Database
from services.db.position import read_position
from services.db.records import FULL, IssuerRecord, Position, RevocationRow
from services.pki.crl_entries import RevokedEntries, encode_entry
from services.pki.reasons import Reason

_logger = structlog.get_logger(__name__)

Key = tuple[int, int]
"""An issuer's id, and one of its scopes."""


@dataclass(frozen=True, slots=True)
class Followed:
    """An issuer with the scopes that it has lists of."""

    issuer: IssuerRecord
    scopes: tuple[int, ...]

    def keys(self, crl_shard: int | None) -> Iterable[Key]:
        """The lists that a certificate of that shard belongs into.

        Certificates that name no shard are in the first one, so that the shards together are complete (R112).
        """
        yield (self.issuer.id, FULL)
        shards = [scope for scope in self.scopes if scope != FULL]
        if shards:
            yield (self.issuer.id, crl_shard if crl_shard in shards else min(shards))

    def same_lists(self, other: Followed) -> bool:
        """Whether nothing has changed that all entries depend on."""
        return self.scopes == other.scopes and self.issuer.compromise == other.issuer.compromise


class Contents:
    """The entries of all lists. For one thread; `entries` may be read by others between two calls of `follow`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._followed: dict[int, Followed] = {}
        self._entries: dict[Key, RevokedEntries] = {}
        self.position = Position("", 0)

    def entries(self, key: Key) -> RevokedEntries:
        """The entries of one list, as of `position`."""
        return self._entries.setdefault(key, RevokedEntries())

    def reload(self, issuer_id: int) -> None:
        """Read everything of this issuer again, the next time."""
        self._followed.pop(issuer_id, None)

    def follow(self, scopes: Mapping[int, tuple[int, ...]], *, since: int, not_before: int) -> dict[Key, int]:
        """Catch up with the database. Returns the lists that changed, each with the revision of its last change.

        `scopes` has those of each issuer, by its id.

        `since` is the revision from which on changes are told at the first time; what has expired before `not_before`
        (seconds since 1970) need not be read any more. Raises Unavailable; then it is to be called again.
        """
        with self._db.read() as conn:
            now = read_position(conn)
            if now.history != self.position.history:
                self._followed.clear()
                self.position = Position(now.history, min(since, now.revision))
            # In the same snapshot: a list that knows of a revision knows of a compromise before it.
            known = {record.id: record for record in issuers.list_issuers(conn)}
            wanted = {id_: Followed(known[id_], each) for id_, each in scopes.items() if id_ in known}
            found = self._load(conn, wanted, not_before)
            found |= self._apply(conn, now.revision, not_before)
        self.position = now
        return found

    def _load(self, conn: Connection, wanted: Mapping[int, Followed], not_before: int) -> dict[Key, int]:
        new = {
            id_: each
            for id_, each in wanted.items()
            if id_ not in self._followed or not self._followed[id_].same_lists(each)
        }
        for key in [key for key in self._entries if key[0] in new or key[0] not in wanted]:
            del self._entries[key]
        self._followed = {id_: each for id_, each in self._followed.items() if id_ in wanted and id_ not in new}
        standing = {id_: each for id_, each in new.items() if each.issuer.compromise is None}
        if standing:
            self._add(standing, revocations.revoked(conn, standing, not_before=not_before))
        found: dict[Key, int] = {}
        for each in new.values():
            if each.issuer.compromise is not None:
                self._load_compromised(conn, each, not_before)
                found |= {(each.issuer.id, scope): each.issuer.compromise.revision for scope in each.scopes}
        self._followed |= new
        if new:
            _logger.info("revoked certificates read", issuers=len(new), entries=sum(map(len, self._entries.values())))
        return found

    def _load_compromised(self, conn: Connection, followed: Followed, not_before: int) -> None:
        """Everything that the issuer ever signed is revoked (docs/decisions/compromised-issuers.md)."""
        rows = revocations.issued(conn, followed.issuer.id, not_before=not_before)
        self._add({followed.issuer.id: followed}, (_as_issuer_stands(row, followed.issuer) for row in rows))

    def _apply(self, conn: Connection, through: int, not_before: int) -> dict[Key, int]:
        found: dict[Key, int] = {}
        for row in revocations.changed(conn, self.position.revision, through):
            followed = self._followed.get(row.issuer_id)
            if followed is None:
                continue
            if followed.issuer.compromise is not None:
                row = _as_issuer_stands(row, followed.issuer)
            if row.revoked_at is None:
                for key in followed.keys(row.crl_shard):
                    self.entries(key).remove(row.serial)
            elif _keep_until(row) >= not_before:
                self._put(followed, row)
            found |= dict.fromkeys(followed.keys(row.crl_shard), row.revision)
        return found

    def _add(self, followed: Mapping[int, Followed], rows: Iterable[RevocationRow]) -> None:
        """Put in what is read for the first time. There are millions of rows: no step more than needed."""
        lists: dict[tuple[int, int | None], list[RevokedEntries]] = {}
        for row in rows:
            issuer_id, serial, shard, not_after, revoked_at, reason, invalidity_at, changed_at, *_ = row
            if revoked_at is None:
                raise ValueError("a certificate that is not revoked has no entry")
            entry = encode_entry(serial, revoked_at, reason or 0, invalidity_at)
            found = lists.get((issuer_id, shard))
            if found is None:
                found = [self.entries(key) for key in followed[issuer_id].keys(shard)]
                lists[issuer_id, shard] = found
            for entries in found:
                entries.add(serial, entry, max(not_after, changed_at))

    def _put(self, followed: Followed, row: RevocationRow) -> None:
        if row.revoked_at is None:
            raise ValueError("a certificate that is not revoked has no entry")
        entry = encode_entry(row.serial, row.revoked_at, row.reason or 0, row.invalidity_at)
        for key in followed.keys(row.crl_shard):
            self.entries(key).put(row.serial, entry, _keep_until(row))


def _keep_until(row: RevocationRow) -> int:
    """A certificate that was revoked after it had expired is shown at least once, too."""
    return max(row.not_after, row.changed_at)


def _as_issuer_stands(row: RevocationRow, issuer: IssuerRecord) -> RevocationRow:
    """As `services.status.compromise` has it: an earlier revocation of its own stands, an earlier hold as its time."""
    if issuer.compromise is None:
        return row
    by_issuer = issuer.compromise.revocation
    invalidity = None if by_issuer.invalidity_at is None else to_epoch(by_issuer.invalidity_at)
    since = to_epoch(by_issuer.revoked_at)
    if row.revoked_at is not None and row.revoked_at <= since:
        if row.reason != Reason.CERTIFICATE_HOLD:
            return row
        since = row.revoked_at
    return row._replace(revoked_at=since, reason=by_issuer.reason, invalidity_at=invalidity)
