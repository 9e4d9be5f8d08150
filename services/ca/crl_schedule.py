"""When revocation lists are made: at the start if there is none, every so often, and soon after a change.

Guarantees: every issuer whose key is here has a current full list, and a current one of each of its shards (R109); a
change is in a list within seconds, unless making one takes longer; lists that others have made already are not made
again. Whatever goes wrong is logged, counted and tried again.

One thread follows the database; lists that are due at the same time are signed side by side.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self

import structlog

from services.ca.crl_contents import Contents, Key
from services.ca.crl_figures import CrlFigures
from services.ca.crl_making import SLACK, make_crl
from services.ca.crl_points import CrlPoints
from services.ca.issuers import IssuerDirectory
from services.clock import Clock, to_epoch
from services.db import crls
from services.db.engine import Database
from services.db.position import advance, read_position
from services.db.records import FULL, CrlDescription, CrlScope, IssuerRecord, IssuerState, Position
from services.errors import AlreadyExists, DomainError, Unavailable
from services.pki.issuers import Issuer

_logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
LOOK_SECONDS = 5.0
"""How long a look at everything is put off where nothing has changed."""
COALESCE_SECONDS = 1.0
"""How long after the first change to wait for more of them."""
REST = 4.0
"""How many times as long as a list took to make its next one waits: so making them takes a fifth of a core at most."""
RETRY_SECONDS = 5.0
CLOSE_SECONDS = 5.0
THREADS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CrlTimes:
    """How long lists are valid, and how often there is a new one without any change."""

    validity: timedelta = timedelta(days=7)
    interval: timedelta = timedelta(days=1)


@dataclass(slots=True)
class _Scope:
    """What is known of the lists of one scope."""

    scope: CrlScope
    issuer: IssuerRecord
    signer: Issuer
    newest: CrlDescription | None = None
    scheduled: CrlDescription | None = None
    changed_by: int = 0
    changed_at: float = field(default=float("-inf"))
    rest_until: float = field(default=float("-inf"))

    @property
    def key(self) -> Key:
        return (self.scope.issuer_id, self.scope.scope)

    @property
    def lacks_changes(self) -> bool:
        return self.newest is None or self.changed_by > self.newest.revision


class CrlSchedule:
    """Makes the lists. `start` and `close`, or `step` by hand."""

    def __init__(
        self,
        db: Database,
        directory: IssuerDirectory,
        points: CrlPoints,
        times: CrlTimes | None = None,
        *,
        clock: Clock,
        figures: CrlFigures | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._db = db
        self._directory = directory
        self._points = points
        self._times = times or CrlTimes()
        self._clock = clock
        self._figures = figures or CrlFigures()
        self._ticks = ticks
        self._contents = Contents(db)
        self._scopes: dict[Key, _Scope] = {}
        self._records: tuple[IssuerRecord, ...] = ()
        self._looked_at = float("-inf")
        self._seen: Position | None = None
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ca-crl")
        self._thread = threading.Thread(target=self._run, name="ca-crls", daemon=True)

    def start(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def close(self) -> None:
        """Finish the lists that are being made, and end; whatever takes longer is given up, which breaks nothing."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)
        self._pool.shutdown(cancel_futures=True)

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                self.step()
            except Exception as error:
                self._figures.failed()
                reason = error.reason if isinstance(error, DomainError) else None
                _logger.warning("revocation lists cannot be made now", reason=reason, exc_info=reason is None)
                self._stop.wait(RETRY_SECONDS)

    def step(self) -> int:
        """Catch up with the database, and make what is due. Returns how many lists were made. Raises DomainError."""
        now, ticks = self._clock(), self._ticks()
        moved = self._has_moved()
        if ticks - self._looked_at >= LOOK_SECONDS or self._directory.all() != self._records:
            self._look(now)
            self._looked_at, moved = ticks, True
        if moved:
            self._follow(ticks)
        due = [scope for scope in self._scopes.values() if self._is_due(scope, now, ticks)]
        if not due:
            return 0
        self._refresh_compromised(due, now)
        # What is made knows of everything up to here.
        return sum(self._pool.map(lambda scope: self._make(scope, now), due))

    def _has_moved(self) -> bool:
        with self._db.read_each() as conn:
            position = read_position(conn)
        moved = position != self._seen
        if self._seen is not None and position.history != self._seen.history:
            self._scopes.clear()
            self._looked_at = float("-inf")
        self._seen = position
        return moved

    def _look(self, now: datetime) -> None:
        """Which lists there are to be, and which there are."""
        self._records = self._directory.all()
        issuers = {record.id: (record, signer) for record, signer in self._held()}
        self._see_to_scopes(record for record, _ in issuers.values())
        found: dict[Key, _Scope] = {}
        with self._db.read() as conn:
            for record, signer in issuers.values():
                for scope in crls.scopes_of(conn, record.id):
                    known = self._scopes.get((record.id, scope.scope)) or _Scope(scope, record, signer)
                    known.issuer, known.signer = record, signer
                    if known.newest is None:
                        known.newest = crls.newest_list(conn, record.id, scope.scope)
                        known.scheduled = crls.newest_list(conn, record.id, scope.scope, scheduled=True)
                        self._tell(known)
                    found[known.key] = known
            for record in self._records:
                if record.id not in issuers and (newest := crls.newest_list(conn, record.id, FULL)):
                    self._figures.offline(record.name, newest, now)
        self._scopes = found

    def _tell(self, scope: _Scope) -> None:
        if scope.newest is not None:
            self._figures.newest(scope.issuer.name, scope.newest)

    def _held(self) -> Iterable[tuple[IssuerRecord, Issuer]]:
        """The issuers whose keys are here, retired ones too: what they signed may still be revoked."""
        for record in self._records:
            try:
                yield record, self._directory.with_key(record).signer
            except Unavailable:
                continue

    def _see_to_scopes(self, records: Iterable[IssuerRecord]) -> None:
        for record in records:
            if not any(key[0] == record.id for key in self._scopes):
                with self._db.read_each() as conn:
                    missing = all(scope.scope != FULL for scope in crls.scopes_of(conn, record.id))
                if missing:
                    with self._db.write() as conn:
                        advance(conn, 1)
                        crls.add_full_scope(conn, record.id)
            if record.state is IssuerState.ACTIVE:
                self._points.shards(record)

    def _follow(self, ticks: float) -> None:
        scopes: dict[int, list[int]] = {}
        for issuer_id, scope in self._scopes:
            scopes.setdefault(issuer_id, []).append(scope)
        wanted = {issuer_id: tuple(each) for issuer_id, each in scopes.items()}
        known = [0 if each.newest is None else each.newest.revision for each in self._scopes.values()]
        shown = [_shown(each) for each in self._scopes.values()]
        changed = self._contents.follow(wanted, since=min(known, default=0), not_before=min(shown, default=0))
        for key, revision in changed.items():
            state = self._scopes[key]
            if not state.lacks_changes:
                state.changed_at = ticks
            state.changed_by = max(state.changed_by, revision)

    def _is_due(self, scope: _Scope, now: datetime, ticks: float) -> bool:
        if ticks < scope.rest_until:
            return False
        settled = ticks - scope.changed_at >= COALESCE_SECONDS
        return self._is_scheduled(scope, now) or (scope.lacks_changes and settled)

    def _is_scheduled(self, scope: _Scope, now: datetime) -> bool:
        """Whether a list is due without any change, a clock that was set back among the reasons."""
        if scope.scheduled is None or scope.newest is None:
            return True
        return not timedelta(0) <= now - scope.scheduled.this_update < self._times.interval

    def _refresh_compromised(self, due: Iterable[_Scope], now: datetime) -> None:
        """Whatever a compromised issuer has signed since is revoked as well, though nobody revoked it."""
        ids = {scope.issuer.id for scope in due if scope.issuer.compromise and self._is_scheduled(scope, now)}
        for id_ in ids:
            self._contents.reload(id_)
        if ids:
            self._follow(self._ticks())

    def _make(self, scope: _Scope, now: datetime) -> bool:
        began = self._ticks()
        try:
            return self._make_next(scope, now)
        except AlreadyExists as superseded:
            _logger.info("another process was quicker with a revocation list", reason=superseded.reason)
            return False
        except DomainError as error:
            self._figures.failed()
            _logger.warning("a revocation list cannot be made", issuer=scope.issuer.name, reason=error.reason)
            scope.rest_until = self._ticks() + RETRY_SECONDS
            return False
        except Exception:
            self._figures.failed()
            _logger.exception("a revocation list cannot be made", issuer=scope.issuer.name)
            scope.rest_until = self._ticks() + RETRY_SECONDS
            return False
        finally:
            took = self._ticks() - began
            scope.rest_until = max(scope.rest_until, self._ticks() + REST * took)

    def _make_next(self, scope: _Scope, now: datetime) -> bool:
        with self._db.read() as conn:
            scope.newest = crls.newest_list(conn, *scope.key)
            scope.scheduled = crls.newest_list(conn, *scope.key, scheduled=True)
        self._tell(scope)
        scheduled = self._is_scheduled(scope, now)
        if not scheduled and not scope.lacks_changes:
            return False  # another process has made it
        began = self._ticks()
        entries = self._contents.entries(scope.key)
        entries.drop_before(_shown(scope))
        crl = make_crl(
            self._db,
            scope.signer,
            scope.scope,
            entries,
            revision=self._contents.position.revision,
            this_update=now,
            next_update=now + self._times.validity,
            scheduled=scheduled,
        )
        scope.newest = crl
        if scheduled:
            scope.scheduled = crl
        seconds = self._ticks() - began
        self._tell(scope)
        self._figures.made(seconds)
        _logger.info(
            "revocation list made",
            issuer=scope.issuer.name,
            scope=scope.scope.scope,
            number=crl.number,
            entries=crl.entries,
            bytes=crl.size,
            seconds=round(seconds, 3),
        )
        return True


def _shown(scope: _Scope) -> int:
    """What had expired before this time, in seconds since 1970, a scheduled list has shown: it may go (R111)."""
    return 0 if scope.scheduled is None else to_epoch(scope.scheduled.this_update - SLACK)
