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
from typing import Any, Final, TypeVar

T = TypeVar("T")

_SHARE: Final = 0.06
"""Of the time that others take, what the lane may take. Look-ups, reads and writes come on top, one and a half times
as much."""
_IDLE: Final = 0.0001
"""Seconds: who takes less between two turns of the loop has nothing to do."""
_QUIET: Final = 0.01
"""Seconds: others who had work so recently will be back. What waits for them then is a short turn, not a long one."""
_SHORT: Final = 0.00015
_TURN: Final = 0.0005
_MOST: Final = 0.001
"""Seconds at one go: among others enough to share a look-up, and never so much that they notice."""

_Piece = tuple[Callable[[], Any], asyncio.Future[Any]]


class LaneFull(Exception):
    """Too much is waiting."""


class Lane:
    """Runs pieces of work on the event loop, a few at a time. `clock` gives seconds, and costs little."""

    def __init__(self, max_waiting: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._max_waiting = max_waiting
        self._clock = clock
        self._waiting: deque[_Piece] = deque()
        self._begun: deque[_Piece] = deque()
        self._ended = 0.0
        self._busy = 0.0
        self._credit = 0.0
        self._due = False

    def __len__(self) -> int:
        """How many pieces are waiting."""
        return len(self._waiting) + len(self._begun)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work`, which neither waits nor takes long, when it is its turn; return or raise what it does.

        Raises LaneFull: too much is waiting already.
        """
        if len(self._waiting) >= self._max_waiting:
            raise LaneFull
        return await self._queue(self._waiting, work)

    async def finish(self, work: Callable[[], T]) -> T:
        """As `run`, for what follows on work that was run."""
        return await self._queue(self._begun, work)

    def _queue(self, queue: deque[_Piece], work: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        queue.append((work, future))
        if not self._due:
            self._due = True
            loop.call_soon(self._serve, loop)
        return future

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        begin = self._clock()
        # While something is waiting the loop never sleeps: what has passed since the last turn was others' work.
        others = begin - self._ended
        if others >= _IDLE:
            self._busy = begin
        self._credit = min(self._credit + others * _SHARE, _MOST)
        if others < _IDLE:
            self._work(begin + (_MOST if begin - self._busy > _QUIET else _SHORT))
        elif self._credit >= _TURN:
            self._work(begin + self._credit)
            self._credit = 0.0
        self._ended = self._clock()
        self._due = bool(self._begun or self._waiting)
        if self._due:
            loop.call_soon(self._serve, loop)

    def _work(self, until: float) -> None:
        while queue := self._begun or self._waiting:
            work, future = queue.popleft()
            if not future.done():  # nobody waits for it any more
                _settle(future, work)
            if self._clock() >= until:
                break


def _settle(future: asyncio.Future[T], work: Callable[[], T]) -> None:
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  (it belongs to whoever waits for it)
        future.set_exception(error)
