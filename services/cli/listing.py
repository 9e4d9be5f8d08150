"""Long lists, printed as they come: a table that fits the terminal, one JSON document, JSON lines, or CSV.

Nothing is collected but the first rows, which say how wide the columns of the table are.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from services.cli import output

R = TypeVar("R")

MEASURED = 200
"""How many rows say how wide the columns are."""
NARROWEST = 10


@dataclass(frozen=True)
class Column:
    """A column: what is printed above it, what stands in it, and whether it may be cut to fit.

    `spare`: where a terminal is too narrow even so, columns are shown in this order as long as there is room; 0 always.
    """

    title: str
    value: Callable[[output.Json], object]
    cut: bool = False
    spare: int = 0


@dataclass(frozen=True)
class Format:
    """How to print."""

    json: bool = False
    lines: bool = False
    csv: bool = False


def format_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command --json, --json-lines and --csv, as one argument `form`."""
    import functools

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--json-lines", is_flag=True, help="Print one JSON object a line.")
    @click.option("--csv", "as_csv", is_flag=True, help="Print CSV (RFC 4180), with a header.")
    @functools.wraps(function)
    def with_format(as_json: bool, json_lines: bool, as_csv: bool, **others: Any) -> R:
        if as_json + json_lines + as_csv > 1:
            raise click.UsageError("--json, --json-lines and --csv exclude each other.")
        return function(form=Format(as_json, json_lines, as_csv), **others)

    return with_format


def show(form: Format, name: str, columns: Sequence[Column], found: Iterable[output.Json], limit: int | None) -> bool:
    """Print up to `limit` of what is found, and tell whether there is more. `name` is what a document calls them."""
    rest = iter(found)
    shown = rest if limit is None else itertools.islice(rest, limit)
    if form.json:
        return _document(name, shown, rest)
    if form.lines:
        for value in shown:
            click.echo(output.escaped(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))
    elif form.csv:
        _csv(columns, shown)
    else:
        table(columns, shown)
    more = next(rest, None) is not None
    if more:
        output.note(f"There are more than {limit}: see --limit and --all.")
    return more


def _document(name: str, shown: Iterable[output.Json], rest: Iterator[output.Json]) -> bool:
    click.echo(f'{{\n  "{name}": [', nl=False)
    for place, value in enumerate(shown):
        text = json.dumps(value, indent=2, ensure_ascii=False).replace("\n", "\n    ")
        click.echo(f"{',' if place else ''}\n    {output.escaped(text)}", nl=False)
    more = next(rest, None) is not None
    click.echo(f'\n  ],\n  "more": {json.dumps(more)}\n}}')
    return more


def _csv(columns: Sequence[Column], shown: Iterable[output.Json]) -> None:
    click.echo(_csv_line([column.title.lower().replace(" ", "_") for column in columns]))
    for value in shown:
        click.echo(_csv_line([_cell(column, value) for column in columns]))


def _csv_line(cells: Sequence[str]) -> str:
    # A spreadsheet takes what begins like a formula for one, and certificates hold names that others chose.
    safe = ["'" + cell if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell for cell in cells]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(safe)
    return line.getvalue()


def table(columns: Sequence[Column], shown: Iterable[output.Json]) -> None:
    """Print a table, no wider than the terminal if there is one."""
    rows = ([_cell(column, value) for column in columns] for value in shown)
    first = list(itertools.islice(rows, MEASURED))
    titles = [column.title for column in columns]
    space = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    widths = _widths(columns, [titles, *first], space)
    click.echo(_line(titles, widths))
    for row in itertools.chain(first, rows):
        click.echo(_line(row, widths, cut=space is not None))


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], space: int | None) -> list[int | None]:
    """How wide columns are: as wide as they need to be, or as fits; None for those that are left out.

    What may not be cut is not, whatever the space.
    """
    widths: list[int | None] = [max(_width(row[place]) for row in rows) for place in range(len(columns))]
    if space is None:
        return widths
    wanted, widths = widths, [None if column.spare else width for width, column in zip(widths, columns, strict=True)]
    for place in sorted(range(len(columns)), key=lambda place: columns[place].spare):
        more = [*widths[:place], wanted[place], *widths[place + 1 :]]
        if _together(_narrowest(columns, more)) <= space:
            widths = more
    while (excess := _together(widths) - space) > 0:
        cuttable = [width for width, column in zip(widths, columns, strict=True) if column.cut and width is not None]
        widest = max(cuttable, default=0)
        if widest <= NARROWEST:
            break
        # All of the widest at once, down to the next: one step for each column at the most, and not for each character.
        next_widest = max((width for width in cuttable if width < widest), default=NARROWEST)
        together = cuttable.count(widest)
        narrower = max(next_widest, NARROWEST, widest - -(-excess // together))
        widths = [
            narrower if column.cut and width == widest else width for width, column in zip(widths, columns, strict=True)
        ]
    return widths


def _narrowest(columns: Sequence[Column], widths: Sequence[int | None]) -> list[int | None]:
    return [
        min(width, NARROWEST) if width is not None and column.cut else width
        for width, column in zip(widths, columns, strict=True)
    ]


def _together(widths: Sequence[int | None]) -> int:
    shown = [width for width in widths if width is not None]
    return sum(shown) + 2 * (len(shown) - 1)


def _width(text: str) -> int:
    """How many places it takes on a terminal: some characters take two, and some none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _line(cells: Sequence[str], widths: Sequence[int | None], *, cut: bool = False) -> str:
    fitted = [_fitted(cell, width, cut=cut) for cell, width in zip(cells, widths, strict=True) if width is not None]
    return "  ".join(fitted).rstrip()


def _fitted(cell: str, width: int, *, cut: bool) -> str:
    places = _width(cell)
    if not cut or places <= width:
        return cell + " " * (width - places)
    if cell.isascii():
        return cell[: width - 1] + "…"
    from rich.cells import set_cell_size

    return set_cell_size(cell, width - 1) + "…"


def _cell(column: Column, value: output.Json) -> str:
    found = column.value(value)
    return output.plain("" if found is None else str(found)).replace("\n", " ")
