"""From the event loop into threads and back, without a thread that waits for a commit.

A call begins in a worker thread, or at once where that takes no time; its result arrives from the thread of the
writer. Results that come in together (a batch resolves many at once) wake the loop once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from typing import Any, TypeVar

T = TypeVar("T")


class Bridge:
    """Belongs to the event loop in which it is made."""

    def __init__(self, workers: Executor) -> None:
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._arrived: list[tuple[asyncio.Future[Any], Future[Any]]] = []

    async def run(self, begin: Callable[[], Future[T]]) -> T:
        """Call `begin` in a worker thread, and return what its future comes to.

        If this is cancelled, so is the work, unless its transaction has begun.
        """
        waiting: asyncio.Future[T] = self._loop.create_future()
        begun = self._workers.submit(self._begin, begin, waiting)
        try:
            return await waiting
        except asyncio.CancelledError:
            if not begun.cancel():
                begun.add_done_callback(lambda done: done.result().cancel())
            raise

    async def wait_for(self, future: Future[T]) -> T:
        """What a future comes to that another thread resolves. If this is cancelled, so is the future."""
        waiting: asyncio.Future[T] = self._loop.create_future()
        future.add_done_callback(lambda done: self._arrive(waiting, done))
        try:
            return await waiting
        except asyncio.CancelledError:
            future.cancel()
            raise

    def _begin(self, begin: Callable[[], Future[T]], waiting: asyncio.Future[T]) -> Future[T]:
        try:
            future = begin()
        except BaseException as error:  # noqa: BLE001 - the caller gets it, or would wait for ever
            # What is no Exception (a panic of a library) would end whatever takes it from the future.
            failed = error if isinstance(error, Exception) else RuntimeError(f"the call failed: {type(error).__name__}")
            future = Future()
            future.set_exception(failed)
        future.add_done_callback(lambda done: self._arrive(waiting, done))
        return future

    def _arrive(self, waiting: asyncio.Future[T], done: Future[T]) -> None:
        """Called from any thread."""
        with self._lock:
            self._arrived.append((waiting, done))
            first = len(self._arrived) == 1
        if first:
            self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, []
        for waiting, done in arrived:
            _settle(waiting, done)


def _settle(waiting: asyncio.Future[T], done: Future[T]) -> None:
    if waiting.done():
        return
    try:
        waiting.set_result(done.result())
    except CancelledError:
        waiting.cancel()
    except Exception as error:  # noqa: BLE001 - the caller gets it
        waiting.set_exception(error)
