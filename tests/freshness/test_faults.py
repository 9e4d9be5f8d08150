"""G3 while something fails, under load: never `good` beyond the bound, and full speed again soon after the repair.

Writers go on revoking all the time, before, during and after the fault. What gateways say instead of `good` is up to
them: tryLater, an error, nothing at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.freshness.conftest import IS_LONG
from tests.freshness.databases import PostgresDatabase
from tests.freshness.load import REPAIRED_WITHIN, Heard, Load, enough
from tests.freshness.world import WORKERS, World

Fault = Callable[[World], AbstractContextManager[object]]
DELAY = 3.0
PAUSE = 0.002
"""Between an answer and the next question: some thousand answers a second, which leaves time for the repair."""


@contextmanager
def status_killed(world: World) -> Iterator[None]:
    """SIGKILL. The repair is a new process that takes connections."""
    world.status.kill()
    yield
    world.status.start().wait_up()


@contextmanager
def status_paused(world: World) -> Iterator[None]:
    """Streams stay open, and nothing comes."""
    world.status.pause()
    yield
    world.status.resume()


@contextmanager
def network_delayed(world: World) -> Iterator[None]:
    """Everything arrives, three seconds late: pongs, changes, and answers to look-ups that have long been given up."""
    world.line.delay = DELAY
    yield
    world.line.delay = 0.0


@contextmanager
def network_stalled(world: World) -> Iterator[None]:
    """Nothing arrives; then all of it at once."""
    world.line.held = True
    yield
    world.line.held = False


@contextmanager
def network_cut(world: World) -> Iterator[None]:
    """Connections break, and new ones are refused."""
    world.line.cut()
    yield
    world.line.mend()


def database_locked(world: World) -> AbstractContextManager[object]:
    """Somebody else's transaction holds what is needed; on PostgreSQL, readers wait as well."""
    return world.database.locked()


def database_away(world: World) -> AbstractContextManager[object]:
    """The file is gone for a while; the server is shut down at once, and started again."""
    return world.database.away()


def database_paused(world: World) -> AbstractContextManager[object]:
    """The server's processes hang: queries have begun, and do not end."""
    assert isinstance(world.database, PostgresDatabase)
    return world.database.paused()


SQLITE, POSTGRESQL = "sqlite", "postgresql"
FAULTS: list[tuple[str, Fault]] = [
    (SQLITE, status_killed),
    (POSTGRESQL, status_paused),
    (SQLITE, network_delayed),
    (SQLITE, network_stalled),
    (POSTGRESQL, network_cut),
    (SQLITE, database_locked),
    (POSTGRESQL, database_away),
    (POSTGRESQL, database_paused),
]
THE_OTHER_WAY_ROUND: list[tuple[str, Fault]] = [
    (POSTGRESQL, status_killed),
    (SQLITE, status_paused),
    (POSTGRESQL, network_delayed),
    (POSTGRESQL, network_stalled),
    (SQLITE, network_cut),
    (POSTGRESQL, database_locked),
    (SQLITE, database_away),
]
"""Where there is time."""
CASES = FAULTS + (THE_OTHER_WAY_ROUND if IS_LONG else [])


def endure(world: World, fault: Fault, seconds: float) -> None:
    """Break something under load, mend it, and judge everything that was said meanwhile."""
    with Load(world, world.issue(enough(seconds)), pause=PAUSE) as load:
        load.revoke()
        time.sleep(0.2)
        load.revoke_now()  # acknowledged a moment before, and perhaps not told to anybody yet
        with fault(world):
            time.sleep(seconds)
        took = load.wait_until_well(time.monotonic())
        load.wait_out_the_bound()
    load.tell(f"well {took:.3f} s after the repair")
    load.judge()
    assert took < REPAIRED_WITHIN


@pytest.mark.parametrize(
    ("world", "fault"), CASES, indirect=["world"], ids=[f"{fault.__name__}-{kind}" for kind, fault in CASES]
)
def test_faults(world: World, fault: Fault, seconds: float) -> None:
    """The status service, its database, or the network in between."""
    endure(world, fault, seconds)


@pytest.mark.parametrize("world", [SQLITE], indirect=True)
def test_paused_gateways(world: World, seconds: float) -> None:
    """A gateway that wakes up does not write what it had ready when it fell asleep.

    Between its look at the clock and the system call that writes lie a few microseconds, and nothing keeps a process
    from being stopped right there. So one answer of each process may be an old one: the one that it was writing.
    """
    with Load(world, world.issue(enough(seconds)), pause=PAUSE) as load:
        load.revoke()
        time.sleep(0.2)
        load.revoke_now()
        for gateway in world.gateways:
            gateway.pause()
        paused_at = time.monotonic()
        time.sleep(seconds)
        resumed_at = time.monotonic()
        for gateway in world.gateways:
            gateway.resume()
        took = load.wait_until_well(resumed_at)
        load.wait_out_the_bound()
    load.tell(f"well {took:.3f} s after the repair")

    old: Counter[int] = Counter()

    def was_being_written(heard: Heard) -> bool:
        """One for each process, and asked for before the pause."""
        old[heard.gateway] += 1
        return heard.asked_at < paused_at and old[heard.gateway] <= WORKERS

    load.judge(was_being_written)
    assert took < REPAIRED_WITHIN
