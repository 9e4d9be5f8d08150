"""`python -m benchmarks.page`: puts the numbers of a run into docs/performance.md, README.md, and a picture.

Nothing that was measured is typed by hand: it comes from docs/performance.json, docs/peers.json and docs/scale.json,
which `--json` of `python -m benchmarks`, `benchmarks.peers` and `benchmarks.scale` writes, and goes between markers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plot, scale_report
from benchmarks.measure import Row, met, peer_of, ratio
from benchmarks.report import HEADINGS, cells, goal, number, rows_of

ROOT = Path(__file__).parent.parent
PICTURE = "![Answers a second beside nginx and openssl](docs/performance.png)"
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
README_ROWS = (
    ("wrk_get", "cached answers on one core, over connections that stay open"),
    ("nonce", "answers with a fresh nonce on one core, each signed"),
    ("revoked_p99", "from the success of a revocation until two gateways say so, 99 of 100"),
    ("issue_stream", "certificates issued over gRPC in one call, each durable, with everything on two cores"),
)


def main() -> int:
    """Write the pages and the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description="Put numbers into the pages.")
    parser.add_argument("--results", type=Path, default=ROOT / "docs/performance.json", metavar="FILE")
    parser.add_argument("--peers", type=Path, default=ROOT / "docs/peers.json", metavar="FILE")
    parser.add_argument("--scale", type=Path, default=ROOT / "docs/scale.json", metavar="FILE")
    options = parser.parse_args()
    if not plot.can_draw():
        parser.error("needs Pillow: make bench-page installs it")
    results, peers, scale = map(known, (options.results, options.peers, options.scale))
    for file, text in pages(ROOT, results, peers, scale).items():
        file.write_text(text)
    if results is not None:
        plot.draw(rows_of(results), ROOT / "docs/performance.png")
    return 0


def known(file: Path) -> Mapping[str, Any] | None:
    """The results in a file, if there is one."""
    found: Mapping[str, Any] | None = json.loads(file.read_text()) if file.exists() else None
    return found


def pages(
    root: Path,
    results: Mapping[str, Any] | None,
    peers: Mapping[str, Any] | None,
    scale: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[Path, str]:
    """The pages as they should be, as far as there are results. Raises ValueError where a marker is missing."""
    performance, readme = root / "docs/performance.md", root / "README.md"
    page, front = performance.read_text(), readme.read_text()
    if results is not None:
        page, front = between("measured", measured(results), page), between("numbers", numbers(results), front)
    if peers is not None:
        page = between("peers", table_of(peers), page)
    if scale is not None:
        page = between("scale", scaled(scale), page)
    return {performance: page, readme: front}


def between(name: str, new: str, text: str) -> str:
    """A text with something new between its markers `<!-- name -->` and `<!-- end of name -->`."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    head, found, rest = text.partition(begin)
    _, ended, tail = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"there are no markers {begin.strip()} and {end}")
    return f"{head}{begin}\n{new}\n\n{end}{tail}"


def measured(results: Mapping[str, Any]) -> str:
    """The table, the goals, and what was left out."""
    rows = rows_of(results)
    parts = [table_of(results)]
    reached = [(row, met(row, rows)) for row in rows]
    parts.append(
        "\n".join(f"- {'met' if yes else '**missed**'}: {goal(row, rows)}" for row, yes in reached if yes is not None)
    )
    parts += [f"Left out: {what}." for what in results.get("left_out", ())]
    return "\n\n".join(parts)


def scaled(scale: Mapping[str, Mapping[str, Any]]) -> str:
    """For each kind of database how long filling took, and p50 with few and with many certificates."""
    parts = []
    for kind, results in scale.items():
        filled = [f"- {name}: {told}" for name, told in results["filled"].items()]
        parts += [
            f"### {NAMES[kind]}",
            when(results),
            "\n".join(filled),
            markdown(scale_report.lines(rows_of(results))),
        ]
    return "\n\n".join(parts)


def table_of(results: Mapping[str, Any]) -> str:
    """When and on what, and the rows, in Markdown."""
    rows = rows_of(results)
    return f"{when(results)}\n\n{markdown([HEADINGS, *(cells(row, rows) for row in rows)])}"


def when(results: Mapping[str, Any]) -> str:
    """Date, machine and versions in a sentence."""
    machine, versions = results["machine"], dict(results["versions"])
    versions.pop("goodstanding", None)
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{results['time'][:10]}, {machine['cpu']}, cores {machine['cores']}, {machine['kernel']}, "
        f"load before the run {machine['load before']}, {machine['disk']}. {told}."
    )


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, the others to the right."""
    heading, *others = lines
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *others))


def numbers(results: Mapping[str, Any]) -> str:
    """The few numbers of the README."""
    rows = rows_of(results)
    known = {row.key: row for row in rows}
    told = [sentence(known[key], what, rows) for key, what in README_ROWS if key in known]
    machine = results["machine"]
    return "\n".join(
        [
            PICTURE,
            "",
            *told,
            "",
            f"({machine['cpu']}, {results['time'][:10]}; [how it was measured](docs/performance.md).)",
        ]
    )


def sentence(row: Row, what: str, rows: Sequence[Row]) -> str:
    """A number with its unit, what it is, and how many times the row beside it."""
    value = f"{number(row.spread.median)}{'' if row.unit == '/s' else ' '}{row.unit}"
    other = peer_of(row, rows)
    compared = f" ({ratio(row, other).median:.2f} × {other.who})" if other else ""
    return f"- **{value}** {what}{compared}"


if __name__ == "__main__":
    sys.exit(main())
