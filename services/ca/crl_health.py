"""Whether revocation lists are current, for health: read from the database, whatever has become of who makes them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from services.ca.issuers import IssuerDirectory
from services.clock import Clock
from services.db import crls
from services.db.engine import Database
from services.db.records import FULL, IssuerRecord

_logger = structlog.get_logger(__name__)

LATE = timedelta(hours=1)
"""How much later than on schedule a list may come."""


class _Times(NamedTuple):
    this_update: datetime | None
    next_update: datetime | None


class CrlHealth:
    """Looks at the newest list of each scope. `interval` is how often there is to be one (R109)."""

    def __init__(self, db: Database, directory: IssuerDirectory, interval: timedelta, clock: Clock) -> None:
        self._db = db
        self._directory = directory
        self._interval = interval
        self._clock = clock
        self._stale: frozenset[str] = frozenset()

    def look(self) -> dict[str, bool]:
        """Issuers with lists, as "crl/NAME": whether the full list and all shards are current. Raises DomainError.

        None may be over; and those that are made here have to be made on time.
        """
        issuers = {record.id: record for record in self._directory.all()}
        now, found = self._clock(), dict[str, bool]()
        with self._db.read_each() as conn:
            times = [(scope, _Times(*each)) for scope, *each in crls.newest_times(conn)]
        full = {scope.issuer_id: each for scope, each in times if scope.scope == FULL}
        for scope, each in times:
            if (issuer := issuers.get(scope.issuer_id)) is not None:
                name = f"crl/{issuer.name}"
                found[name] = found.get(name, True) and self._is_current(each, full.get(issuer.id, each), issuer, now)
        stale = frozenset(name for name, current in found.items() if not current)
        for name in stale - self._stale:
            _logger.error("revocation lists are not current", issuer=name.removeprefix("crl/"))
        self._stale = stale
        return found

    def _is_current(self, newest: _Times, full: _Times, issuer: IssuerRecord, now: datetime) -> bool:
        is_made_here = issuer.key_ref is not None
        if not is_made_here and newest.this_update and full.this_update and full.this_update > newest.this_update:
            newest = full  # that is what is given out for a shard, too
        if newest.this_update is None or newest.next_update is None or newest.next_update <= now:
            return False
        return not is_made_here or now - newest.this_update <= self._interval + LATE
