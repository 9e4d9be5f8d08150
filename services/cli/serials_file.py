"""Files that list serial numbers: one a line, with a reason behind it if it has one of its own.

    # what the laptop had
    0a1b2c3d
    0x4e5f6a7b keyCompromise
    serial=5C6D7E8F

The last is what `openssl x509 -serial` prints. Nothing is sent before the whole file has been read: a mistake in its
last line shall not leave half of it revoked. However long it is, it is never in memory as a whole.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.cli import output
from services.cli.failures import Failed
from services.errors import InvalidArgument
from services.pki.serials import parse_serial

_REASONS = {name.lower(): number for name, number in output.REASONS.items()}
_MAX_LINE = 1000
_MAX_MISTAKES = 10
_OPENSSL = "serial="


@dataclass(frozen=True)
class Line:
    """One certificate of a file."""

    number: int
    serial: str
    reason: int | None


@dataclass(frozen=True)
class SerialsFile:
    """A file without mistakes."""

    content: BinaryIO
    count: int

    def lines(self) -> Iterator[Line]:
        """Its certificates."""
        self.content.seek(0)
        return (line for line in map(_read_line, self._numbered()) if line is not None)

    def check(self) -> tuple[int, list[str]]:
        """How many certificates there are, and what is wrong, with the numbers of lines; of much, the first."""
        self.content.seek(0)
        count = wrong = 0
        mistakes: list[str] = []
        for numbered in self._numbered():
            try:
                count += _read_line(numbered) is not None
            except Failed as mistake:
                wrong += 1
                if wrong <= _MAX_MISTAKES:
                    mistakes.append(mistake.message)
        if wrong > _MAX_MISTAKES:
            mistakes.append(f"and {wrong - _MAX_MISTAKES} more lines")
        return count, mistakes

    def _numbered(self) -> Iterator[tuple[int, bytes]]:
        return enumerate(iter(lambda: self.content.readline(_MAX_LINE), b""), 1)


@contextmanager
def open_serials(path: Path) -> Iterator[SerialsFile]:
    """Open and check a file (-: standard input). Raises Failed, naming it and the lines that are wrong."""
    with _opened(path) as content:
        count, mistakes = SerialsFile(content, 0).check()
        if mistakes:
            raise Failed(f"{_name(path)}, {'; '.join(mistakes)}. Nothing was sent")
        if not count:
            raise Failed(f"{_name(path)} lists no serial number")
        yield SerialsFile(content, count)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    with nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as file:
        if str(path) != "-" and file.seekable():
            yield file
            return
        with tempfile.TemporaryFile() as copy:  # to be read twice, which a pipe cannot be
            shutil.copyfileobj(file, copy)
            yield copy


def _read_line(numbered: tuple[int, bytes]) -> Line | None:
    number, raw = numbered
    words = raw.decode("utf-8", errors="replace").partition("#")[0].replace(",", " ").split()
    if not words:
        return None
    if len(words) > 2 or len(raw) == _MAX_LINE:
        raise Failed(f"line {number}: give a serial number (hex), and at most a reason behind it")
    serial = words[0].removeprefix(_OPENSSL)
    try:
        parse_serial(serial, "serial_number")
    except InvalidArgument as error:
        raise Failed(f"line {number}: {error.message}") from error
    reason = _REASONS.get(words[1].lower()) if len(words) == 2 else None
    if len(words) == 2 and reason is None:
        raise Failed(f"line {number}: {words[1]!r} is no reason; one of {', '.join(output.REASONS)}")
    return Line(number, serial, reason)


def _name(path: Path) -> str:
    return "standard input" if str(path) == "-" else str(path)
