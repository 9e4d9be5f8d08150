"""The two clocks of the gateway."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


def boot_time() -> float:
    """Seconds since boot. It runs on through suspend, and nobody sets it: evidence is measured with it (G3)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def wall_time() -> float:
    """Seconds since 1970: what is written into answers and headers."""
    return time.time()
