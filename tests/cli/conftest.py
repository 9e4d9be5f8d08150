"""Fixtures that run `goodstanding up`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from services.cli.folder import DataFolder
from services.cli.init import initialise
from services.cli.plan import Plan
from services.clock import utc_now
from tests.command import FREE, Up


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Starts `goodstanding up` on a folder, and ends it after the test."""
    started: list[Up] = []

    def up(name: str = "data", options: Sequence[str] = FREE) -> Up:
        started.append(Up(tmp_path / name, options))
        return started[-1]

    yield up
    for each in started:
        each.kill()


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An initialised data folder that was never used; tests work on copies of it."""
    folder = DataFolder(tmp_path_factory.mktemp("pristine") / "data")
    initialise(folder, Plan(), utc_now())
    return folder.path


@pytest.fixture(scope="package")
def moved_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Another one, for tests that bring in issuers: where several are active, `issue` has to name one."""
    up = Up(tmp_path_factory.mktemp("moved-in") / "data")
    try:
        up.wait_ready()
        yield up
    finally:
        up.kill()


@pytest.fixture(scope="package")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A `goodstanding up` that is ready; tests share it, and leave it running."""
    up = Up(tmp_path_factory.mktemp("running") / "data")
    try:
        up.wait_ready()
        yield up
    finally:
        up.kill()
