"""Answers leave together: what one turn of the event loop made is written at its end, a connection at a time.

Guarantees: whatever was put in is written in the next callback, and nothing between two of those waits longer. Writing
often wakes whoever reads, on another core; while that one is awake, the next write does not have to. So a crowd costs
one waking, and whoever asks alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

_logger = structlog.get_logger(__name__)


class Corked(Protocol):
    """A connection that holds something to be written."""

    def uncork(self) -> None:
        """Write it all."""


class Outbox:
    """The connections of one server that have something to write."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[Corked] = []

    def add(self, connection: Corked, loop: asyncio.AbstractEventLoop) -> None:
        """Have a connection uncorked at the end of this turn."""
        if not self._waiting:
            loop.call_soon(self._empty)
        self._waiting.append(connection)

    def _empty(self) -> None:
        waiting, self._waiting = self._waiting, []
        for connection in waiting:
            try:
                connection.uncork()
            except Exception:  # a bug; the others are not to suffer from it
                _logger.exception("a response could not be written")
