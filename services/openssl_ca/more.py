"""index.txt.more, which stands beside an index.txt that was exported from here: what its rows have no room for.

What it guarantees: rows and lines are read together, in one order, and memory does not grow with them. Rows may be
missing or added since; lines that belong to none are counted. `writing` writes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from services.openssl_ca.index import BadLine, IndexRow, Revocation, normal_serial
from services.openssl_ca.times import read_time
from services.openssl_ca.writing import writable
from services.pki.reasons import NAMES, Reason

AHEAD: Final = 10_000
"""How many lines are held for rows to come."""
_REASONS: Final = {name: reason for reason, name in NAMES.items()}


class MoreLine(NamedTuple):
    """What a line says of a revocation."""

    serial: str
    time: datetime
    reason: Reason | None
    invalidity_time: datetime | None


def parse_more(line: str, number: int = 1) -> MoreLine:
    """Read one line, without its newline; `number` counts from 1, for errors. Raises BadLine."""
    fields = line.split("\t")
    try:
        serial, time, reason, invalidity = fields
        return MoreLine(
            normal_serial(bytes.fromhex(serial).hex()),
            read_time(time, generalized=True),
            _REASONS[reason] if reason else None,
            read_time(invalidity, generalized=True) if invalidity else None,
        )
    except (ValueError, KeyError):
        told = "not a serial number, a time, a reason and an invalidity time, with tabs between them"
        raise BadLine(number, None, "MORE_LINE_INVALID", told) from None


class MoreLines:
    """The lines of an index.txt.more, beside the rows of its index.txt. Empty where there is none."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = enumerate(lines, 1)
        self._ahead: dict[str, MoreLine] = {}
        self.bad: list[BadLine] = []
        """Lines that cannot be read: the first hundred."""
        self._fill()

    def complete(self, row: IndexRow) -> IndexRow:
        """A row with all that is known of its revocation."""
        found = self._ahead.pop(row.serial, None) if self._ahead else None
        if found is None:
            return row
        self._fill()
        if row.revocation is None:
            return row
        whole = Revocation(found.time, found.reason, row.revocation.hold_instruction, found.invalidity_time)
        # Unless somebody has changed the row since: then what was known of it before counts no more.
        return row._replace(revocation=whole) if writable(whole) == row.revocation else row

    @property
    def waits(self) -> bool:
        """Whether there is anything to be told of rows, or of lines."""
        return bool(self._ahead or self.bad)

    def left(self) -> int:
        """How many lines no row has asked for. Call it after the last row."""
        return len(self._ahead) + sum(1 for _ in self._read())

    def _fill(self) -> None:
        for line in self._read():
            self._ahead[line.serial] = line
            if len(self._ahead) >= AHEAD:
                return

    def _read(self) -> Iterator[MoreLine]:
        for number, line in self._lines:
            if line.startswith("#"):
                continue
            try:
                yield parse_more(line.rstrip("\n"), number)
            except BadLine as error:
                if len(self.bad) < 100:
                    self.bad.append(error)
