"""Load at a given rate, and how long each answer took, from the moment when it was to be asked.

Requests come at random times, as from many clients that know nothing of each other, and they come whether or not the
answers do: what waits because the responder (or this process) is behind has waited since its own time. So a pause of
the responder is seen by every request that it delayed, and not just by those that were on their way.
"""

from __future__ import annotations

import contextlib
import random
import select
import time
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from benchmarks.load import CONNECTIONS, TIMEOUT, Line, open_lines
from benchmarks.processes import BenchmarkError
from benchmarks.questions import Messages

_SEED = 4


def arrivals(rate: float, seconds: float) -> list[float]:
    """Times at which requests come, in seconds from the beginning: a Poisson process, always the same one."""
    source = random.Random(_SEED)
    return list(accumulate(source.expovariate(rate) for _ in range(max(1, round(rate * seconds)))))


def paced(address: str, messages: Messages, times: Sequence[float]) -> list[float]:
    """Ask at these times, over connections that stay open; the seconds from each time to the end of its answer.

    A request whose time has come takes the first connection that is free. Raises BenchmarkError.
    """
    latencies: list[float] = []
    with contextlib.ExitStack() as stack:
        lines = open_lines(address, CONNECTIONS, stack)
        poll = stack.enter_context(select.epoll())
        for fd in lines:
            poll.register(fd, select.EPOLLIN)
        free: deque[tuple[int, Line]] = deque(lines.items())
        due: dict[int, float] = {}
        clock, count, at = time.perf_counter, len(times), 0
        begun = last = clock()
        while len(latencies) < count:
            now = clock() - begun
            while at < count and free and times[at] <= now:
                fd, line = free.popleft()
                line.send(messages(1))
                due[fd] = times[at]
                at += 1
            # Without waiting: the shortest wait of epoll is a millisecond, many times what an answer takes.
            ready = poll.poll(0)
            for fd, _ in ready:
                line = lines[fd]
                if line.answered():
                    last = clock()
                    latencies.append(last - begun - due[fd])
                    free.append((fd, line))
            if not ready and due and clock() - last > TIMEOUT and len(free) < CONNECTIONS:
                raise BenchmarkError(f"{address} gave no answer within {TIMEOUT:g} s")
    return latencies
