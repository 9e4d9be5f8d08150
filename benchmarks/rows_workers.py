"""Two workers beside one. They, and the load generator, share both cores: on two cores, less than twice is left."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from cryptography import x509

from benchmarks.cores import cores, running_on
from benchmarks.load import CONNECTIONS, Load, keep_alive
from benchmarks.measure import Row
from benchmarks.processes import System, gateway, serve_takes
from benchmarks.questions import Messages, plain, with_nonce
from benchmarks.tasks import Answers, Task

WORKERS = 2


def worker_tasks(
    system: System,
    issuer: x509.Certificate,
    serials: Sequence[int],
    stack: contextlib.ExitStack,
    left_out: list[str],
) -> list[Task]:
    """Cached answers and nonces, each beside the row of one worker."""
    if not serve_takes("--workers"):
        left_out.append("two workers: this version has no `goodstanding serve gateway --workers 2`")
        return []
    ours = stack.enter_context(gateway(system, "workers", "--workers", str(WORKERS)))

    def asking(messages: Messages) -> Callable[[float], Load]:
        def ask(seconds: float) -> Load:
            with running_on(cores()):
                return keep_alive(ours.http, messages, seconds)

        return ask

    ways = {
        "hot_post": ("cached", plain(issuer, serials, keep_alive=True)),
        "nonce": ("nonces", with_nonce(issuer, serials, keep_alive=True)),
    }
    return [
        Answers(
            Row(
                f"workers_{beside}",
                f"goodstanding with two workers, {what}, POST, {CONNECTIONS} connections",
                "/s",
                beside,
            ),
            ours.pid,
            asking(messages),
        )
        for beside, (what, messages) in ways.items()
    ]
