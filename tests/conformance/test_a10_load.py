"""A10: answers come in time when many ask at once (R88)."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.certificates import Certificates, Certified, KeepAlive
from tests.conformance.wire import Answer, Responder, nonce, request

CLIENTS, REQUESTS = 16, 50
BOUND = 10.0
"""Seconds (baseline requirements, 4.10.2)."""


@pytest.mark.rule("R88")
def test_every_answer_comes_within_ten_seconds(responder: Responder, certificates: Certificates) -> None:
    """Sixteen clients at once, each with a connection of its own: signatures made for one asker, look-ups of what was
    never asked about, and answers that are ready; nobody waits for longer than the requirements allow, or is refused.
    """
    subjects = [certificates.issue(f"load-{number}.example.com") for number in range(REQUESTS)]

    def ask(client: int) -> tuple[float, list[tuple[Certified, bytes]]]:
        slowest, bodies = 0.0, []
        with KeepAlive(responder) as connection:
            for number, subject in enumerate(subjects[client:] + subjects[:client]):
                extensions = [nonce(os.urandom(32))] if number % 3 else []
                begin = time.monotonic()
                reply = connection.post(request(subject.cert_id(), extensions=extensions))
                slowest = max(slowest, time.monotonic() - begin)
                assert reply.ocsp_status == "successful"
                bodies.append((subject, reply.body))
        return slowest, bodies

    with ThreadPoolExecutor(CLIENTS) as pool:
        results = list(pool.map(ask, range(CLIENTS)))
    assert max(slowest for slowest, _ in results) < BOUND
    answers = [(subject, Answer(body)) for _, bodies in results for subject, body in bodies]
    assert len(answers) == CLIENTS * REQUESTS
    for subject, answer in answers:
        assert (answer.status, answer.single["cert_id"]["serial_number"].native) == ("good", subject.serial)
