"""The keys that Debian's OpenSSL of 2006 to 2008 could make are recognised (R102, CVE-2008-0166)."""

from __future__ import annotations

from itertools import pairwise, product

import pytest

from services.known_keys.debian import is_debians
from services.known_keys.debian_files import KINDS, RECORD_SIZE, path_of
from services.known_keys.records import Records
from tests.known_keys.published import BE32, HARICA, LE32, LE64, PUBLISHED, Published
from tools.debian_weak_keys.__main__ import number_of
from tools.debian_weak_keys.generator import MACHINES, Machine, Seed

# Process ids whose RSA keys are found quickly: few numbers had to be tried.
QUICK = (
    (LE32, Seed.READ, 36),
    (LE32, Seed.ABSENT, 62),
    (LE32, Seed.NOT_READ, 20),
    (LE64, Seed.READ, 115),
    (LE64, Seed.ABSENT, 56),
    (LE64, Seed.NOT_READ, 71),
    (BE32, Seed.READ, 101),
    (BE32, Seed.ABSENT, 120),
    (BE32, Seed.NOT_READ, 91),
)


@pytest.mark.parametrize("known", PUBLISHED, ids=lambda known: f"{known.kind}-{known.machine.name}")
def test_published_keys_are_recognised(known: Published) -> None:
    """Keys that others made with the real thing are in the lists, and none that differs by a bit."""
    assert is_debians(known.kind, known.number)
    assert not is_debians(known.kind, known.number ^ 1 << 40)


@pytest.mark.parametrize(("machine", "seed", "process_id"), QUICK)
def test_rsa_keys_made_again_are_listed(machine: Machine, seed: Seed, process_id: int) -> None:
    """The list of RSA keys covers each kind of machine and each way of being seeded."""
    assert is_debians("rsa-2048", number_of("rsa-2048", machine, seed, process_id))


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_ec_keys_made_again_are_listed(curve: str) -> None:
    """The lists of EC keys cover the first and the last process id of each machine and each way of being seeded."""
    for machine, seed, process_id in product(MACHINES, Seed, (0, 1, 32767)):
        assert is_debians(curve, number_of(curve, machine, seed, process_id)), (machine.name, seed, process_id)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_are_whole(kind: str) -> None:
    """Each list has a record for each process id of the nine ways to start, in ascending order."""
    records = list(Records(path_of(kind).read_bytes(), RECORD_SIZE))
    assert len(records) == 9 * 32768
    assert all(one < other for one, other in pairwise(records))


@pytest.mark.parametrize("kind", ["rsa-3072", "rsa-2047", "ed25519"])
def test_kinds_without_list(kind: str) -> None:
    """A key of a kind that no list is for is in none."""
    assert not is_debians(kind, HARICA.number)
