"""A whole certificate authority on a fresh database, and callers to use it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.ca.settings import AuthoritySettings
from services.ca.writer import Writer
from services.db.engine import Database
from services.db.records import Actor
from tests.ca.importing import with_old_key
from tests.ca.revocation_lists import PUBLIC_URL, Lists, Ticks, make_schedule
from tests.ca.world import Ca, Hierarchy, ManualClock, make_actor, make_ca, make_hierarchy


@pytest.fixture(scope="session")
def hierarchy() -> Hierarchy:
    """One hierarchy for all tests: keys take time to make."""
    return make_hierarchy()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """A writer on the test's database."""
    with Writer(database) as running:
        yield running


@pytest.fixture
def ca(database: Database, writer: Writer, hierarchy: Hierarchy, clock: ManualClock) -> Ca:
    """A certificate authority, on SQLite and on PostgreSQL."""
    return make_ca(database, writer, hierarchy, clock)


@pytest.fixture
def issuer() -> Actor:
    """A caller that may issue."""
    return make_actor("issuer")


@pytest.fixture
def revoker() -> Actor:
    """A caller that may revoke."""
    return make_actor("revoker")


@pytest.fixture
def responder() -> Actor:
    """A gateway."""
    return make_actor("responder")


@pytest.fixture
def old(ca: Ca) -> Ca:
    """An installation that can open the old CA's key."""
    return with_old_key(ca)


@pytest.fixture
def lists(ca: Ca) -> Iterator[Lists]:
    """Revocation lists; full ones only."""
    ticks = Ticks()
    schedule = make_schedule(ca, ticks)
    yield Lists(ca, schedule, ticks)
    schedule.close()


@pytest.fixture
def sharded(database: Database, writer: Writer, hierarchy: Hierarchy, clock: ManualClock) -> Iterator[Lists]:
    """Revocation lists; three shards beside the full one."""
    settings = AuthoritySettings(public_url=PUBLIC_URL, crl_distribution="sharded", crl_shards=3)
    ca, ticks = make_ca(database, writer, hierarchy, clock, settings), Ticks()
    schedule = make_schedule(ca, ticks)
    yield Lists(ca, schedule, ticks)
    schedule.close()
