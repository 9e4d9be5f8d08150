"""Answers that are signed for each request, since it has a nonce: beside `openssl ocsp`, and beside bare signatures."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial

from cryptography import x509

from benchmarks import openssl, references
from benchmarks.cores import cores, first_core, pin, running_on
from benchmarks.load import CONNECTIONS, Load, check, connection_each, keep_alive
from benchmarks.measure import Goal, Row
from benchmarks.openssl import Authority
from benchmarks.processes import System, gateway
from benchmarks.questions import plain, with_nonce
from benchmarks.sizes import HOT
from benchmarks.tasks import Answers, Reference, Task

GOAL = Goal(value=9_000, ratio=1.4)
GOAL_RSA = Goal(ratio=0.85)
_EACH = "a new connection each"


def signed_tasks(
    system: System,
    issuer: x509.Certificate,
    serials: Sequence[int],
    peer: Authority,
    stack: contextlib.ExitStack,
) -> list[Task]:
    """P-256 beside `openssl ocsp`, then RSA beside what `openssl speed` signs. The status is cached everywhere."""
    ours = system.gateway
    kept, each = (with_nonce(issuer, serials, keep_alive=keep) for keep in (True, False))
    check(ours.http, each)
    row = Row("nonce", f"goodstanding, nonces, POST, {CONNECTIONS} connections", "/s", "openssl_nonce_each", GOAL)
    row_each = Row("nonce_each", f"goodstanding, nonces, POST, {_EACH}", "/s", "openssl_nonce_each")
    return [
        Answers(row, ours.pid, partial(keep_alive, ours.http, kept)),
        Answers(row_each, ours.pid, partial(connection_each, ours.http, each)),
        *openssl_tasks(peer, stack),
        speed("ecdsap256", "P-256"),
        *rsa_tasks(system, issuer, serials, stack),
    ]


def openssl_tasks(peer: Authority, stack: contextlib.ExitStack) -> list[Task]:
    """`openssl ocsp` closes the connection after every answer, and caches nothing."""
    address, pid = stack.enter_context(openssl.responder(peer))
    pin(pid, first_core())
    serials = peer.serials()[:HOT]
    ways = {
        "openssl_nonce_each": (f"openssl ocsp, nonces, POST, {_EACH}", with_nonce),
        "openssl_each": (f"openssl ocsp, no nonces, POST, {_EACH}", plain),
    }
    tasks: list[Task] = []
    for key, (what, questions) in ways.items():
        messages = questions(peer.certificate, serials, keep_alive=False)
        check(address, messages)
        tasks.append(Answers(Row(key, what, "/s"), pid, partial(connection_each, address, messages)))
    return tasks


def rsa_tasks(
    system: System, issuer: x509.Certificate, serials: Sequence[int], stack: contextlib.ExitStack
) -> list[Task]:
    """Gateways whose responder key is RSA with 2048 bits: on one core, and on both, where it signs beside the loop."""
    with running_on(first_core()):  # it counts the cores that it may use
        ours = stack.enter_context(gateway(system, "rsa", signer_keys=["rsa-2048"]))
    with running_on(cores()):
        free = stack.enter_context(gateway(system, "rsa-both", signer_keys=["rsa-2048"]))
    messages = with_nonce(issuer, serials, keep_alive=True)

    def ask_with_both(seconds: float) -> Load:
        with running_on(cores()):
            return keep_alive(free.http, messages, seconds)

    what = f"goodstanding, nonces, RSA-2048, POST, {CONNECTIONS} connections"
    row = Row("nonce_rsa", what, "/s", "speed_rsa2048", GOAL_RSA)
    row_both = Row("nonce_rsa_both", f"{what}, on both cores", "/s", "speed_rsa2048", GOAL_RSA)
    return [
        Answers(row, ours.pid, partial(keep_alive, ours.http, messages)),
        Answers(row_both, free.pid, ask_with_both),
        speed("rsa2048", "RSA-2048"),
    ]


def speed(algorithm: str, name: str) -> Task:
    """Bare signatures: nothing that signs each answer with OpenSSL can be faster."""
    row = Row(f"speed_{algorithm}", f"openssl speed, {name} signatures and nothing else", "/s")
    return Reference(row, partial(references.signatures, algorithm))
