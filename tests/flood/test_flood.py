"""Floods: random serial numbers, random encodings of one CertID, more real serial numbers than the cache holds.

The long form with its table is `make flood`. Here every bound is generous: a test fails where memory follows the number
of questions, or where hot answers starve, and not because others use the machine.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial

import pytest
from cryptography.x509 import ocsp

from tests.flood.answers import Client
from tests.flood.asker import SUCCESSFUL, TRY_LATER
from tests.flood.conftest import Flooded
from tests.flood.flooding import Watch, flood, kept, memory
from tests.flood.place import TAU
from tests.flood.questions import CYCLING, KINDS, SPELLINGS
from tests.waiting import wait_until

MAX_GROWTH = 16 << 20
"""Octets, for the allocators of a whole process."""
BLOCKS = 8_000
"""Of memory that Python's objects may take anyway: what is under way, and memories that are bounded."""
RATE = 4500.0
"""Questions per second, more than most machines answer."""
STRETCHES = (0.4, 0.7, 0.7, 0.7, 0.7)
"""Seconds; the first one warms up."""
LEAST_BESIDE = 2.0
"""Hot answers for each answer of the flood."""
TRIES = 5


def target(kind: str, flooded: Flooded) -> list[int]:
    """Whose certificates a flood is about; the random spellings are about a hot one."""
    return flooded.hot if kind == SPELLINGS else flooded.others


@pytest.mark.parametrize("kind", KINDS)
def test_memory_and_queues_are_bounded(flooded: Flooded, kind: str) -> None:
    """Memory does not grow with what is asked, the queue and the cache stay within their settings, the rest waits."""
    place = flooded.place
    with Watch(place) as watch:
        noted = memory(place, kind, target(kind, flooded), STRETCHES, RATE)
    highest = watch.highest
    assert noted.blocks[-1] - noted.blocks[0] < BLOCKS + 0.5 * noted.answered, noted
    for octets in (noted.gateway, noted.status):
        assert not noted.follows_answers(octets, each=200, anyway=512 << 10), noted
        assert octets[-1] - octets[0] < MAX_GROWTH, noted
    assert watch.looks
    assert highest["goodstanding_http_pending"] <= place.max_pending
    assert highest["goodstanding_cache_entries"] <= place.cache_entries
    assert highest["goodstanding_cache_bytes"] <= 128 << 20
    assert kind != CYCLING or highest["goodstanding_cache_entries"] == place.cache_entries
    for counts in noted.counts:
        assert counts.words.keys() <= {SUCCESSFUL, TRY_LATER}
    assert noted.answered > 0
    put_off = watch.counted("goodstanding_http_overloaded_total") + watch.counted(
        "goodstanding_ocsp_answers_total:try_later"
    )
    assert put_off >= noted.put_off
    # A quick machine may answer all that this test can ask.
    assert noted.put_off or highest["goodstanding_http_pending"] < place.max_pending
    assert watch.counted("goodstanding_ocsp_answers_total:internal_error") == 0


@pytest.mark.parametrize("kind", KINDS)
def test_hot_answers_do_not_starve(flooded: Flooded, kind: str) -> None:
    """In the best of some tries, there are at least twice as many hot answers as the flood gets in the same time.

    Both come from the same process in the same moments, so other work on the machine takes from both. Where hot answers
    have to wait in one line with the flood's questions, there is about one for each of those.
    """
    found = []
    ask = partial(flooded.place.ask_hot, flooded.hot)
    for _ in range(TRIES):
        found.append(kept(flooded.place, kind, ask, target(kind, flooded), (0.2, 0.6), RATE))
        if found[-1].beside_flood >= LEAST_BESIDE:
            return
    pytest.fail(f"{[each.beside_flood for each in found]} for one of the flood: {found}")


def test_answers_are_right_meanwhile(flooded: Flooded) -> None:
    """During all floods at once hot answers verify, revocations show in time, and nothing else than OCSP is said."""
    place = flooded.place
    with ExitStack() as stack:
        client = stack.enter_context(Client(place))
        for serial in flooded.spare:
            wait_until(lambda serial=serial: client.status(serial) is ocsp.OCSPCertStatus.GOOD, within=10)  # type: ignore[misc]
        floods = [flood(place, kind, target(kind, flooded), 0.0, RATE / 4) for kind in KINDS]
        revoked_at = {serial: place.revoke(serial) for serial in flooded.spare}
        for serial in flooded.hot[:10]:
            assert client.status(serial) in (ocsp.OCSPCertStatus.GOOD, None)
        for serial, moment in revoked_at.items():
            time.sleep(max(0.0, moment + TAU - time.monotonic()))
            assert client.status(serial) in (ocsp.OCSPCertStatus.REVOKED, None)
            wait_until(lambda serial=serial: client.status(serial) is ocsp.OCSPCertStatus.REVOKED, within=10)  # type: ignore[misc]
        for each in floods:
            assert each.end().words.keys() <= {SUCCESSFUL, TRY_LATER}


def test_afterwards_all_is_as_before(flooded: Flooded) -> None:
    """A flood leaves nothing over: no queue and no connections, and all hot answers are the same octets as before."""
    place = flooded.place
    with Client(place) as client:
        wait_until(lambda: all(client.status(each) is ocsp.OCSPCertStatus.GOOD for each in flooded.hot), within=10)
        before = [client.raw(serial) for serial in flooded.hot]
        flood(place, CYCLING, flooded.others, 0.5, RATE).end()
        wait_until(lambda: place.metrics()["goodstanding_http_pending"] == 0, within=10)
        assert all(client.status(serial) is ocsp.OCSPCertStatus.GOOD for serial in flooded.hot)
        assert [client.raw(serial) for serial in flooded.hot] == before
    wait_until(lambda: place.metrics()["goodstanding_http_open_connections"] == 0, within=10)
