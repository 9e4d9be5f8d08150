"""Waiting for a condition, with an end: what takes longer fails the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


def wait_until(condition: Callable[[], bool], within: float) -> float:
    """Wait up to so many seconds, and return how long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < within, f"it did not come about within {within:g} s"
        time.sleep(0.005)
    return time.monotonic() - begin


async def until(condition: Callable[[], bool], within: float = 10.0) -> None:
    """Wait up to so many seconds while the event loop goes on."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < within, f"it did not come about within {within:g} s"
        await asyncio.sleep(0.005)
