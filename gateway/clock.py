"""The two clocks of the gateway, each one call into C: they are read several times for each answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

Clock = Callable[[], float]

boot_time: Final[Clock] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Seconds since boot. It runs on through suspend, and nobody sets it: evidence is measured with it (G3)."""

wall_time: Clock = time.time
"""Seconds since 1970: what is written into answers and headers."""
