"""`python -m benchmarks.peers`: this project beside cfssl and django-ca, for the documentation. Needs PyPI."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cryptography import x509

from benchmarks import cfssl, django_ca, report
from benchmarks.__main__ import RESULTS
from benchmarks.cores import first_core, pin
from benchmarks.issuing import CALLERS, issue_all, requests
from benchmarks.load import CONNECTIONS, Load, keep_alive
from benchmarks.machine import machine, versions
from benchmarks.measure import Row
from benchmarks.processes import BenchmarkError, command_output, goodstanding
from benchmarks.questions import plain, with_nonce
from benchmarks.run_answering import others_on_the_second_core
from benchmarks.sizes import HOT
from benchmarks.tasks import Answers, run_task

TITLE = "goodstanding beside responders of others, POST over connections that stay open; P-256"
ROUNDS = 5
SECONDS = 2.0
_HOW = f"POST, {CONNECTIONS} connections"


def main() -> int:
    """Measure, print, and write a file if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Measure beside others.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    RESULTS.mkdir(exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=RESULTS) as folder:
            peers = {"cfssl": cfssl_version(), **dict(package.split("==") for package in django_ca.PACKAGES)}
            facts = [("machine", machine(Path(folder))), ("versions", versions() | peers)]
            rows = run(Path(folder))
    except BenchmarkError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print(report.text(TITLE, facts, rows))
    if options.json is not None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        options.json.write_text(json.dumps(report.document(now, facts, rows), indent=2) + "\n")
    return 0


def cfssl_version() -> str:
    """As Debian packaged it."""
    with contextlib.suppress(BenchmarkError, FileNotFoundError):
        return command_output(["dpkg-query", "-W", "-f", "${Version}", "golang-cfssl"])
    return "unknown"


def run(folder: Path) -> list[Row]:
    """The rows; the runs of all alternate."""
    with contextlib.ExitStack() as stack:
        system = stack.enter_context(goodstanding(folder / "data"))
        issuer = x509.load_pem_x509_certificate((system.data / "ca/issuing.pem").read_bytes())
        serials = issue_all(system, requests(HOT, "peers"), CALLERS).serials
        go, go_pid = stack.enter_context(cfssl.responder(folder / "cfssl", system.http, issuer, serials))
        (folder / "django").mkdir()
        django = stack.enter_context(django_ca.responder(folder / "django", HOT))
        for pid in (go_pid, django.pid):
            pin(pid, first_core())
        stack.enter_context(others_on_the_second_core(system))
        ours, hot, nonces = (
            system.gateway,
            plain(issuer, serials, keep_alive=True),
            with_nonce(issuer, serials, keep_alive=True),
        )
        their_hot = plain(django.issuer, django.serials, keep_alive=True, path=django.path)
        their_nonces = with_nonce(django.issuer, django.serials, keep_alive=True, path=django.path)
        tasks = [
            answers("hot", f"goodstanding, cached, {_HOW}", "cfssl", ours.pid, partial(keep_alive, ours.http, hot)),
            answers("cfssl", f"cfssl ocspserve, signed before, {_HOW}", None, go_pid, partial(keep_alive, go, hot)),
            answers(
                "django_hot",
                f"django-ca, signed before, {_HOW}",
                None,
                django.pid,
                partial(keep_alive, django.http, their_hot),
            ),
            answers(
                "nonce",
                f"goodstanding, nonces, {_HOW}",
                "django_nonce",
                ours.pid,
                partial(keep_alive, ours.http, nonces),
            ),
            answers(
                "django_nonce",
                f"django-ca, nonces, {_HOW}",
                None,
                django.pid,
                partial(keep_alive, django.http, their_nonces),
            ),
        ]
        for task in tasks:
            # Long enough that all certificates have been asked about: afterwards what can be cached is.
            task.warm_up(3 * SECONDS)
        for number in range(ROUNDS):
            print(f"… run {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for task in tasks:
                run_task(task, SECONDS)
        return [row for task in tasks for row in task.rows]


def answers(key: str, what: str, beside: str | None, pid: int, ask: Callable[[float], Load]) -> Answers:
    """A row of answers a second."""
    return Answers(Row(key, what, "/s", beside), pid, ask)


if __name__ == "__main__":
    sys.exit(main())
