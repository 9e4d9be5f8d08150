"""The report: a table for people, and JSON for whoever compares one run with another. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from textwrap import wrap
from typing import Any

from benchmarks.measure import Row, ratio

HEADINGS = ("", "median", "min – max", "", "times openssl", "server busy", "client busy")
WIDTH = 118
LIMIT = 0.9
"""A client busier than this is what was measured, rather than the server."""
IDLE = 0.75
"""A server less busy than this was kept from working."""
EXPLANATION = (
    "Busy: the share of one core that was used. A server at 100 % with a client well below is at its own limit.",
    "Ours and openssl's runs alternate; the ratio is the median of the rounds' ratios (min – max).",
)

Facts = Mapping[str, str]


def text(title: str, facts: Sequence[tuple[str, Facts]], rows: Sequence[Row]) -> str:
    """The report for people."""
    lines = [title, ""]
    for name, group in facts:
        told = f"{name}: " + "; ".join(f"{key} {value}" for key, value in group.items())
        lines += wrap(told, WIDTH, subsequent_indent="  ")
    lines += ["", *table([HEADINGS, *(cells(row, rows) for row in rows)]), "", *EXPLANATION]
    return "\n".join([*lines, *warnings(rows)])


def cells(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    """A row's columns."""
    spread = row.spread
    between = f"{number(spread.low)} – {number(spread.high)}" if len(row.runs) > 1 else ""
    return (
        row.what,
        number(spread.median),
        between,
        row.unit,
        times(row, rows),
        share(row.server_busy),
        share(row.client_busy),
    )


def times(row: Row, rows: Sequence[Row]) -> str:
    """How many times the row beside it."""
    if row.beside is None:
        return ""
    found = ratio(row, named(row.beside, rows))
    return f"{found.median:.2f} ({found.low:.2f} – {found.high:.2f})"


def named(key: str, rows: Sequence[Row]) -> Row:
    """The row with a key. Raises KeyError."""
    return {row.key: row for row in rows}[key]


def number(value: float) -> str:
    """Three digits that count, or all digits of what is larger."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def share(values: Sequence[float]) -> str:
    """A share of a core."""
    return f"{100 * median(values):.0f} %" if values else ""


def table(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of text: the first to the left, the others to the right, the last one's end trimmed."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def warnings(rows: Sequence[Row]) -> list[str]:
    """Rows that say more about the load generator, or about what else the machine did, than about the server."""
    measured = [row for row in rows if row.client_busy]
    client = [row.what for row in measured if median(row.client_busy) > LIMIT]
    neither = [row.what for row in measured if median(row.client_busy) <= LIMIT and median(row.server_busy) < IDLE]
    return [
        *(f"warning: the client was at its limit in: {what}" for what in client),
        *(f"warning: neither side was busy, so others had the cores or both waited, in: {what}" for what in neither),
    ]


def document(time: str, facts: Sequence[tuple[str, Facts]], rows: Sequence[Row]) -> dict[str, Any]:
    """The report for programs."""
    return {"time": time, **{name: dict(group) for name, group in facts}, "rows": [entry(row, rows) for row in rows]}


def entry(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A row for programs."""
    spread = row.spread
    made: dict[str, Any] = {"key": row.key, "what": row.what, "unit": row.unit}
    made |= {"median": spread.median, "min": spread.low, "max": spread.high, "runs": row.runs}
    if row.beside is not None:
        found = ratio(row, named(row.beside, rows))
        made["ratio"] = {"to": row.beside, "median": found.median, "min": found.low, "max": found.high}
    if row.server_busy:
        made |= {"server_busy": row.server_busy, "client_busy": row.client_busy}
    return made
