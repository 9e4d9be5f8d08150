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
