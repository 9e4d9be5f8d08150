"""A running world for each kind of database. `FRESHNESS_SECONDS` says how long each fault lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.freshness.databases import PostgresDatabase, SqliteDatabase
from tests.freshness.world import World

HERE = Path(__file__).parent
SECONDS = float(os.environ.get("FRESHNESS_SECONDS", "1.2"))
IS_LONG = SECONDS > 3


@pytest.fixture(scope="session")
def seconds() -> float:
    """How long a fault, or load without one, lasts."""
    return SECONDS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one kind of database together: then test processes that share the work start few worlds."""
    places = [place for place, item in enumerate(items) if item.path.parent == HERE]
    for place, item in zip(places, sorted((items[place] for place in places), key=_kind_of), strict=True):
        items[place] = item


def _kind_of(item: pytest.Item) -> bool:
    return "sqlite" not in item.name


class Worlds:
    """A world for each kind of database, from when it is first asked for."""

    def __init__(self, make_folder: Callable[[str], Path]) -> None:
        self._make_folder = make_folder
        self._worlds: dict[str, World] = {}

    def on(self, kind: str) -> World:
        """The world on that kind of database."""
        if kind not in self._worlds:
            folder = self._make_folder("freshness")
            world = World(folder, SqliteDatabase(folder) if kind == "sqlite" else PostgresDatabase())
            try:
                self._worlds[kind] = world.start()
            except BaseException:
                world.stop()
                raise
        return self._worlds[kind]

    def stop(self) -> None:
        """End all."""
        for world in self._worlds.values():
            world.stop()


@pytest.fixture(scope="session")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worlds]:
    """The worlds of this test process."""
    worlds = Worlds(tmp_path_factory.mktemp)
    try:
        yield worlds
    finally:
        worlds.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, worlds: Worlds) -> World:
    """A world on each kind of database. Tests leave it as well as they found it."""
    return worlds.on(request.param)
