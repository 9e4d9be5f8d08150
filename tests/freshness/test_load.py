"""G3 under full load: several writers revoke what clients ask two gateways about, by POST, with nonces, and by GET."""

from __future__ import annotations

import time

from tests.freshness.load import Load, enough
from tests.freshness.world import World


def test_no_good_after_the_bound_under_full_load(world: World, seconds: float) -> None:
    """No answer that is asked for or written at or after T + τ is good, and everybody tells of every revocation."""
    with Load(world, world.issue(enough(seconds)), connections=5) as load:
        load.revoke()
        time.sleep(seconds)
        load.wait_out_the_bound()
    load.tell()
    load.judge()
