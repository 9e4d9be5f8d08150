"""What a watcher is told, and when: the server's side of the freshness protocol, free of I/O, tasks and clocks.

Database reads are numbered in the order in which they begin. Guarantees, for every order of calls:

* A pong is told only from a read that began after its ping arrived, and behind every change up to the revision read.
* A watcher that cannot be brought up to date change by change is told to drop everything, before anything else.
* What is held for one watcher does not grow, however slowly it reads and however often it pings.

Bounded freshness (G3) rests on the first of these: see docs/freshness.md.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.db.records import IssuerRecord, Position, StatusRecord

MAX_CHANGES_BEHIND = 65_536
MAX_CHANGES_PER_MESSAGE = 1_000


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of statuses and issuers, coalesced. All changes up to `through` are in this message or those before."""

    statuses: tuple[StatusRecord, ...]
    issuers: tuple[IssuerRecord, ...]
    through: int

    def __len__(self) -> int:
        return len(self.statuses) + len(self.issuers)

    def after(self, revision: int) -> Changes:
        """Those of the changes that are later than `revision`."""
        return Changes(
            tuple(record for record in self.statuses if record.revision > revision),
            tuple(record for record in self.issuers if record.revision > revision),
            self.through,
        )


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers the ping `id`, and all before it."""

    id: int
    revision: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The watcher drops everything, and goes on from `position`."""

    position: Position


Message = Changes | Pong | Reset


class ChangeLog:
    """The latest changes, of one history; shared by all watchers.

    Holds the last `capacity` changes or a few more, in parts that a message can carry. Changes with a revision in
    (floor, position.revision] are in it. `epoch` counts how often it was begun anew.
    """

    def __init__(self, capacity: int = MAX_CHANGES_BEHIND) -> None:
        self._capacity = capacity
        self._size = 0
        self._parts: list[Changes] = []
        self._ends: list[int] = []
        self.position = Position("", 0)
        self.floor = 0
        self.epoch = 0

    def restart(self, position: Position) -> None:
        """Begin anew at `position`, with no changes: another history, or the same one gone back."""
        self._size = 0
        self._parts, self._ends = [], []
        self.position, self.floor = position, position.revision
        self.epoch += 1

    def extend(self, parts: Sequence[Changes], through: int) -> None:
        """Add all changes up to `through`, in order. A part is told whole, and so has at most a message's changes."""
        for part in parts:
            if len(part):
                self._parts.append(part)
                self._ends.append(part.through)
                self._size += len(part)
        self.position = Position(self.position.history, through)
        self._trim()

    def after(self, revision: int, limit: int) -> Changes:
        """The first changes after `revision` (not below the floor): at most `limit`, or one part."""
        first = bisect_right(self._ends, revision)
        if first == len(self._parts):
            return Changes((), (), self.position.revision)
        last, size = first + 1, len(self._parts[first])
        while last < len(self._parts) and size + len(self._parts[last]) <= limit:
            size += len(self._parts[last])
            last += 1
        through = self.position.revision if last == len(self._parts) else self._ends[last - 1]
        return _coalesce([self._parts[first].after(revision), *self._parts[first + 1 : last]], through)

    def _trim(self) -> None:
        drop = 0
        while drop < len(self._parts) and self._size - len(self._parts[drop]) >= self._capacity:
            self._size -= len(self._parts[drop])
            self.floor = self._ends[drop]
            drop += 1
        del self._parts[:drop], self._ends[:drop]


def _coalesce(parts: Sequence[Changes], through: int) -> Changes:
    """All changes of consecutive parts, the latest of each certificate and issuer only, in the order of revisions."""
    if len(parts) == 1:
        return Changes(parts[0].statuses, parts[0].issuers, through)
    statuses = {(record.issuer_id, record.serial): record for part in parts for record in part.statuses}
    issuers = {record.id: record for part in parts for record in part.issuers}
    return Changes(
        tuple(sorted(statuses.values(), key=lambda record: record.revision)),
        tuple(sorted(issuers.values(), key=lambda record: record.revision)),
        through,
    )


@dataclass(slots=True)
class Watcher:
    """One watcher: what it says goes in, what it is to be told comes out."""

    limit: int = MAX_CHANGES_PER_MESSAGE
    _claim: Position | None = None
    """Where it says it is, until the first read that began after it said so."""
    _claim_needs: int = 0
    _epoch: int | None = None
    """The epoch of the log that it follows; None before it follows any."""
    _told: int = 0
    """All changes up to this revision were told."""
    _pings: list[tuple[int, int]] = field(default_factory=list)
    """Ping and the number of the first read that answers it, oldest first, two at most."""

    @property
    def is_waiting(self) -> bool:
        """Whether it is owed an answer."""
        return self._claim is not None or bool(self._pings)

    def start(self, claim: Position, reads_begun: int) -> None:
        """It began, saying that it knows all changes up to `claim`; `reads_begun` reads had begun by then."""
        self._claim, self._claim_needs = claim, reads_begun + 1

    def ping(self, ping_id: int, reads_begun: int) -> None:
        """A ping arrived when `reads_begun` reads had begun."""
        # The oldest stays as it is, and the newer ones become one. Without that, pings that come faster than reads end
        # would put each other off for ever.
        del self._pings[1:]
        if self._pings and self._pings[0][1] > reads_begun:
            del self._pings[0]
        self._pings.append((ping_id, reads_begun + 1))

    def next_message(self, log: ChangeLog, read: int) -> Message | None:
        """What to tell it now, if anything. `log` holds what the read numbered `read`, the latest, has found."""
        if self._claim is not None:
            return self._first_message(log, read)
        if self._epoch is None:
            return None
        if self._epoch != log.epoch or self._told < log.floor:
            return self._reset(log)
        while self._told < log.position.revision:
            changes = log.after(self._told, self.limit)
            self._told = changes.through
            if len(changes):
                return changes
        return self._pong(log, read)

    def _first_message(self, log: ChangeLog, read: int) -> Message | None:
        claim = self._claim
        if claim is None or read < self._claim_needs:
            # An earlier read may be behind the watcher, which would look as if it came from the future.
            return None
        self._claim = None
        if claim.history != log.position.history or not log.floor <= claim.revision <= log.position.revision:
            return self._reset(log)
        self._epoch, self._told = log.epoch, claim.revision
        return self.next_message(log, read)

    def _reset(self, log: ChangeLog) -> Reset:
        self._epoch, self._told = log.epoch, log.position.revision
        return Reset(log.position)

    def _pong(self, log: ChangeLog, read: int) -> Pong | None:
        answered = [ping_id for ping_id, needs in self._pings if needs <= read]
        if not answered:
            return None
        del self._pings[: len(answered)]
        return Pong(answered[-1], log.position.revision)
