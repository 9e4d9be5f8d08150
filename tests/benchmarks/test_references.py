"""Numbers that other tools print, how processes and cores are watched, and the constant that nginx returns."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.cores import core_seconds, cpu_seconds, family
from benchmarks.load import SUCCESSFUL
from benchmarks.nginx import stand_in
from benchmarks.processes import BenchmarkError
from benchmarks.references import rate_in, signatures_in

WRK = "Running 2s test\n  1 threads and 32 connections\nRequests/sec:  64464.78\nTransfer/sec: 1MB\n"


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        pytest.param("+F2:2:2048:2815.662651:53125.000000\n", 2815.662651, id="RSA"),
        pytest.param("+R1:1:1\n+F4:3:256:39815.853659:13167.469880\n", 39815.853659, id="ECDSA"),
    ],
)
def test_signatures_of_openssl_speed_are_read(output: str, expected: float) -> None:
    """Signatures a second, not verifications."""
    assert signatures_in(output) == expected


def test_what_says_nothing_is_refused() -> None:
    """Also what wrk says about answers that were none."""
    assert rate_in(WRK) == 64464.78
    for said in ("", f"{WRK}  Non-2xx or 3xx responses: 5\n", f"{WRK}  Socket errors: connect 0, read 9\n"):
        with pytest.raises(BenchmarkError, match="wrk"):
            rate_in(said)
    with pytest.raises(BenchmarkError, match="openssl speed"):
        signatures_in("+F1:1")


def test_processes_are_watched_with_their_descendants() -> None:
    """A gateway's workers are its own; what has ended counts nothing."""
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    command = [sys.executable, "-c", child]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "1\n"
        assert len(family(process.pid)) == 2
        assert cpu_seconds(process.pid) > 0
        process.communicate("\n")
    assert family(process.pid) == [process.pid]
    assert cpu_seconds(process.pid) == 0
    assert cpu_seconds(0) > 0
    assert os.getpid() in family(os.getpid())


def test_a_core_is_busy_when_it_is_not_idle() -> None:
    """Idle and waiting for the disk are not; a guest's time is in the user's already."""
    ticks = os.sysconf("SC_CLK_TCK")
    text = f"cpu 9 9 9 9\ncpu1 {ticks} 0 {ticks} 77 88 0 0 {ticks} 55 0\n"
    assert core_seconds(1, text) == 3.0
    assert core_seconds(7, text) == 0.0


@pytest.mark.parametrize("size", [*range(300, 320), 514, 552, 602, 900])
def test_the_constant_of_nginx_is_like_an_answer(size: int) -> None:
    """To the load generator; and no octet of it means anything in a configuration."""
    body = stand_in(size)
    assert size <= len(body) <= size + 260
    assert body[:2] == b"0\x82"
    assert int.from_bytes(body[2:4], "big") == len(body) - 4
    assert body.count(SUCCESSFUL) == 1
    assert not set(body) & set(b"\0\"'\\$\r\n")
