"""What is odd about the records of another CA, and what keeps a record out: counted wholly, kept in part.

However many findings there are, memory is bounded: of each kind the first hundred are kept. The numbers of the lines
that are left out are kept all, in eight octets each.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import NamedTuple

PER_CODE = 100


class Finding(NamedTuple):
    """One thing that is odd."""

    code: str
    """UPPER_SNAKE and stable; docs/importing.md lists them."""
    text: str
    refused: bool
    """Whether the record would be left out: the import does not begin unless that is wanted."""
    origin: str = ""
    """Where: "index.txt:17"; a file's name."""
    column: int | None = None
    serial_number: str | None = None


class Findings:
    """All findings of one import, in the order in which they came."""

    def __init__(self) -> None:
        self.kept: list[Finding] = []
        self._counts: dict[str, int] = {}
        self._refused_places: array[int] = array("Q")

    def add(self, finding: Finding, place: int = 0) -> None:
        """Take one in. `place` is the number of the record, for one that is refused."""
        count = self._counts.get(finding.code, 0)
        self._counts[finding.code] = count + 1
        if count < PER_CODE:
            self.kept.append(finding)
        if finding.refused:
            self.refuse(place)

    def refuse(self, place: int) -> None:
        """Leave a record out."""
        if place:
            self._refused_places.append(place)

    @property
    def refused(self) -> int:
        """How many records are left out."""
        return sum(1 for _ in self.left_out())

    @property
    def counts(self) -> dict[str, int]:
        """How many there are of each kind."""
        return dict(self._counts)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self._counts.values())

    def left_out(self) -> Iterator[int]:
        """The places of the records that are left out, in ascending order, each once."""
        before = 0
        for place in sorted(self._refused_places):
            if place != before:
                yield place
            before = place
