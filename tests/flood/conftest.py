"""A place to flood, for all tests of this folder: a cache of a hundred certificates, ten times as many besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.flood.flooding import flood
from tests.flood.place import Place
from tests.flood.questions import KINDS, PATHS

CACHE_ENTRIES = 100
MAX_PENDING = 128
HOT = 40


@dataclass(frozen=True)
class Flooded:
    """The place, and the serial numbers of the certificates."""

    place: Place
    hot: list[int]
    """Asked for by everybody."""
    others: list[int]
    """Ten times more than the cache holds."""
    spare: list[int]
    """To be revoked."""


@pytest.fixture(scope="session")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flooded]:
    """Everything running, and the hot answers asked for once. Tests leave it as well as they found it."""
    place = Place(tmp_path_factory.mktemp("flood"), cache_entries=CACHE_ENTRIES, max_pending=MAX_PENDING)
    try:
        place.start()
        serials = place.issue(HOT + 10 * CACHE_ENTRIES + 3)
        hot, others, spare = serials[:HOT], serials[HOT:-3], serials[-3:]
        place.ask_hot(hot, 0.2)
        # Allocators and bounded memories take what they need in the beginning; then memory can be compared.
        for each in [flood(place, PATHS, hot, 1.5, 7000), *(flood(place, kind, others, 2.0, 1500) for kind in KINDS)]:
            each.end()
        yield Flooded(place, hot, others, spare)
    finally:
        place.stop()
