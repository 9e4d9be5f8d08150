"""The report about databases of two sizes: each task is one line. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Goal, Row, met, ratio
from benchmarks.report import number

GOAL = Goal(ratio=1.2)
"""The greatest ratio of p50 with many certificates to p50 with few."""


def pair(key: str, what: str, small: int, large: int) -> tuple[Row, Row]:
    """The rows of one task."""
    first, second = (f"{count:,}".replace(",", "\N{NO-BREAK SPACE}") + " certificates" for count in (small, large))
    return (
        Row(f"{key}_small", f"{first}, {what}", "ms"),
        Row(f"{key}_large", f"{second}, {what}", "ms", f"{key}_small", GOAL),
    )


def lines(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """A table, its heading first."""
    known = {row.key: row for row in rows}
    pairs = [(known[row.beside], row) for row in rows if row.beside]
    heading = ("p50 in ms", *(row.who for row in pairs[0]), "ratio (min – max)", "goal")
    return [heading, *(_line(small, large) for small, large in pairs)]


def _line(small: Row, large: Row) -> tuple[str, ...]:
    found = ratio(large, small)
    told = f"{found.median:.2f} ({found.low:.2f} – {found.high:.2f})"
    reached = "met" if met(large, [large, small]) else "**missed**"
    return (large.what.partition(", ")[2], number(small.spread.median), number(large.spread.median), told, reached)
