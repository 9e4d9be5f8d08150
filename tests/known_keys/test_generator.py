"""The model of Debian's generator of 2006 to 2008 (CVE-2008-0166) makes the keys that the real thing made."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.known_keys.lists import read_list
from tests.known_keys.published import BADKEYS_EC, HARICA, LE32, LE64, Published
from tools.debian_weak_keys.__main__ import number_of
from tools.debian_weak_keys.generator import Machine, Seed


@pytest.mark.parametrize("known", [HARICA, *BADKEYS_EC], ids=lambda known: known.kind)
def test_the_model_makes_published_keys(known: Published) -> None:
    """The model of the generator makes the very keys that the real thing made."""
    assert number_of(known.kind, known.machine, known.seed, known.process_id) == known.number


# Some lines of blacklist.RSA-2048 of Debian's package openssl-blacklist.
BLACKLIST = """\
# the beginning says how it is used
00006aa0ce2cd60e6660
00008be7025d9f1a9088
00008f7e6a29aea0b430
0001313db46d8945bba0
00015b6662ff95aefa3f
70a51edc06f82ad131bc
"""


@pytest.mark.parametrize(
    ("machine", "process_id"), [(LE32, 8458), (LE64, 2186)], ids=lambda given: getattr(given, "name", str(given))
)
def test_the_model_makes_keys_of_debians_list(tmp_path: Path, machine: Machine, process_id: int) -> None:
    """Keys that Debian listed in 2008 come out of the model, and are known by Debian's list as they are by ours."""
    path = tmp_path / "blacklist.RSA-2048"
    path.write_text(BLACKLIST)
    assert read_list(path).holds("rsa-2048", number_of("rsa-2048", machine, Seed.NOT_READ, process_id))
