"""Load at a given rate, and what it says about answers that come late."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from benchmarks.paced import arrivals, paced
from tests.benchmarks.bent import ANSWER, responder


def test_requests_come_at_random_times_of_the_wanted_rate() -> None:
    """The same ones in every run; in order; about so many as were asked for."""
    times = arrivals(1000, 2)
    assert times == arrivals(1000, 2)
    assert len(times) == 2000
    assert all(early < late for early, late in pairwise(times))
    assert times[-1] == pytest.approx(2, rel=0.1)


def test_every_request_has_a_latency() -> None:
    """As many as there were times."""
    with responder(lambda _: ANSWER, close=False) as address:
        assert len(paced(address, lambda count: b"?" * count, arrivals(500, 0.2))) == 100


def test_a_pause_of_the_server_is_seen_by_all_that_it_delays() -> None:
    """Requests keep coming while nothing is answered, and have waited since they were due."""

    def pausing(number: int) -> bytes:
        time.sleep(0.2 if number == 0 else 0)
        return ANSWER

    # A hundred at once, more than there are connections: the last have to wait for the pauses of the first.
    with responder(pausing, close=False) as address:
        latencies = paced(address, lambda count: b"?" * count, [0.001 * number for number in range(100)])
    assert sum(latency >= 0.1 for latency in latencies) > 32
