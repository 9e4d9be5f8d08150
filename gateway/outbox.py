"""Answers leave together: what one turn of the event loop made is written at its end, a connection at a time.

Guarantees: whatever was put in is written in the next callback, and nothing between two of those waits longer. Writing
often wakes whoever reads, on another core; while that one is awake, the next write does not have to. So a crowd costs
one waking, and whoever asks alone waits for nobody.

What a client does not read waits in the process, and the test of its freshness is long ago. So it is tested again and
again, and the client is cut off rather than sent what is not fresh any more (G3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from gateway.answer import Answer

_logger = structlog.get_logger(__name__)

_GLANCE: Final = 0.01
"""Seconds between two looks: evidence ends that much before its bound (docs/freshness.md)."""
_MOST: Final = 64
"""Connections: nearly always there are none, and a crowd of them is made by somebody who wants to be looked after."""


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


class Stalled(Protocol):
    """A connection whose client does not read."""

    def cut_off(self) -> None:
        """Send nothing more."""


class Unread:
    """The connections of one server that the kernel takes nothing more for, and the answers that wait there."""

    __slots__ = ("_due", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[Stalled, list[Answer]] = {}
        self._due = False

    def add(self, connection: Stalled, answers: Sequence[Answer], loop: asyncio.AbstractEventLoop) -> None:
        """These wait there from now on; where there are too many of such connections, it is cut off."""
        if connection not in self._waiting and len(self._waiting) >= _MOST:
            connection.cut_off()
            return
        self._waiting.setdefault(connection, []).extend(answers)
        if not self._due:
            self._due = True
            loop.call_later(_GLANCE, self._look, loop)

    def discard(self, connection: Stalled) -> None:
        """Its client has read on, or it is gone."""
        self._waiting.pop(connection, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection, answers in list(self._waiting.items()):
            if not all(answer.fresh() for answer in answers):
                self._waiting.pop(connection, None)
                connection.cut_off()
        self._due = bool(self._waiting)
        if self._due:
            loop.call_later(_GLANCE, self._look, loop)
