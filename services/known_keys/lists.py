"""Lists of known keys that an operator names (`weak_key_lists` in [ca]), read and checked as a whole.

Two formats, told apart by how long the lines are, all of one file alike:

- 20 hex digits, as in Debian's openssl-blacklist: the end of the SHA-1 of the line `Modulus=...`; RSA keys;
- 64 hex digits, as in the dwk_blocklists of github.com/CVE-2008-0166: the SHA-256 of the modulus or x coordinate.

Empty lines and lines that begin with # say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from services.known_keys.numbers import sha1_of_modulus, sha256_of
from services.known_keys.records import Records, pack

_RECORD_SIZE: Final = 10
_HASHES: Final[Mapping[int, tuple[Callable[[int], bytes], slice]]] = {
    20: (sha1_of_modulus, slice(-_RECORD_SIZE, None)),
    64: (sha256_of, slice(0, _RECORD_SIZE)),
}
_HEX: Final = re.compile(rb"[0-9a-fA-F]+")
_LONGEST_LINE: Final = 1000


class ListUnreadable(Exception):
    """A list that cannot be used. The text names the file, the line where it is one, and what is wrong."""


@dataclass(frozen=True, slots=True)
class KeyList:
    """The keys of one file."""

    name: str
    """Of the file, without its folder: it is told to whoever asks for a certificate."""
    digits: int
    """Of a line: 20 or 64."""
    records: Records

    def holds(self, kind: str, number: int) -> bool:
        """Whether it lists the key with that number. `kind` is `rsa-BITS` or a curve."""
        if self.digits == 20 and not kind.startswith("rsa"):
            return False
        hashed, part = _HASHES[self.digits]
        return hashed(number)[part] in self.records


def read_lists(paths: Sequence[Path]) -> tuple[KeyList, ...]:
    """The lists of these files. Raises ListUnreadable with a line for each that is of no use."""
    found, problems = [], []
    for path in paths:
        try:
            found.append(read_list(path))
        except ListUnreadable as error:
            problems.append(str(error))
    if problems:
        raise ListUnreadable("\n".join(problems))
    return tuple(found)


def read_list(path: Path) -> KeyList:
    """The list of one file. Raises ListUnreadable."""
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except FileNotFoundError:
        raise ListUnreadable(f"{path}: no such file") from None
    except OSError as error:
        raise ListUnreadable(f"{path}: cannot be read: {error.strerror}") from None


def _read(path: Path, file: BinaryIO) -> KeyList:
    digits = 0
    records: list[bytes] = []
    for number, line in _lines(file):
        if len(line) not in _HASHES or not _HEX.fullmatch(line):
            raise ListUnreadable(f"{path}: line {number}: 20 or 64 hex digits are expected, or a comment after #")
        digits = digits or len(line)
        if len(line) != digits:
            text = f"{len(line)} hex digits, where those before have {digits}: put them into two files"
            raise ListUnreadable(f"{path}: line {number}: {text}")
        records.append(bytes.fromhex(line.decode("ascii"))[:_RECORD_SIZE])
    if not records:
        raise ListUnreadable(f"{path}: lists no key")
    return KeyList(path.name, digits, Records(pack(records), _RECORD_SIZE))


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The lines that say something, with their numbers. One that is too long comes cut off, and is refused."""
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        content = line.strip()
        if content and not content.startswith(b"#"):
            yield number, content
