"""Rows of a run and how each is measured. A round measures every task once, so that all see the same machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from benchmarks.cores import Watch
from benchmarks.load import Load
from benchmarks.measure import Row, percentile
from benchmarks.paced import arrivals, paced
from benchmarks.processes import BenchmarkError
from benchmarks.questions import Messages

SHARE = 0.8
"""Of the rate that a server reaches, for latencies: what somebody would let it bear."""


_REPEATS = 3


class Task(Protocol):
    """Something that is measured once in each round."""

    @property
    def rows(self) -> list[Row]:
        """What is noted."""

    def run(self, seconds: float) -> None:
        """Measure once."""

    def warm_up(self, seconds: float) -> None:
        """Do the same without noting it."""


def run_task(task: Task, seconds: float) -> None:
    """Measure, and once more where an answer was an error: on a machine that others use, tryLater may be the truth.

    The report tells of it. Raises BenchmarkError when it does not get better.
    """
    for _ in range(_REPEATS):
        try:
            return task.run(seconds)
        except BenchmarkError:
            task.rows[0].repeated += 1
            time.sleep(1)
    return task.run(seconds)


@dataclass(frozen=True)
class Answers:
    """Answers per second of a server."""

    row: Row
    server: int
    """Its process."""
    ask: Callable[[float], Load]
    """Asks for so many seconds."""

    @property
    def rows(self) -> list[Row]:
        """The one."""
        return [self.row]

    def run(self, seconds: float) -> None:
        """Ask, and watch who works."""
        watch = Watch(self.server)
        load = self.ask(seconds)
        self.row.add(load.rate, watch.busy())

    def warm_up(self, seconds: float) -> None:
        """Ask."""
        self.ask(seconds)


@dataclass(frozen=True)
class Reference:
    """A number that another program tells."""

    row: Row
    tell: Callable[[float], float]
    """Told how long it may take."""

    @property
    def rows(self) -> list[Row]:
        """The one."""
        return [self.row]

    def run(self, seconds: float) -> None:
        """Have it measure."""
        self.row.add(self.tell(seconds))

    def warm_up(self, seconds: float) -> None:
        """Other programs do it themselves."""


@dataclass(frozen=True)
class Latency:
    """How long answers take at `SHARE` of a rate: that of a goal, or the one that the same round found for a row."""

    saturated: Row | float
    address: str
    messages: Messages
    rows: list[Row]
    """Shares of a hundred by their keys' ends: p50, p99; and max."""

    def run(self, seconds: float) -> None:
        """Ask at that rate."""
        full = self.saturated.runs[-1] if isinstance(self.saturated, Row) else self.saturated
        taken = paced(self.address, self.messages, arrivals(SHARE * full, seconds))
        add_percentiles(self.rows, taken)

    def warm_up(self, seconds: float) -> None:
        """Whatever is measured before has done it."""


def percentile_rows(key: str, what: str, **more: object) -> list[Row]:
    """Rows for p50, p99 and max of something in ms; `more` is for p99."""
    return [
        Row(f"{key}_{name}", f"{what}: {name}", "ms", **(more if name == "p99" else {}))  # type: ignore[arg-type]
        for name in ("p50", "p99", "max")
    ]


def add_percentiles(rows: list[Row], seconds: list[float]) -> None:
    """Note one run in rows of `percentile_rows`."""
    for row, share in zip(rows, (0.5, 0.99, 1.0), strict=True):
        row.add(1e3 * percentile(seconds, share))
