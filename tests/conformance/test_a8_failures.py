"""R72: when a backend is away, the answer is an error or one that is signed and still valid, and never a guess."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conformance.estate import Estate
from tests.conformance.questions import Questions
from tests.conformance.test_a8_errors import assert_error
from tests.conformance.wire import Reply, Responder, cert_id, load_certificate, nonce, request
from tests.e2e import client
from tests.e2e.system import System
from tests.waiting import wait_until

NOWHERE = "127.0.0.1:1"
"""An address where nobody listens."""

WAYS = 3
"""In which Victim.ask asks."""

Breakage = Callable[["Victim"], AbstractContextManager[None]]


class Victim:
    """Three services of these tests' own, a certificate that the gateway knows, and some that it does not."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.responder = Responder(system.http)
        issuing = load_certificate(system.data / "ca/issuing.pem")

        def about(name: str) -> bytes:
            return cert_id(issuing, client.issue(system, f"{name}.example.com").serial_number)

        self.known = about("known")
        self.untouched = iter([about(f"untouched-{number}") for number in range(len(FAILURES) + 2)])

    def ask(self, certificate: bytes) -> list[Reply]:
        """Ask in every way: plain by POST and GET, and with a nonce."""
        plain, fresh = request(certificate), request(certificate, extensions=[nonce(os.urandom(16))])
        return [self.responder.post(plain), self.responder.get(plain), self.responder.post(fresh)]

    def is_good(self, certificate: bytes) -> bool:
        """Whether every way leads to a valid `good`. Whatever else comes must be tryLater, or a good that is valid."""
        return self._count_good(certificate) == WAYS

    def is_try_later(self, certificate: bytes) -> bool:
        """Whether every way leads to tryLater."""
        return self._count_good(certificate) == 0

    def _count_good(self, certificate: bytes) -> int:
        return [_is_valid_good(reply) for reply in self.ask(certificate)].count(True)


def _is_valid_good(reply: Reply) -> bool:
    if reply.ocsp_status == "successful":
        now = datetime.now(UTC)
        assert reply.answer.status == "good"
        assert reply.answer.this_update <= now < reply.answer.next_update
        return True
    assert_error(reply, "try_later")
    return False


@contextmanager
def hanging(victim: Victim, service: str) -> Iterator[None]:
    """The service's processes stand still, with their connections open."""
    pids = victim.system.processes_of(service)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def dead(victim: Victim, service: str) -> Iterator[None]:
    """The service's processes are killed, and nobody starts others, so that connections are refused."""
    pids = victim.system.processes_of(service)
    os.kill(victim.system.pid, signal.SIGSTOP)
    try:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        yield
    finally:
        os.kill(victim.system.pid, signal.SIGCONT)


@contextmanager
def no_database(victim: Victim) -> Iterator[None]:
    """The database fails every statement: its tables have other names."""
    database = sqlite3.connect(victim.system.data / "goodstanding.db", timeout=10)
    names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    tables = [name for name in names if not name.startswith("sqlite_")]

    def rename(change: Callable[[str], tuple[str, str]]) -> None:
        with database:
            for old, new in map(change, tables):
                database.execute(f"ALTER TABLE {old} RENAME TO {new}")

    rename(lambda name: (name, f"{name}_away"))
    try:
        yield
    finally:
        rename(lambda name: (f"{name}_away", name))
        database.close()


FAILURES: dict[str, Breakage] = {
    "the status service hangs": lambda victim: hanging(victim, "status"),
    "the status service is dead": lambda victim: dead(victim, "status"),
    "the database fails": no_database,
}
HARMLESS: dict[str, Breakage] = {
    "the CA hangs": lambda victim: hanging(victim, "ca"),
    "the CA is dead": lambda victim: dead(victim, "ca"),
}


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """Services to break; each test leaves them mended."""
    system = System(tmp_path_factory.mktemp("victim")).start()
    try:
        yield Victim(system)
    finally:
        system.stop()


@pytest.mark.rule("R70", "R71", "R72")
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_without_evidence_nothing_is_good(victim: Victim, failure: Breakage) -> None:
    """What was never asked for is tryLater; what is known stays good for a moment, then tryLater, until it is over."""
    untouched = next(victim.untouched)
    wait_until(lambda: victim.is_good(victim.known), within=30)
    with failure(victim):
        wait_until(lambda: victim.is_try_later(victim.known), within=30)
        for _ in range(2):
            assert victim.is_try_later(victim.known)
        assert victim.is_try_later(untouched)
    wait_until(lambda: victim.is_good(victim.known) and victim.is_good(untouched), within=30)


@pytest.mark.rule("R72")
@pytest.mark.parametrize("failure", HARMLESS.values(), ids=HARMLESS)
def test_answers_need_no_certificate_authority(victim: Victim, failure: Breakage) -> None:
    """The CA may be away: what is true is still known and signed, also for what was never asked before."""
    wait_until(lambda: victim.is_good(victim.known), within=30)
    with failure(victim):
        for _ in range(5):
            assert victim.is_good(victim.known)
        assert victim.is_good(next(victim.untouched))


@pytest.mark.rule("R70", "R71", "R72")
@pytest.mark.parametrize("away", ["status", "ca"])
def test_a_gateway_that_starts_without_a_backend(estate: Estate, questions: Questions, away: str) -> None:
    """It says tryLater, not that it had no right to answer: no issuer and no signer is known yet."""
    gateway = estate.gateway(f"without-{away}", ready=False, **{away: NOWHERE})
    for kind in ("good", "revoked", "unknown", "nonce"):
        assert_error(gateway.post(questions.of(kind)), "try_later")
        assert_error(gateway.get(questions.of(kind)), "try_later")
    assert_error(gateway.post(questions.of("malformed")), "malformed_request")


@pytest.mark.rule("R72")
def test_a_gateway_whose_status_service_is_a_stranger(estate: Estate, questions: Questions, tmp_path: Path) -> None:
    """A status service that cannot show a certificate of ours is as good as none."""
    system = estate.system
    stranger = tmp_path / "ca.pem"
    stranger.write_bytes(estate.ca("solo"))
    gateway = estate.gateway("deceived", ready=False, tls_ca=str(stranger))
    wait_until(lambda: "watch lost" in gateway.log, within=10)
    for kind in ("good", "revoked", "unknown"):
        assert_error(gateway.post(questions.of(kind)), "try_later")
    assert Responder(system.http).post(questions.of("good")).answer.status == "good"
