"""Which core a process runs on, and how busy processes and cores are. Linux: from /proc."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Busy

_TICKS = os.sysconf("SC_CLK_TCK")
# In the line of a core in /proc/stat: user nice system idle iowait irq softirq steal.
_IDLE = slice(3, 5)
_ALL = slice(0, 8)


def cores() -> tuple[int, ...]:
    """The cores of a run: the first two that this process may use when it starts, or else its one."""
    return _CORES


_CORES = tuple(sorted(os.sched_getaffinity(0))[:2])


def first_core() -> tuple[int, ...]:
    """Where the measured server runs."""
    return _CORES[:1]


def second_core() -> tuple[int, ...]:
    """Where the load generator runs, and all that is not measured."""
    return _CORES[-1:]


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found, at = [pid], 0
    while at < len(found):
        for task in _listed(Path(f"/proc/{found[at]}/task")):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (task / "children").read_text().split())
        at += 1
    return found


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return []


def pin(pid: int, to: Sequence[int]) -> None:
    """Keep a process on some cores, with all of its threads and descendants. 0 is this process alone."""
    for member in family(pid) if pid else [os.getpid()]:
        for thread in _listed(Path(f"/proc/{member}/task")):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), to)


@contextlib.contextmanager
def running_on(to: Sequence[int]) -> Iterator[None]:
    """Keeps this process, and what it starts meanwhile, on some cores."""
    before = os.sched_getaffinity(0)
    pin(0, to)
    try:
        yield
    finally:
        pin(0, sorted(before))


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process and its descendants have used, in seconds.

    0 is this process, with those that it has started and waited for: wrk.
    """
    if not pid:
        return sum(os.times()[:4])
    return sum(_cpu_seconds(member) for member in family(pid))


def _cpu_seconds(pid: int) -> float:
    try:
        # The second field is the command's name in parentheses; it may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def core_seconds(core: int, text: str | None = None) -> float:
    """How long a core was not idle since the machine started, whoever used it: our processes, others, its host."""
    for line in (text if text is not None else Path("/proc/stat").read_text()).splitlines():
        name, *fields = line.split() or [""]
        if name == f"cpu{core}":
            ticks = [int(field) for field in fields]
            return (sum(ticks[_ALL]) - sum(ticks[_IDLE])) / _TICKS
    return 0.0


class Watch:
    """How busy everybody was from the beginning on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begun = self._now()

    def busy(self) -> Busy:
        """Since the watch began."""
        (begun, *before), (now, *after) = self._begun, self._now()
        return Busy(*((late - early) / (now - begun) for early, late in zip(before, after, strict=True)))

    def _now(self) -> tuple[float, float, float, float, float]:
        pid = self._pid
        used = cpu_seconds(pid), cpu_seconds(0)
        return time.perf_counter(), *used, core_seconds(first_core()[0]), core_seconds(second_core()[0])
