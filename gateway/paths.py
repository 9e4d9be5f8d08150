"""The path of an OCSP GET, from the octets on the wire to the DER of the request (RFC 6960, appendix A.1; R3-R10).

Works on the raw path only: a decoded one has lost the difference between `/` as data and `/` as separator. Accepted is
what clients send: percent-encoded, raw, or a mix; extra slashes in front; padding left out; `%20` where a `+` was taken
for a space. Base64url, white space and everything else that is not base64 is not decoded at all, and the request is
malformed.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable
from typing import Final
from urllib.parse import unquote_to_bytes

_MEMO_ENTRIES: Final = 8192
_MEMO_PATH_LENGTH: Final = 512

MALFORMED: Final = b""
"""Stands for a request that could not be decoded: no DER at all, which every responder answers `malformedRequest`."""

_DOCUMENTS: Final = (b"/ca/", b"/crl/")
# Probes that were meant for the operator address, and browsers' habits: an OCSP error (HTTP 200) would look healthy.
_ELSEWHERE: Final = frozenset({b"/healthz", b"/readyz", b"/metrics", b"/favicon.ico", b"/robots.txt"})


class OcspPaths:
    """Which paths are OCSP, and the request that each of them carries.

    The root and `/ocsp` always are; `prefixes` adds more (the path of the public URL, where a proxy in front keeps it).
    """

    def __init__(self, prefixes: Iterable[str] = ()) -> None:
        found = {prefix.strip("/") for prefix in (*prefixes, "ocsp")} - {""}
        self.prefixes = tuple(sorted((f"/{prefix}" for prefix in found), key=len, reverse=True))
        """Longest first, each with its leading slash and without one at its end; the root is not among them."""
        self._prefixes = tuple(prefix.encode("ascii") for prefix in self.prefixes)
        self._memo: dict[bytes, bytes] = {}

    def request_of(self, path: bytes) -> bytes | None:
        """The DER that a GET of this raw path (without query) carries.

        `MALFORMED` where the path should hold a request and does not; None where the path is not OCSP at all.
        """
        known = self._memo.get(path)
        if known is not None:
            return known
        rest = self._rest(path)
        if rest is None:
            return None
        der = decode(rest)
        if der and len(path) <= _MEMO_PATH_LENGTH:
            if len(self._memo) >= _MEMO_ENTRIES:
                self._memo.clear()
            self._memo[path] = der
        return der

    def accepts_post(self, path: bytes) -> bool:
        """Whether a POST to this raw path is OCSP: a prefix or the root, with or without slashes behind (R8)."""
        rest = self._rest(path)
        return rest is not None and not rest.strip(b"/")

    def _rest(self, path: bytes) -> bytes | None:
        """What follows the prefix; None if that is the path of something else."""
        for prefix in self._prefixes:
            if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in (b"", b"/"):
                path = path[len(prefix) :]
                break
        else:
            if not path.startswith(b"/"):
                return None
        return None if path.startswith(_DOCUMENTS) or path in _ELSEWHERE else path


def decode(text: bytes) -> bytes:
    r"""The octets that the part of a path behind the prefix encodes, or `MALFORMED`.

    >>> decode(b"/MAA%3D") == decode(b"//MAA=") == decode(b"/MAA") == b"0\x00"
    True
    """
    if b"%" in text:
        text = unquote_to_bytes(text)
    # A DER SEQUENCE never begins with the six bits of "/", so leading slashes are never data (R6).
    # A "+" reached us as a space where somebody took the path for a form field (R4).
    text = text.lstrip(b"/").replace(b" ", b"+")
    missing = -len(text) % 4
    if missing and not text.endswith(b"="):
        text += b"=" * missing
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return MALFORMED
