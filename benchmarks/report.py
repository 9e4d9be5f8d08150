"""The report: a table for people, and JSON for programs, the page and the plot. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import median
from textwrap import wrap
from typing import Any

from benchmarks.measure import Busy, Goal, Row, met, peer_of, ratio

HEADINGS = ("", "median", "min – max", "", "compared", "server", "client", "others")
WIDTH = 140
LIMIT = 0.9
"""A client busier than this is what was measured, rather than the server."""
IDLE = 0.75
"""A server less busy than this was kept from working."""
SHARED = 0.1
"""More of the server's core used by others than this falsifies its rate."""
EXPLANATION = (
    "Measured servers have the first core; the load generator and everything else have the second. Server, client: how",
    "much of a core they used. Others: how much of the server's core somebody else used. A server near 100 % with a",
    "client well below is at its own limit. Runs alternate; a ratio is the median of the rounds' ratios (min – max).",
)

Facts = Mapping[str, str]


def text(title: str, facts: Sequence[tuple[str, Facts]], rows: Sequence[Row], left_out: Sequence[str] = ()) -> str:
    """The report for people."""
    lines = [title, ""]
    for name, group in facts:
        told = f"{name}: " + "; ".join(f"{key} {value}" for key, value in group.items())
        lines += wrap(told, WIDTH, subsequent_indent="  ")
    lines += ["", *table([HEADINGS, *(cells(row, rows) for row in rows)]), "", *EXPLANATION]
    lines += [f"left out: {what}" for what in left_out]
    return "\n".join([*lines, *warnings(rows), "", *goals(rows)])


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
        share([busy.server for busy in row.busy]),
        share([busy.client for busy in row.busy]),
        share(others(row)),
    )


def others(row: Row) -> list[float]:
    """How much of the first core others than the server used, run by run."""
    return [max(0.0, busy.first - busy.server) for busy in row.busy if busy.server <= 1.05]


def times(row: Row, rows: Sequence[Row]) -> str:
    """How many times the row beside it."""
    other = peer_of(row, rows)
    if other is None:
        return ""
    found = ratio(row, other)
    return f"{found.median:.2f} ({found.low:.2f} – {found.high:.2f}) × {other.who}"


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
    measured = [row for row in rows if row.busy]
    client = [row for row in measured if median(busy.client for busy in row.busy) > LIMIT]
    disturbed = [row for row in measured if (found := others(row)) and median(found) > SHARED]
    waited = [
        row
        for row in measured
        if row not in client and row not in disturbed and median(busy.server for busy in row.busy) < IDLE
    ]
    return [
        *(f"warning: the client was at its limit in: {row.what}" for row in client),
        *(f"warning: others used the server's core in: {row.what}" for row in disturbed),
        *(f"warning: the server waited for others in: {row.what}" for row in waited),
        *(f"warning: repeated {row.repeated} times after an error: {row.what}" for row in rows if row.repeated),
    ]


def goals(rows: Sequence[Row]) -> list[str]:
    """Which goals are met."""
    return [f"goal {'met' if reached else 'MISSED'}: {goal(row, rows)}" for row, reached in reached_goals(rows)]


def reached_goals(rows: Sequence[Row]) -> list[tuple[Row, bool]]:
    """The rows with a goal, and whether they reach it."""
    return [(row, reached) for row in rows if (reached := met(row, rows)) is not None]


def goal(row: Row, rows: Sequence[Row]) -> str:
    """A row's goal in words."""
    relation, other, wanted = "≥" if row.unit == "/s" else "≤", peer_of(row, rows), []
    if row.goal.value is not None:
        unit = row.unit if row.unit == "/s" else f" {row.unit}"
        wanted.append(f"{relation} {row.goal.value:,g}{unit}")
    if row.goal.ratio is not None and other is not None:
        wanted.append(f"{relation} {row.goal.ratio:g} × {other.who}")
    return f"{row.what}: {' and '.join(wanted)}"


def document(
    time: str, facts: Sequence[tuple[str, Facts]], rows: Sequence[Row], left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """The report for programs."""
    return {
        "time": time,
        **{name: dict(group) for name, group in facts},
        "rows": [entry(row, rows) for row in rows],
        "left_out": list(left_out),
        "warnings": warnings(rows),
    }


def entry(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    """A row for programs."""
    spread = row.spread
    made: dict[str, Any] = {"key": row.key, "what": row.what, "unit": row.unit}
    made |= {"median": spread.median, "min": spread.low, "max": spread.high, "runs": row.runs}
    if (other := peer_of(row, rows)) is not None:
        found = ratio(row, other)
        made["ratio"] = {"to": row.beside, "median": found.median, "min": found.low, "max": found.high}
    if (reached := met(row, rows)) is not None:
        made["goal"] = {**asdict(row.goal), "text": goal(row, rows), "met": reached}
    if row.busy:
        made["busy"] = [asdict(busy) for busy in row.busy]
    return made


def rows_of(document: Mapping[str, Any]) -> list[Row]:
    """The rows of a document again."""
    return [
        Row(
            entry["key"],
            entry["what"],
            entry["unit"],
            entry["ratio"]["to"] if "ratio" in entry else None,
            Goal(entry["goal"]["value"], entry["goal"]["ratio"]) if "goal" in entry else Goal(),
            list(entry["runs"]),
            [Busy(**busy) for busy in entry.get("busy", ())],
        )
        for entry in document["rows"]
    ]
