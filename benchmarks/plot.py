"""The rows of a run as a picture, for the README: bars, ours in colour beside what they are compared with.

Needs Pillow, which `make bench-page` installs; everything else in this package does without it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Row
from benchmarks.report import number

# Title of a group, and its bars: key of the row, and its name in the picture.
GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "Cached answers, 1,000 certificates, on one core: answers a second",
        (
            ("wrk_get", "goodstanding, GET"),
            ("wrk_nginx", "nginx, a constant, GET"),
            ("hot_pipelined", "goodstanding, POST, 16 deep"),
            ("nginx_pipelined", "nginx, a constant, 16 deep"),
        ),
    ),
    (
        "A fresh nonce in every request, each answer signed, on one core: answers a second",
        (
            ("nonce", "goodstanding, connections kept"),
            ("nonce_each", "goodstanding, new connections"),
            ("openssl_nonce_each", "openssl ocsp, new connections"),
        ),
    ),
    (
        "From the success of a revocation to revoked from every gateway: milliseconds",
        (("revoked_p50", "half of them"), ("revoked_p99", "99 of 100"), ("revoked_max", "all")),
    ),
)
_OURS, _THEIRS, _INK, _PAPER = "#1a7f5a", "#9aa5ab", "#1f2328", "#ffffff"
_SCALE = 2  # for screens with small pixels
_WIDTH, _MARGIN, _NAMES, _NUMBERS = 860, 24, 230, 70
_BAR, _STEP, _HEADING, _GAP = 16, 24, 30, 14


@dataclass(frozen=True)
class Bar:
    """One bar: its name, its length as a share of the longest in its group, and what is written at its end."""

    name: str
    length: float
    number: str
    ours: bool


def bars(rows: Sequence[Row]) -> list[tuple[str, list[Bar]]]:
    """The groups of which something was measured, each with its title."""
    known = {row.key: row for row in rows}
    groups = []
    for title, named in GROUPS:
        found = [(known[key], name) for key, name in named if key in known]
        longest = max((row.spread.median for row, _ in found), default=0.0)
        if found:
            groups.append((title, [_bar(row, name, longest) for row, name in found]))
    return groups


def _bar(row: Row, name: str, longest: float) -> Bar:
    value = row.spread.median
    return Bar(name, value / longest, number(value), row.who.startswith("goodstanding"))


def can_draw() -> bool:
    """Whether Pillow is there."""
    return importlib.util.find_spec("PIL") is not None


def draw(rows: Sequence[Row], file: Path) -> None:
    """Write the picture as PNG. Raises ImportError without Pillow."""
    from PIL import Image, ImageDraw, ImageFont

    groups = bars(rows)
    height = 2 * _MARGIN - _GAP + sum(_HEADING + _STEP * len(group) + _GAP for _, group in groups)
    image = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), _PAPER)
    pen, font, top = ImageDraw.Draw(image), ImageFont.load_default(13 * _SCALE), _MARGIN
    left, room = _MARGIN + _NAMES, _WIDTH - 2 * _MARGIN - _NAMES - _NUMBERS

    def write(x: float, y: float, text: str, anchor: str) -> None:
        pen.text((x * _SCALE, y * _SCALE), text, _INK, font, anchor)

    for title, group in groups:
        write(_MARGIN, top + _HEADING / 2 - 4, title, "lm")
        top += _HEADING
        for bar in group:
            end, middle = left + max(1.0, room * bar.length), top + _BAR / 2
            write(left - 10, middle, bar.name, "rm")
            box = tuple(_SCALE * each for each in (left, top, end, top + _BAR))
            pen.rectangle(box, fill=_OURS if bar.ours else _THEIRS)
            write(end + 8, middle, bar.number, "lm")
            top += _STEP
        top += _GAP
    image.save(file, optimize=True)
