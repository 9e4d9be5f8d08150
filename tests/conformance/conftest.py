"""The live services that the rules are tested against: one estate for each test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.certificates import Certificates
from tests.conformance.estate import Estate
from tests.conformance.lint import Linter
from tests.conformance.questions import Questions
from tests.conformance.subjects import Subject
from tests.conformance.wire import Responder


@pytest.fixture(scope="package")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """The running services, shared: tests issue under names of their own, and leave everything running."""
    estate = Estate(tmp_path_factory.mktemp("estate")).start()
    yield estate
    estate.stop()


@pytest.fixture(scope="package")
def responder(estate: Estate) -> Responder:
    """The default gateway."""
    return estate.responder


@pytest.fixture(scope="package")
def good(estate: Estate) -> Path:
    """A certificate of `issuing` that stays good (PEM)."""
    return estate.issue("good.example.com")


@pytest.fixture(scope="package")
def revoked(estate: Estate) -> Path:
    """A certificate of `issuing` that was revoked as superseded (PEM)."""
    certificate = estate.issue("revoked.example.com")
    estate.revoke(certificate)
    return certificate


@pytest.fixture(scope="package")
def questions(estate: Estate, good: Path, revoked: Path) -> Questions:
    """A request for each kind of answer."""
    return Questions(estate, good, revoked)


_LINTER = Linter(Responder.heard)


@pytest.fixture(autouse=True)
def _lint() -> Iterator[None]:
    """A linter has nothing against any answer that the test heard, nor against the certificates in it (R54, R66)."""
    yield
    assert _LINTER.findings() == []


@pytest.fixture(scope="package")
def subject(estate: Estate, good: Path) -> Subject:
    """The certificate `good`, with what it takes to ask about it and to verify the answer."""
    return Subject.of(estate, "issuing", good)


@pytest.fixture(scope="package")
def certificates(estate: Estate) -> Iterator[Certificates]:
    """What issues and revokes without starting a process each time."""
    with Certificates.of(estate) as certificates:
        yield certificates
