"""Hot answers: cached, to requests without a nonce, beside nginx returning a constant of the same size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from benchmarks import nginx, references
from benchmarks.cores import first_core, pin
from benchmarks.load import CONNECTIONS, DEPTH, FEW, Load, check, connection_each, keep_alive, pipelined
from benchmarks.measure import Goal, Row
from benchmarks.processes import System
from benchmarks.questions import Messages, certificate_ids, plain, url_part
from benchmarks.tasks import Answers, Latency, Task, percentile_rows

Ask = Callable[[str, Messages, float], Load]
"""A way to ask: keep_alive, pipelined, connection_each."""

GOAL = Goal(value=40_000, ratio=0.6)
# Our own generator is at its limit with nginx; wrk is not, so that the ratio is one of servers there.
GOAL_RATE = Goal(value=40_000)
GOAL_P99 = Goal(value=5.0)


def hot_tasks(
    system: System,
    issuer: x509.Certificate,
    serials: Sequence[int],
    folder: Path,
    stack: contextlib.ExitStack,
    left_out: list[str],
) -> list[Task]:
    """Each way to ask, for the gateway and right after it for nginx; then latencies, and wrk beside our generator."""
    gateway = system.gateway
    response = check(gateway.http, plain(issuer, serials[:1], keep_alive=False))
    ways: list[tuple[str, str, Ask, Messages, Goal]] = [
        ("post", f"POST, {CONNECTIONS} connections", keep_alive, plain(issuer, serials, keep_alive=True), GOAL_RATE),
        (
            "get",
            f"GET, {CONNECTIONS} connections",
            keep_alive,
            plain(issuer, serials, keep_alive=True, method="GET"),
            GOAL_RATE,
        ),
        (
            "pipelined",
            f"POST, {FEW} connections, {DEPTH} requests deep",
            pipelined,
            plain(issuer, serials, keep_alive=True, batch=DEPTH),
            Goal(),
        ),
        ("each", "POST, a new connection each", connection_each, plain(issuer, serials, keep_alive=False), Goal()),
    ]
    constant = None
    if nginx.nginx_command() is None:
        left_out.append(f"nginx, which is missing: {nginx.INSTALL}")
    else:
        constant = stack.enter_context(nginx.constant(folder / "nginx", response))
        pin(constant[1], first_core())
    tasks: list[Task] = []
    for key, what, ask, messages, goal in ways:
        row = Row(f"hot_{key}", f"goodstanding, cached, {what}", "/s", f"nginx_{key}", goal)
        tasks.append(Answers(row, gateway.pid, partial(ask, gateway.http, messages)))
        if constant is not None:
            row = Row(f"nginx_{key}", f"nginx, a constant, {what}", "/s")
            tasks.append(Answers(row, constant[1], partial(ask, constant[0], messages)))
    tasks += wrk_tasks(gateway.http, gateway.pid, constant, issuer, serials, folder, left_out)
    messages = plain(issuer, serials, keep_alive=True)
    of_goal = percentile_rows("hot", f"goodstanding, cached, at 80 % of {GOAL.value:,.0f}/s", goal=GOAL_P99)
    of_rate = percentile_rows("hot_most", "goodstanding, cached, at 80 % of its own POST rate")
    return [
        *tasks,
        Latency(GOAL.value or 0.0, gateway.http, messages, of_goal),
        Latency(tasks[0].rows[0], gateway.http, messages, of_rate),
    ]


def wrk_tasks(
    address: str,
    pid: int,
    constant: tuple[str, int] | None,
    issuer: x509.Certificate,
    serials: Sequence[int],
    folder: Path,
    left_out: list[str],
) -> list[Task]:
    """The same by GET, asked by wrk with a list of requests: our own generator is not as quick as nginx is."""
    if not references.have_wrk():
        left_out.append(f"wrk, which is missing: {references.WRK_INSTALL}")
        return []
    ask = certificate_ids(issuer)
    paths = ["/" + url_part(ask(serial).build().public_bytes(Encoding.DER)) for serial in serials]
    script = references.write_list(folder, paths)
    what = f"GET, {CONNECTIONS} connections, asked by wrk"
    row = Row("wrk_get", f"goodstanding, cached, {what}", "/s", "wrk_nginx", GOAL)
    tasks: list[Task] = [Answers(row, pid, partial(references.wrk, address, script))]
    if constant is not None:
        row = Row("wrk_nginx", f"nginx, a constant, {what}", "/s")
        tasks.append(Answers(row, constant[1], partial(references.wrk, constant[0], script)))
    return tasks
