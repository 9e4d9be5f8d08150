"""The lane for costly work: parsing, signing, whatever is not ready. Answers that are ready pass it by.

Guarantees: while others have work, the lane takes no more than a fixed share of the event loop's time, so whoever asks
for serial numbers that nobody has ever seen cannot slow down those who ask for what is known; while nobody else has
any, it takes all there is. What waits is bounded, first come first served, but what was begun is finished first: the
evidence that it rests on grows old.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

_logger = structlog.get_logger(__name__)

_SHARE: Final = 0.035
"""Of the time that others take, what the lane may take. Look-ups, reads and writes come on top, three or four times
as much."""
_IDLE: Final = 0.000015
"""Seconds, or twice what an empty turn of the loop takes here, if that is more: in less than that nobody has done
anything between two turns of the lane. One answer that is ready takes about as much."""
_QUIET: Final = 0.01
"""Seconds: others who had work so recently will be back. What waits for them then is a short turn, not a long one."""
_SHORT: Final = 0.00005
_TURN: Final = 0.0005
_MOST: Final = 0.001
"""Seconds at one go: among others enough to share a look-up, and never so much that they notice."""
_FORGET: Final = 1.00001
"""The shortest turn is forgotten by that much in each: a machine that has become slower is believed in the end."""

Work = Callable[[], None]


class Lane:
    """Runs pieces of work on the event loop, a few at a time. `clock` gives seconds, and costs little."""

    def __init__(self, max_waiting: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[Work] = deque()
        self._begun: deque[Work] = deque()
        self._ended = 0.0
        self._busy = 0.0
        self._least = 1.0
        self._credit = 0.0
        self._due = False

    def __len__(self) -> int:
        """How many pieces are waiting."""
        return len(self._waiting) + len(self._begun)

    def run(self, work: Work) -> bool:
        """Have `work` run when it is its turn; False if too much is waiting already.

        It neither waits nor takes long, and deals with its own errors.
        """
        if len(self._waiting) >= self._max_waiting:
            return False
        self._waiting.append(work)
        self._wake()
        return True

    def finish(self, work: Work) -> None:
        """As `run`, for what follows on work that was run: there is always room for it."""
        self._begun.append(work)
        self._wake()

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            loop = asyncio.get_running_loop()
            loop.call_soon(self._serve, loop)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        begin = self._clock()
        # While something is waiting the loop never sleeps: what has passed since the last turn was others' work.
        others = begin - self._ended
        self._least = min(others, self._least * _FORGET)
        idle = others < max(_IDLE, 2 * self._least)
        if not idle:
            self._busy = begin
        self._credit = min(self._credit + others * _SHARE, _MOST)
        try:
            if idle:
                self._work(begin + (_MOST if begin - self._busy > _QUIET else _SHORT))
            elif self._credit >= _TURN:
                self._work(begin + self._credit)
                self._credit = 0.0
        finally:  # whatever it was that got through: nobody else would ever serve again
            self._ended = self._clock()
            self._due = bool(self._begun or self._waiting)
            if self._due:
                loop.call_soon(self._serve, loop)

    def _work(self, until: float) -> None:
        while queue := self._begun or self._waiting:
            try:
                queue.popleft()()
            except Exception:  # a bug; those behind it are not to suffer from it
                _logger.exception("a piece of work failed, which deals with its own errors")
            if self._clock() >= until:
                break
