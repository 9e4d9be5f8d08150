"""The long form: each flood for minutes, in rounds, with what is hot measured alone before each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from benchmarks.references import WRK_INSTALL, have_wrk
from tests.flood.flooding import AskHot, Kept, Memory, Watch, flood, kept
from tests.flood.hot import Wrk
from tests.flood.place import Place
from tests.flood.questions import KINDS, SPELLINGS
from tests.flood.report import Row

HOUR = 360_000
"""Questions: a hundred per second for an hour."""
HOT = 500
_ROUNDS = 6
_ALONE = 2.0
"""Seconds for which what is hot is measured without a flood, in each round."""
_WARM_UP = 10.0

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How long each flood lasts, in seconds, and what the gateway is configured with."""

    seconds: float
    cache_entries: int = 1000
    max_pending: int = 512

    @property
    def rate(self) -> float:
        """Questions per second that make an hour of them."""
        return HOUR / self.seconds


def run(place: Place, size: Size, progress: Progress) -> list[Row]:
    """Flood in each way, one after the other."""
    progress(f"issuing {HOT + 10 * size.cache_entries} certificates")
    serials = place.issue(HOT + 10 * size.cache_entries)
    hot, others = serials[:HOT], serials[HOT:]
    ask = Wrk(place, hot) if have_wrk() else partial(place.ask_hot, hot)
    if not have_wrk():
        progress(f"without wrk ({WRK_INSTALL}) the load generators may be slower than the gateway")
    ask(_ALONE)
    return [_flooded(place, kind, ask, hot if kind == SPELLINGS else others, size, progress) for kind in KINDS]


def _flooded(place: Place, kind: str, ask: AskHot, target: Sequence[int], size: Size, progress: Progress) -> Row:
    progress(f"{kind}: warming up")
    flood(place, kind, target, min(_WARM_UP, size.seconds / 4), size.rate).end()
    measured = Measured()
    with Watch(place, every=0.5) as watch:
        measured.memory.note(place)
        for number in range(_ROUNDS):
            progress(f"{kind}: {number + 1} of {_ROUNDS}")
            measured.add(kept(place, kind, ask, target, (_ALONE, size.seconds / _ROUNDS), size.rate), place)
    return Row(kind, place.max_pending, place.cache_entries, measured.kept, measured.memory, watch.highest)


@dataclass
class Measured:
    """What has been measured of a flood."""

    kept: list[Kept] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)

    def add(self, found: Kept, place: Place) -> None:
        """One more round."""
        self.kept.append(found)
        self.memory.counts.append(found.flood)
        self.memory.note(place)
