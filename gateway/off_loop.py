"""Signatures beside the event loop, for keys that take hundreds of microseconds or more for one.

The library lets go of the interpreter while it signs with RSA, P-384, P-521 and ML-DSA. So others are answered
meanwhile, and where there is another core, it is put to use.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple

import structlog

_logger = structlog.get_logger(__name__)

Outcome = bytes | BaseException
"""A signature, or what came in its place: a panic of a library is no Exception."""


_FIRST_GUESS = 0.005
"""Seconds that a signature takes, while nobody knows."""
_LATEST = 1 / 16
"""How much the latest signature counts in what they take."""
_AT_MOST = 4
"""Times as long as the others: what took longer counts as that, for it was not the signature that took its time."""


class _Job(NamedTuple):
    sign: Callable[[], bytes]
    deliver: Callable[[Outcome], None]


class _Done(NamedTuple):
    job: _Job
    outcome: Outcome
    seconds: float


class SigningThreads:
    """Runs what signs in threads, and delivers on the event loop that asked. The threads start with the first use."""

    def __init__(self, count: int) -> None:
        """`count`: how many at the most; one core each is what they can use."""
        self._count = count
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._done: deque[_Done] = deque()
        self._each = _FIRST_GUESS
        self._due = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads: list[threading.Thread] = []
        self.outstanding = 0
        """How many signatures were asked for and not delivered yet."""
        self.expected = 0
        """How many more will be asked for, as far as those who ask know."""

    def sign(self, sign: Callable[[], bytes], deliver: Callable[[Outcome], None]) -> None:
        """Have `deliver` called on this event loop with what `sign` returns or raises. `deliver` does not raise."""
        if len(self._threads) < self._count and self.outstanding >= len(self._threads):
            try:
                self._start_one()
            except RuntimeError:  # no more can be had, and those that there are will do
                if not self._threads:
                    raise
        self.outstanding += 1
        self._jobs.put(_Job(sign, deliver))

    def seconds(self, more: int = 0) -> float:
        """How long it takes, about, until all that is outstanding and expected is signed, and so many more."""
        return (self.outstanding + self.expected + more) * self._each / self._count

    def close(self) -> None:
        """Let the threads end, once they have signed what they have."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads = []

    def _start_one(self) -> None:
        self._loop = asyncio.get_running_loop()
        # What is signed when the process ends, nobody waits for any more.
        thread = threading.Thread(target=self._run, name="gateway-sign", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            begin = time.perf_counter()
            try:
                outcome: Outcome = job.sign()
            except BaseException as error:  # noqa: BLE001 - whoever waits for the signature gets it
                outcome = error
            self._done.append(_Done(job, outcome, time.perf_counter() - begin))
            if not self._due:  # one wake-up for all that are done by then
                self._due = True
                self._wake()

    def _wake(self) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            self._done.clear()  # the loop has ended, and with it everybody who waits

    def _deliver(self) -> None:
        self._due = False  # first: what is done from here on wakes the loop again, if it is not met below
        while self._done:
            job, outcome, seconds = self._done.popleft()
            self.outstanding -= 1
            self._each += (min(seconds, _AT_MOST * self._each) - self._each) * _LATEST
            try:
                job.deliver(outcome)
            except Exception:  # a bug; those behind it are not to suffer from it
                _logger.exception("a signature could not be delivered")
