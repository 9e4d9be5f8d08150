"""The model of Debian's generator of 2006 to 2008 (CVE-2008-0166) makes the keys that the real thing made."""

from __future__ import annotations

import pytest

from tests.known_keys.published import BADKEYS_EC, HARICA, Published
from tools.debian_weak_keys.__main__ import number_of


@pytest.mark.parametrize("known", [HARICA, *BADKEYS_EC], ids=lambda known: known.kind)
def test_the_model_makes_published_keys(known: Published) -> None:
    """The model of the generator makes the very keys that the real thing made."""
    assert number_of(known.kind, known.machine, known.seed, known.process_id) == known.number
