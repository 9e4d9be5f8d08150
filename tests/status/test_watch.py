"""The state machine of a watch: case by case, and in thousands of random interleavings with a database (G3)."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest

from services.db.records import IssuerRecord, IssuerState, Position, StatusRecord
from services.status.watch import ChangeLog, Changes, Message, Pong, Reset, Watcher
from tests.status.builders import LATER, NOW, number

HERE = "history"


def record(certificate: int, revision: int) -> StatusRecord:
    """A change of a certificate."""
    return StatusRecord(1, number(certificate), certificate, LATER, None, NOW, revision)


def issuer(revision: int) -> IssuerRecord:
    """A change of an issuer."""
    return IssuerRecord(1, "issuing", IssuerState.ACTIVE, b"", b"", (b"",), (), None, revision)


def part(*revisions: int, certificates: Iterable[int] = (), through: int | None = None) -> Changes:
    """Changes with these revisions, each of another certificate unless told otherwise."""
    which = list(certificates) or list(revisions)
    records = tuple(record(*pair) for pair in zip(which, revisions, strict=True))
    return Changes(records, (), revisions[-1] if through is None else through)


def make_log(*parts: Changes, through: int, floor: int = 0, capacity: int = 100) -> ChangeLog:
    """A log that was filled part by part."""
    log = ChangeLog(capacity)
    log.restart(Position(HERE, floor))
    log.extend(parts, through)
    return log


def started(log: ChangeLog, revision: int, *, history: str = HERE, limit: int = 1000) -> Watcher:
    """A watcher that has just started from that revision; reads up to number 1 began before."""
    watcher = Watcher(limit)
    watcher.start(Position(history, revision), 1)
    return watcher


def drain(watcher: Watcher, log: ChangeLog, read: int) -> list[Message]:
    """All that it is told now."""
    told: list[Message] = []
    while (message := watcher.next_message(log, read)) is not None:
        told.append(message)
    return told


def test_a_resumed_watcher_is_told_what_it_missed() -> None:
    """Changes after its revision, in order, up to the position of the read."""
    log = make_log(part(3, 5), part(8), through=9)
    assert drain(started(log, 3), log, 2) == [Changes((record(5, 5), record(8, 8)), (), 9)]


def test_an_up_to_date_watcher_is_told_nothing() -> None:
    """Silence costs nothing while nothing changes."""
    log = make_log(part(3, 5), through=9)
    assert drain(started(log, 9), log, 2) == []
    assert drain(started(log, 6), log, 2) == []


@pytest.mark.parametrize(
    ("revision", "history"),
    [(9, "other"), (9, ""), (10, HERE), (1, HERE), (-1, HERE)],
    ids=["another history", "no history", "from the future", "too far behind", "negative"],
)
def test_a_watcher_that_cannot_go_on_is_reset_first(revision: int, history: str) -> None:
    """It drops everything, and goes on from where the database is."""
    log = make_log(part(3, 5), part(8), through=9, floor=2)
    watcher = started(log, revision, history=history)
    watcher.ping(7, 1)
    assert drain(watcher, log, 2) == [Reset(Position(HERE, 9)), Pong(7, 9)]


def test_nothing_is_told_before_the_start() -> None:
    """Not even that it has to drop everything: it may be about to say something that fits."""
    log = make_log(part(3, 5), through=5)
    assert drain(Watcher(), log, 2) == []


def test_start_is_judged_by_a_later_read() -> None:
    """A read that began before the start may be behind the watcher, and says nothing about it."""
    log = make_log(through=5)
    watcher = started(log, 6)
    assert drain(watcher, log, 1) == []
    log.extend([part(6)], 6)
    assert drain(watcher, log, 2) == []


def test_a_pong_waits_for_a_read_that_began_after_its_ping() -> None:
    """A read in progress when the ping arrived proves nothing about it."""
    log = make_log(through=5)
    watcher = started(log, 5)
    watcher.ping(1, 4)
    assert drain(watcher, log, 4) == []
    assert drain(watcher, log, 5) == [Pong(1, 5)]
    assert drain(watcher, log, 6) == []


def test_a_pong_comes_behind_all_changes() -> None:
    """However many messages they take."""
    log = make_log(part(1, 2), part(3, 4), part(5), through=5)
    watcher = started(log, 0, limit=3)
    watcher.ping(1, 1)
    assert drain(watcher, log, 2) == [part(1, 2, through=2), part(3, 4, 5), Pong(1, 5)]


def test_a_part_with_nothing_new_holds_nothing_up() -> None:
    """A part may reach beyond its last change, and a watcher may come back from in between."""
    log = make_log(part(1, 2, through=5), part(6, 7), through=7)
    watcher = started(log, 3, limit=2)
    watcher.ping(1, 1)
    assert drain(watcher, log, 2) == [part(6, 7), Pong(1, 7)]


def test_changes_are_coalesced_per_certificate_and_issuer() -> None:
    """Only the latest of a certificate is told, at its place in the order of revisions."""
    log = make_log(
        part(1, 2, certificates=(7, 8)),
        Changes((), (issuer(3),), 3),
        Changes((record(7, 4),), (issuer(5),), 5),
        through=6,
    )
    assert drain(started(log, 0), log, 2) == [Changes((record(8, 2), record(7, 4)), (issuer(5),), 6)]


def test_pings_are_answered_by_the_newest() -> None:
    """A later pong answers all before it."""
    log = make_log(through=5)
    watcher = started(log, 5)
    for ping_id, reads in ((1, 1), (2, 1), (3, 2), (4, 2)):
        watcher.ping(ping_id, reads)
    assert drain(watcher, log, 3) == [Pong(4, 5)]
    assert not watcher.is_waiting


def test_pings_that_outrun_the_reads_are_answered_all_the_same() -> None:
    """Newer pings never put off the oldest, and take no memory."""
    log = make_log(through=5)
    watcher = started(log, 5)
    for ping_id in range(1, 1000):
        watcher.ping(ping_id, ping_id)
    assert drain(watcher, log, 2) == [Pong(1, 5)]
    assert drain(watcher, log, 1000) == [Pong(999, 5)]


def test_a_database_that_goes_back_resets_its_watchers() -> None:
    """Also when it has passed the watcher's revision again before the watcher looks."""
    log = make_log(part(4), through=5)
    watcher = started(log, 5)
    assert drain(watcher, log, 2) == []
    log.restart(Position(HERE, 3))
    log.extend([part(6)], 7)
    assert drain(watcher, log, 3) == [Reset(Position(HERE, 7))]


def test_a_watcher_that_falls_out_of_the_log_is_reset() -> None:
    """The log keeps so many changes, and one who reads slower than that starts afresh."""
    log = make_log(part(1, 2), part(3, 4), through=4, capacity=4)
    watcher = started(log, 0, limit=2)
    assert watcher.next_message(log, 2) == part(1, 2)
    log.extend([part(5, 6), part(7, 8)], 8)
    assert log.floor == 4
    assert drain(watcher, log, 3) == [Reset(Position(HERE, 8))]


class World:
    """A database, a poller whose reads take their time, and a watcher with an honest memory.

    States of the database are kept by position, so that what the watcher believes can be compared with what was true.
    """

    def __init__(self) -> None:
        self.time = 0
        self.pongs = 0
        self.history, self.revision = "h0", 0
        self.state: dict[int, int] = {}
        self.changes: list[tuple[int, int]] = []
        self.truth = {("h0", 0): dict[int, int]()}
        # The poller
        self.begun, self.number = 0, 0
        self.begun_at: dict[int, int] = {}
        self.reading = False
        self.snapshot: tuple[Position, list[tuple[int, int]]] | None = None
        self.known: Position | None = None
        self.log = ChangeLog(capacity=4)
        # The watcher's two sides
        self.watcher = Watcher(limit=3)
        self.pinged_at: dict[int, int] = {}
        self.answered = 0
        self.belief: dict[int, int] = {}
        self.believed: Position | None = None
        self.started = False

    def possible(self, chance: random.Random) -> list[tuple[int, Callable[[], None]]]:
        """What can happen next, with its weight."""
        return [
            (4, lambda: self.change(chance.randrange(3))),
            (2, self.issue),
            (1, self.restore),
            (1, self.reconnect),
            (8, self.read_message),
            (8, self.ping if self.started else self.start),
            (8, self.begin_read if not self.reading else self.take_snapshot)
            if self.snapshot is None
            else (8, lambda: self.end_read(chance.random() < 0.1)),
        ]

    def change(self, certificate: int) -> None:
        """A status changes."""
        self.time += 1
        self.revision += 1
        self.state[certificate] = self.revision
        self.changes.append((certificate, self.revision))
        self.truth[self.history, self.revision] = dict(self.state)

    def issue(self) -> None:
        """The revision moves, and no status that anybody could have cached."""
        self.revision += 1
        self.truth[self.history, self.revision] = dict(self.state)

    def restore(self) -> None:
        """A backup comes back: an earlier state, and another history."""
        self.revision //= 2
        self.state = dict(self.truth[self.history, self.revision])
        self.changes = [change for change in self.changes if change[1] <= self.revision]
        self.history = f"h{len(self.truth)}"
        for revision in range(self.revision + 1):
            self.truth.setdefault((self.history, revision), {})
        self.truth[self.history, self.revision] = dict(self.state)

    def begin_read(self) -> None:
        """The number goes up; the snapshot is not taken yet."""
        self.time += 1
        self.begun += 1
        self.begun_at[self.begun] = self.time
        self.reading = True

    def take_snapshot(self) -> None:
        """The database is read."""
        self.snapshot = (Position(self.history, self.revision), list(self.changes))

    def end_read(self, fails: bool) -> None:
        """The read comes to its end: nothing of it is seen before, and nothing at all where it failed."""
        assert self.snapshot is not None
        (position, changes), self.snapshot, self.reading = self.snapshot, None, False
        if fails:
            return
        if self.known is None or self.known.history != position.history:
            self.log.restart(position)
            self.log.extend([], position.revision)
        else:
            late = [change for change in changes if change[1] > self.known.revision]
            pairs = [late[i : i + 2] for i in range(0, len(late), 2)]
            parts = [Changes(tuple(record(*change) for change in pair), (), pair[-1][1]) for pair in pairs]
            self.log.extend(parts, position.revision)
        self.known, self.number = position, self.begun

    def start(self) -> None:
        """The watcher says from where on it wants to be told."""
        self.watcher.start(self.believed or Position("", 0), self.begun)
        self.started = True

    def ping(self) -> None:
        """A ping arrives."""
        self.time += 1
        ping_id = len(self.pinged_at) + 1
        self.pinged_at[ping_id] = self.time
        self.watcher.ping(ping_id, self.begun)

    def reconnect(self) -> None:
        """The line breaks, and another one is opened."""
        self.watcher = Watcher(limit=3)
        self.started = False
        self.answered = max(self.pinged_at, default=0)

    def read_message(self) -> None:
        """The watcher takes one message."""
        message = self.watcher.next_message(self.log, self.number)
        assert message is None or self.started
        match message:
            case Reset(position):
                self.believed = position
                self.belief = dict(self.truth[position.history, position.revision])
            case Changes(statuses, _, through):
                assert self.believed is not None
                assert through > self.believed.revision
                self.belief.update({status.certificate_id: status.revision for status in statuses})
                self.believed = Position(self.believed.history, through)
            case Pong(ping_id, revision):
                self._check_pong(ping_id, revision)

    def _check_pong(self, ping_id: int, revision: int) -> None:
        assert self.believed is not None
        assert ping_id > self.answered
        assert self.pinged_at[ping_id] < self.begun_at[self.number]
        assert self.belief == self.truth[self.believed.history, revision]
        self.pongs += 1
        self.answered, self.believed = ping_id, Position(self.believed.history, revision)

    def belief_is_complete(self) -> None:
        """Whatever was told, all changes up to the revision that was told are known."""
        if self.believed is not None:
            truth = self.truth[self.believed.history, self.believed.revision]
            assert all(self.belief.get(certificate, 0) >= revision for certificate, revision in truth.items())

    def memory_is_bounded(self) -> None:
        """Two pings at most are held."""
        assert len(self.watcher._pings) <= 2


@pytest.mark.parametrize("seed", range(20))
def test_no_interleaving_breaks_the_protocol(seed: int) -> None:
    """A pong is never too early, no change is ever missing, and what is held does not grow."""
    chance = random.Random(seed)
    pongs = 0
    for _ in range(20):
        world = World()
        for _ in range(200):
            weights, actions = zip(*world.possible(chance), strict=True)
            chance.choices(actions, weights)[0]()
            world.belief_is_complete()
            world.memory_is_bounded()
        pongs += world.pongs
    assert pongs > 50, "the test tests nothing"
