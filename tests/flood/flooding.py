"""What is measured of a flood: memory and queues while it lasts, and how many hot answers are left beside it.

Other work on the machine makes fewer answers of everything, so nothing here is compared with a number of answers per
second: memory is told per answer, and hot answers are compared with those of the moment before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

from benchmarks import cores
from benchmarks.measure import Busy
from tests.flood.asker import Counts
from tests.flood.place import Asking, Place, resident

CONNECTIONS = 64
DEPTH = 16
"""Questions behind each other on a connection of a flood: 1,024 may wait, many more than are let in."""
AskHot = Callable[[float], Counts]
"""Asks what everybody asks for so many seconds."""
_BEFORE = 0.2
"""Seconds from the beginning of a flood to where it counts."""


class Watch:
    """Looks at the operators' page again and again within the block, and keeps the highest of each number."""

    def __init__(self, place: Place, every: float = 0.05) -> None:
        """`every`: seconds between two looks, each of which takes the gateway some milliseconds."""
        self._place = place
        self._every = every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.highest: dict[str, float] = {}
        self.looks = 0

    def __enter__(self) -> Self:
        self.before = self._place.metrics()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.after = self._place.metrics()

    def counted(self, name: str) -> float:
        """How much a counter has grown."""
        return self.after[name] - self.before[name]

    def _look(self) -> None:
        while not self._stop.wait(self._every):
            found = self._place.metrics()
            self.looks += 1
            self.highest = {name: max(value, self.highest.get(name, value)) for name, value in found.items()}


@dataclass
class Memory:
    """Memory at the ends of stretches of a flood, the first one before it; and what was answered in each."""

    gateway: list[int] = field(default_factory=list)
    """Octets."""
    status: list[int] = field(default_factory=list)
    """Octets."""
    blocks: list[float] = field(default_factory=list)
    """What Python objects of the gateway hold, as it counts itself: sharper than octets of whole pages."""
    counts: list[Counts] = field(default_factory=list)

    def note(self, place: Place) -> None:
        """Note how much there is now."""
        self.gateway.append(resident(place.gateway))
        self.status.append(resident(place.status))
        self.blocks.append(place.metrics()["goodstanding_memory_blocks"])

    @property
    def answered(self) -> int:
        """With a status, in all stretches."""
        return sum(each.successful for each in self.counts)

    @property
    def put_off(self) -> int:
        """With tryLater, in all stretches."""
        return sum(each.put_off for each in self.counts)

    def follows_answers(self, of: Sequence[float], *, each: float, anyway: float) -> bool:
        """Whether it grew by more than `each` for each answer, and some `anyway`: in all stretches but one or none.

        What is kept of every question is added in every stretch, but what is given back in one of them may hide it.
        """
        grown = [after - before for before, after in pairwise(of)]
        steps = zip(grown, self.counts, strict=True)
        too_much = [more > anyway + each * counts.successful for more, counts in steps]
        return too_much.count(True) >= len(too_much) - 1


def flood(place: Place, kind: str, serials: Sequence[int], seconds: float, rate: float, seed: int = 1) -> Asking:
    """Begin a flood. Its process makes way for those that ask for what is hot."""
    return place.ask(
        kind, serials, seconds, connections=CONNECTIONS, depth=DEPTH, rate=rate, seed=seed, nice=5
    )  # fmt: skip


def memory(place: Place, kind: str, serials: Sequence[int], seconds: Sequence[float], rate: float) -> Memory:
    """Flood for stretches of so many seconds; the first one warms up, and is not noted."""
    noted = Memory()
    for number, each in enumerate(seconds):
        counts = flood(place, kind, serials, each, rate, seed=number).end()
        if number:
            noted.counts.append(counts)
        noted.note(place)
    return noted


@dataclass(frozen=True)
class Kept:
    """Hot answers with a flood, beside those right before without it; and what the flood got meanwhile."""

    alone: Counts
    flooded: Counts
    busy: Busy
    """Beside the flood. The server is the gateway; the first core is its own in the long form only."""
    flood: Counts

    @property
    def ratio(self) -> float:
        """Of their rate."""
        return self._rate(self.flooded) / self._rate(self.alone)

    @property
    def beside_flood(self) -> float:
        """Hot answers for each one that the flood got: without any preference it would be well below one."""
        return self._rate(self.flooded) / max(1.0, self._rate(self.flood))

    @staticmethod
    def _rate(counts: Counts) -> float:
        return counts.successful / counts.seconds


def kept(
    place: Place, kind: str, ask: AskHot, serials: Sequence[int], seconds: tuple[float, float], rate: float
) -> Kept:
    """Ask for what is hot, first alone, then beside a flood; for so many seconds each."""
    (gateway,) = place.gateway.pids()
    alone = ask(seconds[0])
    flooding = flood(place, kind, serials, 0.0, rate, seed=time.monotonic_ns())
    time.sleep(_BEFORE)
    watch = cores.Watch(gateway)
    flooded = ask(seconds[1])
    return Kept(alone, flooded, watch.busy(), flooding.end())
