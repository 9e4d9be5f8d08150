"""A gateway whose clock is ahead: `python clock_ahead.py SECONDS CONFIG`. Everything else is as in any other."""

from __future__ import annotations

import sys
import time

from gateway import clock

AHEAD = float(sys.argv[1])


def wall_time() -> float:
    """Seconds since 1970, and more."""
    return time.time() + AHEAD


# Before anything takes it from there.
clock.wall_time = wall_time

from gateway.__main__ import main  # noqa: E402

main(sys.argv[2:])
