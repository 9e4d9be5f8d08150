"""A5: an installation as `init` makes it: an offline root that nobody speaks for, and, as chosen in the configuration,
the reasons of the baseline requirements only (R46, R48, R52).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.subjects import Subject
from tests.conformance.wire import Responder, load_certificate, request
from tests.e2e.system import System
from tests.waiting import wait_until

FORBIDDEN = ("cACompromise", "certificateHold", "removeFromCRL", "aACompromise")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Services that give the reasons of the baseline requirements only."""
    system = System(tmp_path_factory.mktemp("baseline"), GOODSTANDING_CA__REASONS="baseline").start()
    yield system
    assert system.stop() == 0


@pytest.fixture(scope="module")
def certificate(system: System) -> Path:
    """A certificate to be revoked."""
    return system.issue("baseline.example.com")


def status(system: System, certificate: Path) -> str:
    """What the responder says of it now."""
    subject = Subject((system.data / "ca/issuing.pem").read_bytes(), load_certificate(certificate).serial_number)
    return subject.verified(Responder(system.http).post(request(subject.cert_id()))).status


@pytest.mark.rule("R48", "R50", "R52")
def test_reasons(system: System, certificate: Path) -> None:
    """No hold, and none of the reasons for authorities: the command fails, and the certificate stays good. Another
    reason is taken.
    """
    command = ("goodstanding", "revoke", "--cert", str(certificate), "--reason")
    for reason in FORBIDDEN:
        done = system.run(*command, reason, check=False)
        assert done.returncode == 1, reason
        assert "not allowed" in done.stderr
        assert status(system, certificate) == "good"
    system.run(*command, "superseded")
    wait_until(lambda: status(system, certificate) == "revoked", within=10)


@pytest.mark.rule("R46")
def test_nobody_speaks_for_an_offline_root(system: System) -> None:
    """Without a signer of its own no answer about its certificates can be signed, though their status is known."""
    issuing = load_certificate((system.data / "ca/issuing.pem").read_bytes())
    subject = Subject((system.data / "ca/root.pem").read_bytes(), issuing.serial_number)
    responder = Responder(system.http)
    for ask in (responder.post, responder.get):
        assert ask(request(subject.cert_id())).ocsp_status == "unauthorized"
