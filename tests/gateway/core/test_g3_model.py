"""G3 against orders of events that gRPC allows: dice play the network, the database and the askers.

The real Knowledge, Evidence and AnswerCache face a modelled status service. Calls overtake each other and take as long
as they like; the messages of a stream keep their order; streams break with messages on the way; histories change; a
replica that lags takes the place of the service; the machine sleeps; the issuer is compromised, which one message about
it tells of all its certificates. After each step whatever could be written as `good` is: that is wrong from τ after its
revocation was acknowledged.

Rules of both sides are broken one by one, the gateway's by changing its real parts and the service's by changing the
model's, and each time the search has to find it. One rule could go and nothing would be found: that a replica refuses
look-ups beyond what it has reached. The gateway itself does not admit what such a replica might say.

A failure prints the steps that lead to it. Plain seeded dice rather than a hypothesis state machine: they make ten
times as many steps in the same time, and the broken rules below show that it takes those.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.answers import AnswerCache, Entry
from gateway.evidence import CertificateKey, Evidence
from gateway.knowledge import Knowledge, LookedUp
from tests.gateway.core.model import KEYS, UNKNOWN, Call, Database, Stream, World

Step = tuple[str, tuple[Any, ...]]


def roll(dice: random.Random) -> Step:
    """The next step."""
    (name, *choices), *_ = dice.choices(STEPS, WEIGHTS)
    return name, tuple(dice.choice(each) for each in choices)


WEIGHED: list[tuple[int, tuple[Any, ...]]] = [
    (2, ("pass_time", [0.2, 0.6, 1.0])),
    (3, ("change", KEYS, [True, True, True, False])),
    (1, ("change_others", [1, 4, 8])),
    (1, ("compromise",)),
    (1, ("begin_history",)),
    (1, ("fall_behind", [0, 1, 2])),
    (2, ("catch_up",)),
    (1, ("sleep", [1.5])),
    (3, ("ask", [*KEYS, *KEYS, UNKNOWN])),
    (2, ("read", [0, 1])),
    (2, ("deliver", [0, 1])),
    (3, ("look_up_at_once", KEYS)),
    (2, ("look_up_slowly", KEYS)),
    (1, ("connect",)),
    (1, ("lose_stream",)),
    (1, ("send_ping",)),
    (2, ("serve_stream", [True, False])),
    (2, ("hear", [1, 2, 9])),
    (4, ("heartbeat", [0.0, 0.2, 1.0], [True, True, False])),
]
WORLDS = 1500
"""Nearly twice as many as it takes to find each of the broken rules below; most are found in the first hundred."""
WEIGHTS = [weight for weight, _ in WEIGHED]
STEPS = [step for _, step in WEIGHED]


def run(worlds: int, steps: int = 40) -> None:
    """Search. Always the same way: a test that fails by luck is of no use."""
    with asyncio.Runner() as runner:
        for seed in range(worlds):
            dice = random.Random(seed)
            world, taken = World(runner.get_loop()), list[Step]()
            world.begin()
            for _ in range(steps):
                name, arguments = step = roll(dice)
                taken.append(step)
                getattr(world, name)(*arguments)
                assert world.is_honest(), f"good after T + τ; the steps: {taken}"
            world.end()


def everything_is_admitted(self: Evidence, key: CertificateKey, history: str, revision: int) -> bool:
    """A rule broken: look-ups join without a look at what changed meanwhile."""
    return history == self.history


def nothing_is_forgotten(self: Evidence, key: CertificateKey, history: str, revision: int) -> bool:
    """A rule broken: what the ring has dropped counts as unchanged."""
    return history == self.history and self._changes.get(key, 0) <= revision


def always_fresh(self: Knowledge, entry: Entry) -> bool:
    """A rule broken: no look at the clock when it is written."""
    return entry.looked_up_at > float("-inf")


def pings_count_on_arrival(self: Evidence, ping: int, revision: int) -> None:
    """A rule broken: knowledge is as fresh as the pong's arrival."""
    self.told_through(revision)
    self.proof = max(self.proof, World.now)


def dropped_entries_stay_covered(self: AnswerCache, key: CertificateKey) -> None:
    """A rule broken: what was evicted is vouched for by later pings."""
    entry = self._entries.pop(key, None)
    if entry is not None:
        self._short.pop(key, None)
        self._long.pop(key, None)
        self._bytes -= entry.size


def changes_are_ignored(self: AnswerCache, key: CertificateKey, revision: int) -> None:
    """A rule broken: an entry survives a change."""


def issuers_do_not_bar_look_ups(self: Evidence, name: str, revision: int) -> None:
    """A rule broken: what was read before an issuer changed joins after it."""


def entries_survive_their_issuer(self: AnswerCache, issuer: str) -> None:
    """A rule broken: an entry survives a change of its issuer."""


def resets_keep_the_cache(self: AnswerCache) -> None:
    """A rule broken: what another history said is kept."""


def ways_back_are_taken(self: Evidence, history: str, revision: int) -> bool:
    """A rule broken: a service that is behind is taken for a database that was restored."""
    return True


def the_clock_stops_in_suspend(self: World) -> float:
    """A rule broken: it is not the boot clock."""
    return World.now - self.asleep


def rows_come_before_the_revision(self: World, call: Call, database: Database) -> None:
    """A rule broken on the other side: the revision is read later than the rows."""
    if call.rows is None:
        call.rows = [database.status(key) for key in call.keys]
        return
    call.result = [LookedUp(row, database.history, database.revision, call.sent_at) for row in call.rows]


def pongs_need_no_read(self: World, pongs: bool) -> None:
    """A rule broken on the other side: a pong tells what was read before its ping came."""
    if self.stream is not None and pongs and self.stream.pings and self.stream.started:
        self.stream.messages.append(("pong", self.stream.pings[-1], self.stream.told))
        self.stream.pings.clear()
        return
    SERVE_STREAM(self, pongs)


def pongs_overtake_changes(self: World, stream: Stream, behind: Sequence[tuple[CertificateKey, int]]) -> None:
    """A rule broken on the other side: a pong leaves before the changes that the same read has found."""
    self.answer_pings(stream)
    TELL(self, stream, behind)


def too_many_changes_are_skipped(self: World, behind: Sequence[tuple[CertificateKey, int]]) -> bool:
    """A rule broken on the other side: only the latest changes are told, and no reset stands for the others."""
    behind[:-6] = []  # type: ignore[index]
    return False


def revisions_overtake_commits(self: World, key: CertificateKey, *, revoke: bool) -> None:
    """A rule broken on the other side: a revision is taken, another one is committed, and then this one."""
    database = self.database
    database.revision += 1
    self.serve_stream(pongs=False)
    database.revision -= 1
    database.change(key, revoke=revoke)
    if self.stream is not None:
        database.revision = max(database.revision, self.stream.told)


SERVE_STREAM, TELL = World.serve_stream, World.tell


def test_no_order_of_events_leads_to_good_after_the_bound() -> None:
    """G3."""
    run(WORLDS)


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (Evidence, "admits", everything_is_admitted),
        (Evidence, "admits", nothing_is_forgotten),
        (Knowledge, "fresh", always_fresh),
        (Evidence, "pong", pings_count_on_arrival),
        (AnswerCache, "drop", dropped_entries_stay_covered),
        (AnswerCache, "changed", changes_are_ignored),
        (AnswerCache, "clear", resets_keep_the_cache),
        (Evidence, "issuer_changed", issuers_do_not_bar_look_ups),
        (AnswerCache, "drop_issuer", entries_survive_their_issuer),
        (Evidence, "may_follow", ways_back_are_taken),
        (World, "clock", the_clock_stops_in_suspend),
        (World, "look", rows_come_before_the_revision),
        (World, "serve_stream", pongs_need_no_read),
        (World, "tell", pongs_overtake_changes),
        (World, "is_too_far", too_many_changes_are_skipped),
        (World, "commit", revisions_overtake_commits),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_search_finds_broken_rules(monkeypatch: pytest.MonkeyPatch, where: type, name: str, broken: object) -> None:
    """A search that finds nothing proves nothing, unless it finds what is there."""
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(AssertionError, match="good after"):
        run(WORLDS)
