"""Records of one key found among millions of records, in memory that does not grow with them.

Records are spread over parts by their key, each part goes to a temporary file as it grows, and one part after the other
is sorted. A record is 28 octets: the key, and what it is a tag for.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from typing import BinaryIO, Self

from services.cli.failures import Failed

KEY_OCTETS = 20
_RECORD = KEY_OCTETS + 8
_PARTS = 64
_MASK = (1 << 64) - 1
_IN_MEMORY = 32 * 1024


class Joining:
    """Pairs of a key and a number. A context manager: the temporary files are gone afterwards."""

    def __init__(self) -> None:
        self._parts = [bytearray() for _ in range(_PARTS)]
        self._files: dict[int, BinaryIO] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for file in self._files.values():
            with suppress(OSError):  # what could not be written is not missed any more
                file.close()

    def add(self, key: bytes, tag: int) -> None:
        """Take a pair in. Keys have at most 20 octets, and zeros in front do not count."""
        number = key[-1] % _PARTS
        part = self._parts[number]
        part += key.rjust(KEY_OCTETS, b"\0") + tag.to_bytes(8)
        if len(part) >= _IN_MEMORY:
            self._spill(number)

    def groups(self, *, single: bool = True) -> Iterator[tuple[bytes, list[int]]]:
        """Each key, without zeros in front, with its tags in ascending order. If not `single`: those with several."""
        for number in range(_PARTS):
            records = self._records(number)
            if not single and len({record[:KEY_OCTETS] for record in records}) == len(records):
                continue  # As good as always, and three times as quick as going through them.
            for key, group in groupby(sorted(records), lambda record: record[:KEY_OCTETS]):
                tags = [int.from_bytes(record[KEY_OCTETS:]) for record in group]
                if single or len(tags) > 1:
                    yield key.lstrip(b"\0"), tags

    def _records(self, number: int) -> list[bytes]:
        part = self._parts[number]
        if number in self._files:
            file = self._files[number]
            with _room():
                file.seek(0)
                part = bytearray(file.read()) + part
        octets = bytes(part)
        return [octets[at : at + _RECORD] for at in range(0, len(octets), _RECORD)]

    def _spill(self, number: int) -> None:
        with _room():
            if number not in self._files:
                self._files[number] = tempfile.TemporaryFile(prefix="goodstanding-import-")  # noqa: SIM115
            self._files[number].write(self._parts[number])
        self._parts[number].clear()


@contextmanager
def _room() -> Iterator[None]:
    """Raise Failed, with the cure, where temporary files cannot be had."""
    try:
        yield
    except OSError as error:
        told = "make room there, or name another folder with TMPDIR"
        raise Failed(f"temporary files in {tempfile.gettempdir()}: {error.strerror}: {told}") from error


def text_key(text: str) -> bytes:
    """A key for a text of any length. Two texts with the same one are the same, but for a chance of one in 2^64."""
    return (hash(text) & _MASK).to_bytes(8)
