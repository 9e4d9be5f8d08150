"""From the start of all processes, on a data folder that was used before, to the first answer over OCSP."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from pathlib import Path

from cryptography import x509

from benchmarks.load import check
from benchmarks.processes import BenchmarkError, free_addresses, launched, read_on
from benchmarks.questions import plain

GIVE_UP = 60.0


def start_and_ask(data: Path, issuer: x509.Certificate, serial: int) -> float:
    """Seconds from the command to the end of its first successful answer. Everything is stopped again.

    Raises BenchmarkError when there is none within `GIVE_UP`.
    """
    messages, at = plain(issuer, [serial], keep_alive=False), free_addresses("ca", "status", "http", "ops")
    begun = time.perf_counter()
    with launched(data, at) as process:
        assert process.stdout is not None
        threading.Thread(target=read_on, args=(process.stdout, queue.SimpleQueue()), daemon=True).start()
        while time.perf_counter() - begun < GIVE_UP and process.poll() is None:
            # Until it is up it refuses connections, and may say tryLater.
            with contextlib.suppress(OSError, BenchmarkError):
                check(at["http"], messages)
                return time.perf_counter() - begun
            time.sleep(0.01)
    raise BenchmarkError("no answer after a restart of all processes")
