"""Whose turn it is, where many want the same: so many at a time of one caller, and so many of all.

Who waits is not refused, and holds nobody up who does not want the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias
from weakref import WeakValueDictionary

Turn: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]
"""Waits for the turn of one caller."""


class Turns:
    """For one event loop."""

    def __init__(self, *, of_one: int, of_all: int) -> None:
        self._of_one = of_one
        self._all = asyncio.Semaphore(of_all)
        self._own: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, identity: str) -> AsyncIterator[None]:
        """Wait for a turn of that caller; it lasts as long as the block takes."""
        own = self._own.get(identity)
        if own is None:
            own = self._own[identity] = asyncio.Semaphore(self._of_one)
        async with own, self._all:
            yield
