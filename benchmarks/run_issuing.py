"""Issuing beside `openssl ca`, in rounds: each measures every row once, so that all see the same machine."""

from __future__ import annotations

from pathlib import Path

from benchmarks import openssl
from benchmarks.cores import Watch
from benchmarks.issuing import CALLERS, issue_all, issue_stream, requests
from benchmarks.measure import Goal, Row, percentile
from benchmarks.openssl import Authority
from benchmarks.processes import System
from benchmarks.sizes import Progress, Size

GOAL = Goal(value=1_000, ratio=1.2)


def run_issuing(
    system: System, peer: Authority, folder: Path, size: Size, progress: Progress
) -> tuple[list[Row], list[int]]:
    """The rows, and the serial numbers of everything that was issued. Requests are made before the first round."""
    p50 = Row("issue_1_p50", "goodstanding, issuing over gRPC, 1 caller: p50", "ms")
    p99 = Row("issue_1_p99", "goodstanding, issuing over gRPC, 1 caller: p99", "ms")
    many = Row("issue_32", f"goodstanding, issuing over gRPC, {CALLERS} callers", "/s", "openssl_ca", GOAL)
    stream = Row("issue_stream", "goodstanding, issuing over gRPC, one stream", "/s", "openssl_ca", GOAL)
    batch = Row("openssl_ca", "openssl ca, one batch, on a core", "/s")
    count = size.certificates
    csrs = requests(count + size.lone_calls, "bench")
    files = openssl.write_requests(folder / "requests", csrs[:count])

    progress("warming up: issuing")
    serials = issue_all(system, csrs, CALLERS).serials
    peer.sign(files[: count // 2])
    for number in range(size.rounds):
        progress(f"issuing, run {number + 1} of {size.rounds}")
        alone = issue_all(system, csrs[count:], 1)
        p50.add(1e3 * percentile(alone.latencies, 0.5))
        p99.add(1e3 * percentile(alone.latencies, 0.99))
        watch = Watch(system.pids["ca"])
        crowd = issue_all(system, csrs[:count], CALLERS)
        many.add(count / crowd.seconds, watch.busy())
        watch = Watch(system.pids["ca"])
        bulk = issue_stream(system, csrs[:count])
        stream.add(count / bulk.seconds, watch.busy())
        batch.add(count / peer.sign(files))
        serials += alone.serials + crowd.serials + bulk.serials
    return [p50, p99, many, stream, batch], serials
