"""OCSP answers of one gateway beside `openssl ocsp`, in rounds: each measures every row once.

A measured responder has the first core; the load generator, and all that is not measured, has the second.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from cryptography import x509

from benchmarks.load import DEPTH, Load, check, connection_each, keep_alive
from benchmarks.machine import cores
from benchmarks.measure import Row
from benchmarks.openssl import Authority, responder
from benchmarks.processes import System, Watch, pin
from benchmarks.questions import plain, with_nonce
from benchmarks.sizes import Progress, Size

HOT = 64
"""Certificates that are asked about again and again."""


@dataclass(frozen=True)
class Task:
    """How a row is measured, and the process that is at work then."""

    row: Row
    server: int
    ask: Callable[[float], Load]
    """Asks for so many seconds."""

    def run(self, seconds: float) -> None:
        """Measure once."""
        watch = Watch(self.server)
        load = self.ask(seconds)
        self.row.add(load.rate, *watch.busy())


def run_answering(
    system: System, issuer: x509.Certificate, peer: Authority, serials: Sequence[int], size: Size, progress: Progress
) -> list[Row]:
    """The rows. `serials` are the issuer's; beyond the first ones, each is asked about once."""
    hot, fresh = serials[:HOT], iter(serials[HOT:])
    with responder(peer) as (address, pid), on_two_cores(system, pid):
        tasks = [*our_tasks(system, issuer, hot), *peer_tasks(address, pid, peer)]
        for task in tasks:
            progress(f"warming up: {task.row.what}")
            task.ask(size.seconds / 2)
        first = Row("first_each", "OCSP, never asked before, new connections", "/s", beside="openssl_each")
        for number in range(size.rounds):
            progress(f"OCSP answers, run {number + 1} of {size.rounds}")
            for task in tasks:
                task.run(size.seconds)
            never_asked = list(islice(fresh, size.certificates))
            first_asking(system, issuer, first, never_asked).run(size.seconds * 10)
        return [*(task.row for task in tasks), first]


def our_tasks(system: System, issuer: x509.Certificate, serials: Sequence[int]) -> list[Task]:
    """The rows of the gateway."""
    at, pid = system.http, system.pids["gateway"]
    piped, each = plain(issuer, serials, keep_alive=True, batch=DEPTH), plain(issuer, serials, keep_alive=False)
    nonces = with_nonce(issuer, serials, keep_alive=True)
    nonces_each = with_nonce(issuer, serials, keep_alive=False)
    check(at, each)
    check(at, nonces_each)

    def row(key: str, what: str, beside: str) -> Row:
        return Row(key, f"OCSP, {what}", "/s", beside)

    return [
        Task(row("hot", "cached, pipelined", "openssl_each"), pid, lambda s: keep_alive(at, piped, s)),
        Task(row("hot_each", "cached, new connections", "openssl_each"), pid, lambda s: connection_each(at, each, s)),
        Task(row("nonce", "nonces, pipelined", "openssl_nonce_each"), pid, lambda s: keep_alive(at, nonces, s)),
        Task(
            row("nonce_each", "nonces, new connections", "openssl_nonce_each"),
            pid,
            lambda s: connection_each(at, nonces_each, s),
        ),
    ]


def peer_tasks(address: str, pid: int, peer: Authority) -> list[Task]:
    """The rows of `openssl ocsp`: it closes the connection after every answer."""
    serials = peer.serials()[:HOT]
    each = plain(peer.certificate, serials, keep_alive=False)
    nonces = with_nonce(peer.certificate, serials, keep_alive=False)
    check(address, nonces)
    return [
        Task(
            Row("openssl_each", "openssl ocsp, new connections", "/s"), pid, lambda s: connection_each(address, each, s)
        ),
        Task(
            Row("openssl_nonce_each", "openssl ocsp, nonces, new connections", "/s"),
            pid,
            lambda s: connection_each(address, nonces, s),
        ),
    ]


def first_asking(system: System, issuer: x509.Certificate, row: Row, serials: Sequence[int]) -> Task:
    """Asking about each certificate for the first time: looked up over gRPC and in the database, then signed."""
    messages = plain(issuer, serials, keep_alive=False)
    return Task(
        row,
        system.pids["gateway"],
        lambda seconds: connection_each(system.http, messages, seconds, at_most=len(serials)),
    )


@contextlib.contextmanager
def on_two_cores(system: System, peer: int) -> Iterator[None]:
    """The measured servers on the first core, everything else on the second."""
    before = sorted(os.sched_getaffinity(0))
    try:
        for pid in (system.pids["gateway"], peer):
            pin(pid, cores()[:1])
        other = cores()[-1:]
        for pid in (system.pids["ca"], system.pids["status"], 0):
            pin(pid, other)
        yield
    finally:
        for pid in (*system.pids.values(), 0):
            pin(pid, before)
