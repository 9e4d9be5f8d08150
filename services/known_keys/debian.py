"""The keys that Debian's OpenSSL of 2006 to 2008 could make (CVE-2008-0166), for the sizes that come along.

The lists are mapped when this is imported, and not read: what is looked at is shared by all processes that do. Being
mapped at once, a list that is missing or empty stops a service at its start, and not the first one who asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from mmap import ACCESS_READ, mmap
from typing import Final

from services.known_keys.debian_files import KINDS, RECORD_SIZE, path_of
from services.known_keys.numbers import sha256_of
from services.known_keys.records import Records

WEAKNESS: Final = (
    "Debian's broken OpenSSL of 2006 to 2008 made it (CVE-2008-0166), so that everybody can compute its private key; "
    "make a new key, with an OpenSSL of today"
)


def is_debians(kind: str, number: int) -> bool:
    """Whether it is one of those keys: one of a `kind` that is not in KINDS never is."""
    records = _LISTS.get(kind)
    return records is not None and sha256_of(number)[:RECORD_SIZE] in records


def _mapped(kind: str) -> Records:
    with path_of(kind).open("rb") as file:
        records = Records(mmap(file.fileno(), 0, access=ACCESS_READ), RECORD_SIZE)
    records.check()
    return records


_LISTS: Final[Mapping[str, Records]] = {kind: _mapped(kind) for kind in KINDS}
