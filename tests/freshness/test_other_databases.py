"""G3 where the database is not the one that it was: a replica that lags, and a copy that was restored."""

from __future__ import annotations

import time

import pytest

from tests.freshness.hammer import GOOD, REVOKED, TRY_LATER
from tests.freshness.load import REPAIRED_WITHIN, TAU, Load, enough
from tests.freshness.world import World

PAUSE = 0.002


@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
def test_a_replica_that_lags(world: World, seconds: float) -> None:
    """A status service that is behind what a gateway has seen is not listened to, however well it answers.

    SQLite has no replicas: a copy of the file is another database, as in the next test.
    """
    with Load(world, world.issue(enough(seconds)), pause=PAUSE) as load:
        address, replica = world.replica(world.database.copy())
        load.wait_until_well(time.monotonic())
        load.revoke_now()
        load.wait_until_told()
        load.revoke()
        world.line.switch(address)
        time.sleep(seconds)
        world.line.switch(world.status_address)
        took = load.wait_until_well(time.monotonic())
        load.wait_out_the_bound()
        replica.stop()
    load.tell(f"well {took:.3f} s after the repair")
    load.judge()
    assert any(each.word == TRY_LATER for each in load.heard), "nobody noticed"
    assert took < REPAIRED_WITHIN


def test_a_restored_database(world: World, seconds: float) -> None:
    """Revisions are used again with other meanings, and what was revoked in between is good again; nothing is mixed.

    The restore itself undoes revocations, and no responder can know better. What has to hold is that gateways tell of
    one database at a time: once a gateway has told of the new one it never goes back, and a revocation in the new one
    has the same bound as any other.
    """
    with Load(world, world.issue(enough(seconds)), pause=PAUSE) as load:
        copy = world.database.copy()
        load.wait_until_well(time.monotonic())
        undone = [load.revoke_now() for _ in range(6)]
        load.wait_until_told()
        for service in (world.status, world.ca):
            service.ask_to_stop()
        for service in (world.status, world.ca):
            service.stop()
        world.database.restore(copy)
        load.forget_acknowledgements()
        for service in (world.status, world.ca):  # the CA last: until then, revisions have gone back in one history
            service.start().wait_up()
        restored_at = time.monotonic()
        took = load.wait_until_well(restored_at)
        load.revoke()
        time.sleep(seconds)
        load.wait_out_the_bound()
    load.tell(f"well {took:.3f} s after the repair")
    load.judge()
    for gateway in range(2):
        for certificate in undone:
            said = [each for each in load.heard if (each.gateway, each.certificate) == (gateway, certificate)]
            anew = min(each.written_at for each in said if each.word == GOOD and each.asked_at >= restored_at)
            back = [str(each) for each in said if each.word == REVOKED and each.asked_at >= anew]
            assert not back, back[:5]
            late = [str(each) for each in said if each.word == REVOKED and each.asked_at >= restored_at + TAU]
            assert not late, late[:5]
    assert took < REPAIRED_WITHIN
