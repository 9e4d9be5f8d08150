"""The matrix of GET paths (`path_cases.toml`), and the spelling of each for a given request."""

from __future__ import annotations

import re
import tomllib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from urllib.parse import quote


@dataclass(frozen=True)
class PathCase:
    """One row of the matrix."""

    id: str
    path: str
    expect: str
    """request, malformed or none."""
    rules: list[str]

    def target(self, der: bytes, prefix: str) -> str:
        """The request target for a request (DER), where OCSP is served below `prefix`."""
        return spell(self.path, der, prefix)


CASES = [PathCase(**case) for case in tomllib.loads(Path(__file__).with_name("path_cases.toml").read_text())["case"]]


def spell(template: str, der: bytes, prefix: str = "") -> str:
    """Fill in a path of the matrix."""
    b64 = b64encode(der).decode()
    half = len(b64) // 2
    flip = count()
    return template.format(
        PREFIX=prefix,
        b64=b64,
        ESC=quote(b64, safe=""),
        esc=_escapes(quote(b64, safe=""), str.lower),
        MIXED=_escapes(quote(b64, safe=""), lambda escape: escape.lower() if next(flip) % 2 else escape),
        ALL="".join(f"%{ord(character):02X}" for character in b64),
        HALF=b64[:half] + quote(b64[half:], safe=""),
        SLASH=b64.replace("/", "%2F"),
        PLUS=b64.replace("+", "%20"),
        URL=urlsafe_b64encode(der).decode(),
        BARE=b64.rstrip("="),
    )


def awkward(make: Callable[[bytes], bytes]) -> bytes:
    """A request whose base64 holds `//` and `++` and ends in `==`. `make` puts octets into a request."""
    for before, behind in product(range(3), range(3)):
        der = make(b"\x01" * before + b"\xfb\xef\xbe\xff\xff\xff" * 2 + b"\x01" * behind)
        text = b64encode(der).decode()
        if "//" in text and "++" in text and text.endswith("=="):
            return der
    raise AssertionError("the octets do not appear in the request")


def _escapes(text: str, change: Callable[[str], str]) -> str:
    return re.sub("%[0-9A-F]{2}", lambda match: change(match[0]), text)
