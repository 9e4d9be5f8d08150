"""Look-up in sorted records of equal size: some twenty comparisons, nothing unpacked, nothing copied."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from mmap import mmap


@dataclass(frozen=True, slots=True)
class SortedRecords:
    """Octet strings of `size` octets each, one behind the other in ascending order."""

    octets: bytes | mmap
    size: int

    def __len__(self) -> int:
        """How many there are."""
        return len(self.octets) // self.size

    def __contains__(self, record: bytes) -> bool:
        """Whether this record is among them; it has `size` octets."""
        octets, size = self.octets, self.size
        low, high = 0, len(octets) // size
        while low < high:
            middle = (low + high) // 2
            if octets[middle * size : (middle + 1) * size] < record:
                low = middle + 1
            else:
                high = middle
        return octets[low * size : (low + 1) * size] == record


def sort_records(records: Iterable[bytes], size: int) -> SortedRecords:
    """The records in order, each once."""
    return SortedRecords(b"".join(sorted(set(records))), size)
