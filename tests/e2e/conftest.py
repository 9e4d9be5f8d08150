"""One running system for the end-to-end tests of a test process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.system import System


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A running system, shared: tests use names of their own, and leave it running."""
    system = System(tmp_path_factory.mktemp("system")).start()
    yield system
    assert system.stop() == 0


@pytest.fixture(scope="module")
def own_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of these tests' own, to break. The supervisor mends it after each of them."""
    system = System(tmp_path_factory.mktemp("own")).start()
    yield system
    system.stop()
