"""Reads the database's position for all watchers together, and keeps the log of changes that they are told from.

Guarantees: reads are numbered before they begin, so that a watcher can tell which of them answer its ping; the number
and the log move together, and only after a read that went well. While the database cannot be read nothing moves. Cost
while nothing changes: one small query per interval, in a thread; the event loop is woken only when somebody waits.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from services.db.engine import Connection, Database
from services.db.issuers import issuers_changed_between, list_issuers
from services.db.position import read_position
from services.db.records import IssuerRecord, Position
from services.db.status import changes_between, has_more_changes_than
from services.errors import DomainError
from services.status.watch import MAX_CHANGES_BEHIND, MAX_CHANGES_PER_MESSAGE, ChangeLog, Changes

_logger = structlog.get_logger(__name__)

_MIN_GAP = 0.005
"""Seconds between the beginnings of two reads, however many pings wait."""
_RETRY = 0.1
"""Seconds between reads while the database is away."""
_STOP = 10.0
"""Seconds that stopping waits for a read in progress."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one read found. `restart_at` is the revision that a new log begins after; None where the log goes on."""

    number: int
    position: Position
    restart_at: int | None = None
    parts: tuple[Changes, ...] = ()
    issuers: tuple[IssuerRecord, ...] = ()
    """All issuers where the log begins anew; those that changed otherwise."""


class PositionHub:
    """One poller for all watchers. Everything but the poller's own thread runs on the event loop.

    `log` and `number` are the state after the latest good read, and `reads_begun` is how many reads have begun;
    `issuers` has every issuer in the log, by id. `is_available` says whether the latest read went well, and
    `on_available` is called when that changes.
    """

    def __init__(
        self, db: Database, *, interval: float = 0.025, on_available: Callable[[bool], None] = lambda _available: None
    ) -> None:
        self.log = ChangeLog()
        self.issuers: dict[int, IssuerRecord] = {}
        self.number = 0
        self.reads_begun = 0
        self.is_available = False
        self._db = db
        self._interval = interval
        self._on_available = on_available
        self._watchers: set[asyncio.Event] = set()
        self._wake = threading.Event()
        self._stopping = False
        self._wanted = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        # The thread's own: what it has handed to the loop so far.
        self._known: Position | None = None
        self._handed = 0
        self._failed: bool | None = None

    def start(self) -> None:
        """Begin polling, and tell the running event loop what is found."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="position-hub", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stop polling, and wait for the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, _STOP)

    @contextmanager
    def watching(self, changed: asyncio.Event) -> Iterator[None]:
        """Within the block `changed` is set whenever `log` or `number` moved."""
        self._watchers.add(changed)
        try:
            yield
        finally:
            self._watchers.discard(changed)

    def want_read(self) -> None:
        """Begin another read soon, and publish its number even if it finds nothing new."""
        self._wanted = self.reads_begun + 1
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            self._read()
            self._wake.wait(max(0.0, began + self._interval - time.monotonic()))
            gap = _RETRY if self._failed else _MIN_GAP
            time.sleep(max(0.0, began + gap - time.monotonic()))
            self._wake.clear()

    def _read(self) -> None:
        # The number goes up before the read begins: whoever saw the old number is answered by a later read only.
        self.reads_begun += 1
        number = self.reads_begun
        try:
            with self._db.read() as conn:
                reading = self._look(conn, number)
        except Exception as error:  # noqa: BLE001 - logged; a poller that ends would leave watchers waiting for ever
            self._fail(error)
            return
        moved = reading.position != self._known
        if moved or self._failed is not False or self._handed < self._wanted:
            self._known, self._handed, self._failed = reading.position, number, False
            self._call(self._publish, reading)

    def _look(self, conn: Connection, number: int) -> _Reading:
        position, known = read_position(conn), self._known
        if position == known:
            return _Reading(number, position)
        after = _resume_after(conn, known, position)
        parts = tuple(_read_changes(conn, after, position.revision))
        goes_on = known is not None and known.history == position.history and known.revision == after
        if goes_on:
            return _Reading(number, position, None, parts, tuple(issuer for part in parts for issuer in part.issuers))
        return _Reading(number, position, after, parts, tuple(list_issuers(conn)))

    def _fail(self, error: Exception) -> None:
        if self._failed is True:
            return
        self._failed = True
        _logger.error("cannot read the database", reason=getattr(error, "reason", ""), exc_info=_traceback_of(error))
        self._call(self._set_available, False)

    def _call(self, function: Callable[..., None], *args: object) -> None:
        if self._loop is None or self._stopping:
            return
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            self._stopping = True  # the loop is closed, and nobody is left to tell

    def _publish(self, reading: _Reading) -> None:
        position = reading.position
        if reading.restart_at is not None:
            self.log.restart(Position(position.history, reading.restart_at))
            self.issuers = {}
        self.log.extend(reading.parts, position.revision)
        self.issuers.update((issuer.id, issuer) for issuer in reading.issuers)
        self.number = reading.number
        self._set_available(True)
        for changed in self._watchers:
            changed.set()

    def _set_available(self, available: bool) -> None:
        if available != self.is_available:
            self.is_available = available
            self._on_available(available)


def _resume_after(conn: Connection, known: Position | None, position: Position) -> int:
    """The revision after which changes are to be read: at most MAX_CHANGES_BEHIND of them.

    The database's own place, with nothing to read, where it has another history than before or went back.
    """
    revision = position.revision
    if known is None:
        return 0 if not has_more_changes_than(conn, 0, MAX_CHANGES_BEHIND) else max(0, revision - MAX_CHANGES_BEHIND)
    if known.history != position.history or known.revision > revision:
        return revision
    is_far = revision - known.revision > MAX_CHANGES_BEHIND
    return revision if is_far and has_more_changes_than(conn, known.revision, MAX_CHANGES_BEHIND) else known.revision


def _read_changes(conn: Connection, after: int, through: int) -> Iterator[Changes]:
    """All changes in (after, through], in parts of a message's size."""
    while after < through:
        found = changes_between(conn, after, through, MAX_CHANGES_PER_MESSAGE)
        issuers = issuers_changed_between(conn, after, found.through_revision)
        yield Changes(found.records, tuple(issuers), found.through_revision)
        after = found.through_revision


def _traceback_of(error: Exception) -> Exception | None:
    """Domain errors say all there is to say; anything else is a surprise, and its traceback is wanted."""
    return None if isinstance(error, DomainError) else error
