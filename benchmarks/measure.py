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


@dataclass
class Row:
    """One line of the report. The runs of all rows are interleaved, so those of one number belong together."""

    key: str
    """For programs; stays the same from version to version."""
    what: str
    unit: str
    beside: str | None = None
    """The key of the row that this one is compared with."""
    runs: list[float] = field(default_factory=list)
    server_busy: list[float] = field(default_factory=list)
    """Share of one core that the measured server used, run by run."""
    client_busy: list[float] = field(default_factory=list)
    """Share of one core that the load generator used, run by run."""

    @property
    def spread(self) -> Spread:
        """The spread over the runs."""
        return spread(self.runs)

    def add(self, value: float, server_busy: float | None = None, client_busy: float | None = None) -> None:
        """Note one run."""
        self.runs.append(value)
        if server_busy is not None:
            self.server_busy.append(server_busy)
        if client_busy is not None:
            self.client_busy.append(client_busy)


def ratio(row: Row, other: Row) -> Spread:
    """How many times `other` a row is, run by run: what slows the whole machine in one run slows both.

    Raises ValueError when the rows have not as many runs.
    """
    return spread([ours / theirs for ours, theirs in zip(row.runs, other.runs, strict=True)])
