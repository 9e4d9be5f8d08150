"""OCSP answers of a gateway beside nginx and `openssl ocsp`, in rounds: each measures every row once.

A measured server has the first core; the load generator, and all that is not measured, has the second. Only where two
workers are measured does everybody have both.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from cryptography import x509

from benchmarks.cores import first_core, pin, second_core
from benchmarks.load import keep_alive
from benchmarks.measure import Row
from benchmarks.openssl import Authority
from benchmarks.processes import System
from benchmarks.questions import plain
from benchmarks.rows_hot import hot_tasks
from benchmarks.rows_signed import signed_tasks
from benchmarks.rows_workers import worker_tasks
from benchmarks.sizes import HOT, Progress, Size
from benchmarks.tasks import Answers, Task, run_task

LOOKED_UP = "looked_up"


def run_answering(
    system: System,
    issuer: x509.Certificate,
    peer: Authority,
    serials: Sequence[int],
    folder: Path,
    size: Size,
    progress: Progress,
) -> tuple[list[Row], list[str]]:
    """The rows, and what was left out. `serials` are the issuer's; beyond the first ones, each is asked about once."""
    hot, fresh, left_out = serials[:HOT], iter(serials[HOT:]), list[str]()
    looked_up = Row(LOOKED_UP, "goodstanding, status looked up, POST: never asked before", "/s")
    with contextlib.ExitStack() as stack:
        tasks: list[Task] = [
            *hot_tasks(system, issuer, hot, folder, stack, left_out),
            *signed_tasks(system, issuer, hot, peer, stack),
            *worker_tasks(system, issuer, hot, stack, left_out),
        ]
        stack.enter_context(others_on_the_second_core(system))
        for task in tasks:
            progress(f"warming up: {task.rows[0].what}")
            task.warm_up(size.seconds / 2)
        for number in range(size.rounds):
            progress(f"OCSP answers, run {number + 1} of {size.rounds}")
            for task in tasks:
                run_task(task, size.seconds)
            first_asking(system, issuer, looked_up, list(islice(fresh, size.certificates))).run(60)
    return [*(row for task in tasks for row in task.rows), looked_up], left_out


def first_asking(system: System, issuer: x509.Certificate, row: Row, serials: Sequence[int]) -> Task:
    """Asking about each certificate for the first time: looked up over gRPC and in the database, then signed."""
    messages = plain(issuer, serials, keep_alive=True)
    at, most = system.gateway, len(serials)
    return Answers(row, at.pid, lambda seconds: keep_alive(at.http, messages, seconds, at_most=most))


@contextlib.contextmanager
def others_on_the_second_core(system: System) -> Iterator[None]:
    """The system's gateway on the first core; its other services, and the load generator, on the second."""
    before = sorted(os.sched_getaffinity(0))
    try:
        pin(system.pids["gateway"], first_core())
        for pid in (system.pids["ca"], system.pids["status"], 0):
            pin(pid, second_core())
        yield
    finally:
        for pid in (*system.pids.values(), 0):
            pin(pid, before)
