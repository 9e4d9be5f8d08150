"""The classic folder, made once for all test processes, and copied for each test."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tests.guide.classic import ClassicCA

BITS = 3072
"""Of the keys that the guide gives 4096, which take several times as long to make and are no different otherwise."""


@pytest.fixture(scope="session")
def classic_template(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> ClassicCA:
    """The folder, to be copied. Whichever test process comes first makes it."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder, made = shared / "classic/ca", shared / "classic/made"
    folder.parent.mkdir(exist_ok=True)
    with (shared / "classic/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            ClassicCA(folder).make(BITS)
            made.touch()
    return ClassicCA(folder)


@pytest.fixture
def classic(classic_template: ClassicCA, tmp_path: Path) -> ClassicCA:
    """The folder as the guide leaves it, for one test."""
    return classic_template.copy_to(tmp_path / "ca")
