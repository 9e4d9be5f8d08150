"""Many look-ups, few calls: concurrent look-ups share a batch, identical ones are joined.

A unary gRPC call costs some 250 µs here, a place in a batch of 32 some 11. While calls are under way, what arrives is
collected; nothing waits for a timer. What is waiting is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class TooManyWaiting(Exception):
    """The bound on waiting look-ups is reached."""


class Batcher(Generic[K, V]):
    """Looks keys up through `fetch`, which gets distinct keys and returns their values in the same order.

    What `fetch` raises reaches everyone whose key was in that batch.
    """

    def __init__(
        self,
        fetch: Callable[[Sequence[K]], Awaitable[Sequence[V]]],
        *,
        max_batch: int = 128,
        max_calls: int = 4,
        max_waiting: int = 8192,
    ) -> None:
        self._fetch = fetch
        self._max_batch = max_batch
        self._max_calls = max_calls
        self._max_waiting = max_waiting
        self._waiting: deque[K] = deque()
        self._futures: dict[K, asyncio.Future[V]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._scheduled = False

    async def look_up(self, key: K) -> V:
        """The value for `key`. Joins a look-up of the same key that is waiting or under way.

        The value may so be a little older than the call: `fetch` puts into it when it was sent, and the asker judges.

        Raises TooManyWaiting: at once, if the bound is reached.
        """
        future = self._futures.get(key)
        if future is None:
            if len(self._waiting) >= self._max_waiting:
                raise TooManyWaiting
            future = self._futures[key] = asyncio.get_running_loop().create_future()
            self._waiting.append(key)
            self._schedule()
        # One asker that goes away must not take the value from the others.
        return await asyncio.shield(future)

    async def close(self) -> None:
        """End the calls under way, and let go of those who wait for another."""
        self._fail(list(self._waiting), asyncio.CancelledError())
        self._waiting.clear()
        for call in list(self._calls):
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _schedule(self) -> None:
        # Once around the loop: what arrives in the same round joins the batch.
        if not self._scheduled and len(self._calls) < self._max_calls:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        if not self._waiting or len(self._calls) >= self._max_calls:
            return
        keys = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._max_batch))]
        call = asyncio.get_running_loop().create_task(self._call(keys))
        self._calls.add(call)
        call.add_done_callback(self._done)
        if self._waiting:
            self._schedule()

    def _done(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting:
            self._schedule()

    async def _call(self, keys: Sequence[K]) -> None:
        try:
            values = await self._fetch(keys)
        except BaseException as error:
            self._fail(keys, error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        if len(values) != len(keys):
            self._fail(keys, ValueError(f"{len(values)} values for {len(keys)} keys"))
            return
        for key, value in zip(keys, values, strict=True):
            self._futures.pop(key).set_result(value)

    def _fail(self, keys: Sequence[K], error: BaseException) -> None:
        for key in keys:
            future = self._futures.pop(key)
            future.set_exception(error)
            future.exception()  # all who asked may have gone away: nobody else looks at it then
