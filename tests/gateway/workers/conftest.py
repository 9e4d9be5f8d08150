"""The services, and a gateway with two workers in front of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.gateway.workers.fleet import Fleet, question, running


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The services; tests use names of their own."""
    system = System(tmp_path_factory.mktemp("workers")).start()
    yield system
    assert system.stop() == 0


@pytest.fixture(scope="package")
def certificate(system: System) -> Path:
    """A certificate that stays good."""
    return system.issue("good.example.com")


@pytest.fixture(scope="package")
def request_der(system: System, certificate: Path) -> bytes:
    """A question about it."""
    return question(system, certificate)


@pytest.fixture(scope="module")
def fleet(system: System, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """A gateway that the tests of a file share: each leaves it with two workers that are ready."""
    with running(system, request.module.__name__.rpartition(".")[2].replace("_", "-")) as fleet:
        yield fleet
