"""The files `serial` and `crlnumber`: one number in hex, the next one that `openssl ca` takes."""

from __future__ import annotations

import re

_HEX = re.compile(r"[0-9A-Fa-f]+", re.ASCII)
_MAX_DIGITS = 128


def parse_number(content: bytes) -> int:
    """Read such a file. OpenSSL continues a line after a backslash, so that long numbers may have several lines.

    Raises ValueError.
    """
    text = content.decode("latin-1").replace("\\\r\n", "").replace("\\\n", "")
    digits = text.split("\n", 1)[0].strip()
    if not _HEX.fullmatch(digits) or len(digits) > _MAX_DIGITS:
        raise ValueError("not a number in hex, as in 1000")
    return int(digits, 16)


def format_number(number: int) -> str:
    """Write one, with the newline at its end: two digits an octet, in upper case. Raises ValueError below zero."""
    if number < 0:
        raise ValueError("a negative number")
    digits = f"{number:X}"
    return f"{digits.zfill(len(digits) + len(digits) % 2)}\n"
