"""Numbers out of runs: medians with their spread, percentiles, and ratios of what was measured side by side.

Pure: nothing is timed here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median of some runs, with the least and the greatest of them."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """The spread of at least one value. Raises ValueError without any."""
    if not values:
        raise ValueError("nothing was measured")
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` (above 0, at most 1) of them do not exceed (nearest rank)."""
    if not values or not 0 < share <= 1:
        raise ValueError("needs at least one value, and a share above 0 and not above 1")
    return sorted(values)[math.ceil(share * len(values)) - 1]


@dataclass(frozen=True)
class Busy:
    """Shares of one core during a run."""

    server: float
    """Used by the measured server."""
    client: float
    """Used by the load generator."""
    first: float
    """How busy the first core was, whoever used it."""
    second: float
    """How busy the second core was, whoever used it."""


@dataclass(frozen=True)
class Goal:
    """What a row has to reach: so much, and so many times the row beside it."""

    value: float | None = None
    ratio: float | None = None


@dataclass
class Row:
    """One line of the report. The runs of all rows are interleaved, so those of one number belong together."""

    key: str
    """For programs; stays the same from version to version."""
    what: str
    """Who does what; who it is ends at the first comma."""
    unit: str
    """/s, where more is better; ms or s, where less is."""
    beside: str | None = None
    """The key of the row that this one is compared with, if that one was measured."""
    goal: Goal = Goal()
    """Of the medians."""
    runs: list[float] = field(default_factory=list)
    busy: list[Busy] = field(default_factory=list)
    """Run by run, where it means something."""
    repeated: int = 0
    """Runs that counted for nothing, since an answer was an error, and were made again."""

    @property
    def spread(self) -> Spread:
        """The spread over the runs."""
        return spread(self.runs)

    @property
    def who(self) -> str:
        """Who does it."""
        return self.what.partition(",")[0]

    def add(self, value: float, busy: Busy | None = None) -> None:
        """Note one run."""
        self.runs.append(value)
        if busy is not None:
            self.busy.append(busy)


def ratio(row: Row, other: Row) -> Spread:
    """How many times `other` a row is, run by run: what slows the whole machine in one run slows both.

    Raises ValueError when the rows have not as many runs.
    """
    return spread([ours / theirs for ours, theirs in zip(row.runs, other.runs, strict=True)])


def peer_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The row that this one is compared with, if there is one and it was measured."""
    return next((other for other in rows if other.key == row.beside), None)


def met(row: Row, rows: Sequence[Row]) -> bool | None:
    """Whether a row reaches its goal; None where it has none, or what it is compared with is missing."""
    found: list[bool] = []
    more = row.unit == "/s"
    if (value := row.goal.value) is not None:
        found.append(row.spread.median >= value if more else row.spread.median <= value)
    if (times := row.goal.ratio) is not None and (other := peer_of(row, rows)) is not None:
        reached = ratio(row, other).median
        found.append(reached >= times if more else reached <= times)
    return all(found) if found else None
