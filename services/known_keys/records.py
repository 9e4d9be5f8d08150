"""Hashes in a file that is looked into as it is: nothing is unpacked, and a look-up reads some forty octets of it.

First an index: for each beginning of two octets, and for one more, how many records come before it (65,537 numbers of
four octets, the lowest first). Then the records in ascending order, without those two octets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from mmap import mmap
from struct import Struct
from typing import Final

_BEGINNING: Final = 2
_BEGINNINGS: Final = 1 << 8 * _BEGINNING
_NUMBERS: Final = Struct(f"<{_BEGINNINGS + 1}I")
_FROM_TO: Final = Struct("<2I")
_COUNT: Final = Struct("<I")


class Malformed(ValueError):
    """These octets hold no records of that size."""


@dataclass(frozen=True, slots=True)
class Records:
    """Octet strings of `size` octets each, spread evenly, as hashes are."""

    octets: bytes | mmap
    size: int

    def __contains__(self, record: bytes) -> bool:
        """Whether this octet string of `size` octets is among them."""
        octets, size = self.octets, self.size - _BEGINNING
        first, last = _FROM_TO.unpack_from(octets, _COUNT.size * int.from_bytes(record[:_BEGINNING]))
        there = octets[_NUMBERS.size + size * first : _NUMBERS.size + size * last]
        at = there.find(record[_BEGINNING:])
        while at >= 0 and at % size:  # across two of them
            at = there.find(record[_BEGINNING:], at + 1)
        return at >= 0

    def __iter__(self) -> Iterator[bytes]:
        """All of them, in ascending order."""
        size, at = self.size - _BEGINNING, _NUMBERS.size
        numbers = _NUMBERS.unpack_from(self.octets)
        for beginning, (first, last) in enumerate(pairwise(numbers)):
            for _ in range(first, last):
                yield beginning.to_bytes(_BEGINNING) + self.octets[at : at + size]
                at += size

    def check(self) -> None:
        """Raises Malformed where the length is not what the index says."""
        if len(self.octets) < _NUMBERS.size:
            raise Malformed("the index is cut off")
        (count,) = _COUNT.unpack_from(self.octets, _NUMBERS.size - _COUNT.size)
        if len(self.octets) != _NUMBERS.size + count * (self.size - _BEGINNING):
            raise Malformed(f"the records are not {count}, as the index says")


def pack(records: Iterable[bytes]) -> bytes:
    """The file of these records, each once."""
    ordered = sorted(set(records))
    counts = [0] * (_BEGINNINGS + 1)
    for record in ordered:
        counts[int.from_bytes(record[:_BEGINNING]) + 1] += 1
    return _NUMBERS.pack(*accumulate(counts)) + b"".join(record[_BEGINNING:] for record in ordered)
