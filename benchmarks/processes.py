"""Processes of a run: goodstanding on free ports, their cores, their CPU time. All end with their context."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_START_WITHIN = 60.0
_STOP_WITHIN = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


class BenchmarkError(Exception):
    """The run cannot go on; the text says why."""


@dataclass(frozen=True)
class System:
    """A running goodstanding: where it is, and its processes by name (ca, status, gateway)."""

    data: Path
    ca: str
    http: str
    pids: dict[str, int]


@contextlib.contextmanager
def goodstanding(folder: Path) -> Iterator[System]:
    """`goodstanding up` with its data in `folder`, on free ports of the loopback interface.

    Raises BenchmarkError with what it said when it does not get ready.
    """
    names = ("ca", "status", "http", "ops")
    addresses = {name: f"127.0.0.1:{port}" for name, port in zip(names, free_ports(len(names)), strict=True)}
    command = [str(Path(sys.executable).with_name("goodstanding")), "up", "--data", str(folder)]
    for name, address in addresses.items():
        command += [f"--{name}", address]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GOODSTANDING_")}
    with (
        subprocess.Popen(command, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
        ending(process),
    ):
        _wait_until_ready(process)
        yield System(folder, addresses["ca"], addresses["http"], services(process.pid))


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read_on, args=(process.stdout, lines), daemon=True).start()
    said, deadline = "", time.monotonic() + _START_WITHIN
    with contextlib.suppress(queue.Empty):
        while line := lines.get(timeout=max(0.1, deadline - time.monotonic())):
            if line.startswith("ready"):
                return
            said += line
    raise BenchmarkError(f"goodstanding up did not get ready:\n{said}")


def _read_on(output: IO[str], lines: queue.SimpleQueue[str]) -> None:
    # To the very end: a full pipe would stop the services.
    for line in output:
        lines.put(line)
    lines.put("")


@contextlib.contextmanager
def ending(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends a process with the context: by asking, then by force."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()


def services(supervisor: int) -> dict[str, int]:
    """The process ids of the services that a supervisor runs, by name. Raises BenchmarkError when one is missing."""
    found = {}
    for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
        words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        if "serve" in words:
            found[words[words.index("serve") + 1]] = int(child)
    if missing := {"ca", "status", "gateway"} - found.keys():
        raise BenchmarkError(f"goodstanding up runs no {', '.join(sorted(missing))}")
    return found


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [sock.getsockname()[1] for sock in sockets]


def pin(pid: int, to: Sequence[int]) -> None:
    """Keep a process, with all of its threads, on some cores. 0 is this process."""
    for thread in Path(f"/proc/{pid or 'self'}/task").iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), to)


def cpu_seconds(pid: int) -> float:
    """The CPU time that a process has used, in seconds. 0 is this process."""
    # The second field is the command's name in parentheses; it may hold anything.
    fields = Path(f"/proc/{pid or 'self'}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass
class Watch:
    """How busy the server and this process, the load generator, were from the beginning on."""

    pid: int

    def __post_init__(self) -> None:
        self._begun = (time.perf_counter(), cpu_seconds(self.pid), cpu_seconds(0))

    def busy(self) -> tuple[float, float]:
        """Shares of one core: the server's, and this process's."""
        begun, server, client = self._begun
        taken = time.perf_counter() - begun
        return (cpu_seconds(self.pid) - server) / taken, (cpu_seconds(0) - client) / taken
