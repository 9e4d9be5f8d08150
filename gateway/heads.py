"""Heads of HTTP requests that were parsed before, and what parsing them came to.

A client, or a proxy, sends the same head again and again: by POST all of it but Content-Length is the same for every
certificate, by GET it is the whole request. What is found here needs no parser.

Guarantees: a head is found by its very octets, and only if the parser took exactly those, and the body behind them, for
one whole request for plain OCSP. Memory is bounded. Whoever sends ever new heads flushes the new ones, and not those
that are used.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_END: Final = b"\r\n\r\n"
_MAX_HEAD: Final = 1024
"""Octets; what is longer is parsed each time."""
_MAX_NEW: Final = 1024
_MAX_USED: Final = 8192


class Head(NamedTuple):
    """What a head says."""

    length: int
    """Octets of the body."""
    der: bytes
    """The OCSP request of a GET; empty where it is the body."""
    keep_alive: bool
    conditions: tuple[bytes | None, bytes | None] | None
    """If-None-Match and If-Modified-Since."""


class Heads:
    """What is remembered of heads: those that were seen once, and those that were used since."""

    __slots__ = ("_new", "_used")

    def __init__(self) -> None:
        self._new: dict[bytes, Head] = {}
        self._used: dict[bytes, Head] = {}

    def __len__(self) -> int:
        return len(self._new) + len(self._used)

    def find(self, octets: bytes, at: int = 0) -> tuple[int, Head | None]:
        """Where the head ends that begins at `at`, and what it says; None if it is not known.

        No more is looked at than a head that is remembered may have, however much was received.
        """
        end = octets.find(_END, at, at + _MAX_HEAD) + len(_END)
        text = octets[at:end]
        known = self._used.get(text)
        if known is None and text in self._new:
            known = self._used[text] = self._new.pop(text)
            if len(self._used) > _MAX_USED:
                del self._used[next(iter(self._used))]
        return end, known

    def learn(self, octets: bytes, head: Head) -> None:
        """Remember the head of the whole request that `octets` begin with, and which the parser has found to say this.

        Not one that begins with an empty line or has line ends without CR: there the parser may have found the end of
        the head elsewhere.
        """
        end = octets.find(_END) + len(_END)
        text = octets[:end]
        if not len(_END) <= end <= _MAX_HEAD or text[0] in b"\r\n" or text.count(b"\n") != text.count(b"\r\n"):
            return
        if len(self._new) >= _MAX_NEW:
            self._new.clear()
        self._new[text] = head
