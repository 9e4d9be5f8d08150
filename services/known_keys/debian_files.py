"""The files of the keys that Debian's OpenSSL could make: which there are, and what is in them.

`debian/KIND.sha256` holds the first six octets of `sha256_of` of each key's number (`services.known_keys.records`).
`make debian-weak-keys` makes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

KINDS: Final = ("rsa-2048", "p256", "p384", "p521")
RECORD_SIZE: Final = 6
"""A key that is not among the 294,912 of its kind has six octets of one by chance with a probability of 10^-9."""


def path_of(kind: str) -> Path:
    """The file of one of KINDS."""
    return Path(__file__).with_name("debian") / f"{kind}.sha256"
