"""Workers die, parents die, and both are told to stop: what clients see of it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from typing import Self

import pytest

from tests.e2e.system import System
from tests.gateway.workers.fleet import Connection, Fleet, is_running, running
from tests.waiting import wait_until


class Visitors:
    """A thread that makes one connection after the other, and asks once on each."""

    def __init__(self, fleet: Fleet, request: bytes) -> None:
        self._fleet = fleet
        self._request = request
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._visit)
        self.answered = 0
        self.refused = 0
        self.lost: list[float] = []
        """When those began whose connection broke off."""

    def _visit(self) -> None:
        while not self._end.is_set():
            begun = time.monotonic()
            try:
                connection = Connection(self._fleet.gateway.http)
            except ConnectionRefusedError:
                self.refused += 1
                continue
            try:
                assert connection.ask(self._request).says == "good"
                self.answered += 1
            except (OSError, http.client.HTTPException):
                self.lost.append(begun)
            finally:
                connection.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_a_worker_is_killed(fleet: Fleet, request_der: bytes) -> None:
    """The other's connections go on, new ones are taken all the while, and another worker is there within a second."""
    victim, other = fleet.workers()
    connections = [fleet.connect(other) for _ in range(5)]
    doomed = fleet.connect(victim)
    assert doomed.ask(request_der).says == "good"
    with Visitors(fleet, request_der) as visitors:
        wait_until(lambda: visitors.answered > 20, 10)
        os.kill(victim, signal.SIGKILL)
        assert wait_until(lambda: len(fleet.workers()) == 2 and victim not in fleet.workers(), 5) < 1
        gone_at = time.monotonic()
        assert [connection.ask(request_der).says for connection in connections] == ["good"] * 5
        wait_until(fleet.is_ready, 20)
        answered = visitors.answered
        wait_until(lambda: visitors.answered > answered + 20, 10)
    assert visitors.refused == 0
    assert [begun for begun in visitors.lost if begun > gone_at] == []
    with pytest.raises((OSError, http.client.HTTPException)):
        doomed.ask(request_der)
    assert [connection.ask(request_der).says for connection in connections] == ["good"] * 5


def test_the_next_worker_has_all(fleet: Fleet, request_der: bytes) -> None:
    """One that is started later has signers and knowledge, gives the same octets, and what was counted is not lost."""
    victim, other = fleet.workers()
    before = fleet.connect(other).ask(request_der)
    fleet.connect(victim).ask(request_der)
    counted = fleet.metric("goodstanding_ocsp_answers_total")
    restarts = fleet.metric("goodstanding_worker_restarts_total")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in fleet.workers() and fleet.is_ready(), 20)
    (later,) = set(fleet.workers()) - {other}
    assert fleet.connect(later).ask(request_der) == before
    assert fleet.metric("goodstanding_ocsp_answers_total") == counted + 1
    assert fleet.metric("goodstanding_worker_restarts_total") == restarts + 1


def test_a_silent_worker(fleet: Fleet) -> None:
    """One that does not answer makes the gateway unready; its gauges are left out, its counters stand."""
    worker = str(next(number for number, state in fleet.readiness()["workers"].items() if state["ready"]))
    pid = fleet.readiness()["workers"][worker]["pid"]
    counted = fleet.metric("goodstanding_ocsp_answers_total")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert fleet.readiness()["workers"][worker] == {"ready": False, "answers": False}
        assert fleet.metric("goodstanding_ocsp_answers_total") == counted
        with pytest.raises(AssertionError, match="no goodstanding_revision"):
            fleet.metric("goodstanding_revision", worker=worker)
        assert fleet.metric("goodstanding_worker_silences_total") >= 2
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(fleet.is_ready, 10)
    assert fleet.metric("goodstanding_revision", worker=worker) > 0


def test_a_worker_that_cannot_start(fleet: Fleet, request_der: bytes) -> None:
    """It is tried again, at longer and longer intervals; the other one answers."""
    victim, other = fleet.workers()
    config, aside = fleet.gateway.config, fleet.gateway.config.with_suffix(".aside")
    config.rename(aside)
    try:
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: '"wait": 0.25' in fleet.gateway.log, 20)
        assert fleet.connect(other).ask(request_der).says == "good"
    finally:
        aside.rename(config)
    wait_until(fleet.is_ready, 30)


def test_the_parent_is_killed(system: System) -> None:
    """The workers are gone with it, and the address is free once the last of their threads has ended."""
    with running(system, "killed") as fleet:
        workers = fleet.workers()
        os.kill(fleet.parent, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, workers)), 5)
        host, _, port = fleet.gateway.http.rpartition(":")

        def is_free() -> bool:
            try:
                socket.create_server((host, int(port))).close()
            except OSError:
                return False
            return True

        wait_until(is_free, 5)


def test_stopping(system: System, request_der: bytes) -> None:
    """Whoever has begun to ask is answered, whoever comes now is refused, and the exit status is 0."""
    with running(system, "stopped") as fleet:
        workers = fleet.workers()
        connections = [fleet.connect(worker) for worker in workers]
        for connection in connections:
            connection.begin(request_der)
        os.kill(fleet.parent, signal.SIGTERM)

        def is_refused() -> bool:
            try:
                Connection(fleet.gateway.http).close()
            except OSError:
                return True
            return False

        wait_until(is_refused, 5)
        assert [connection.finish(request_der).says for connection in connections] == ["good", "good"]
        assert fleet.gateway.stop() == 0
        assert not any(map(is_running, workers))
        assert "Traceback" not in fleet.gateway.log
        assert "starting another" not in fleet.gateway.log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_what_is_for_the_parent(number: signal.Signals, fleet: Fleet) -> None:
    """Ctrl-C and the end of a terminal reach workers, too, and leave them alone: the parent decides."""
    before = fleet.workers()
    for pid in before:
        os.kill(pid, number)
    assert fleet.is_ready()
    assert fleet.workers() == before
