"""Whether revocation lists are current, for health: read from the database, whatever has become of who makes them."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from services.ca.issuers import IssuerDirectory
from services.clock import Clock
from services.db import crls
from services.db.engine import Database

_logger = structlog.get_logger(__name__)

LATE = timedelta(hours=1)
"""How much later than on schedule a list may come."""


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
        names = {record.id: (f"crl/{record.name}", record.key_ref is not None) for record in self._directory.all()}
        now, found = self._clock(), dict[str, bool]()
        with self._db.read_each() as conn:
            times = crls.newest_times(conn)
        for issuer_id, this_update, next_update in times:
            if issuer_id in names:
                name, is_made_here = names[issuer_id]
                current = self._is_current(this_update, next_update, now, is_made_here=is_made_here)
                found[name] = found.get(name, True) and current
        stale = frozenset(name for name, current in found.items() if not current)
        for name in stale - self._stale:
            _logger.error("revocation lists are not current", issuer=name.removeprefix("crl/"))
        self._stale = stale
        return found

    def _is_current(
        self, this_update: datetime | None, next_update: datetime | None, now: datetime, *, is_made_here: bool
    ) -> bool:
        if this_update is None or next_update is None or next_update <= now:
            return False
        return not is_made_here or now - this_update <= self._interval + LATE
