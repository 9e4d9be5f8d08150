"""The walk-through "a key leaked", as printed, with the real openssl."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.pages import assert_in_order, script_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "walkthroughs" / "key-leaked.md"
HEX = "[0-9a-f]{32}"


@pytest.fixture
def telling_system(tmp_path: Path) -> Iterator[System]:
    """A running system whose answers tell invalidity dates."""
    system = System(tmp_path, GOODSTANDING_GATEWAY__INVALIDITY_DATE="true").start()
    yield system
    assert system.stop() == 0


def test_the_walk_through_works_as_printed(telling_system: System) -> None:
    """Dry run, revoke, repeat; OCSP tells reason and invalidity date; what a credential asked for; a list."""
    script = script_of(DOCUMENT.read_text(), telling_system)
    done = telling_system.run("bash", "-euo", "pipefail", "-c", script + "\necho the end")
    would = [rf"{HEX} +good +revoked: keyCompromise +CN={name}" for name in ("shop", "shop", "mail")]
    told = (
        r"Cert Status: revoked\s+Revocation Time: .*\s+Revocation Reason: keyCompromise"
        r"[^$]*?Invalidity Date: *\s+Nov  3 09:30:00 2025 GMT"
    )
    assert_in_order(
        done.stdout,
        [
            *would,
            r"\n3 would be revoked\. Nothing was recorded\.",
            *[rf"{HEX} of issuing: revoked since .*, reason keyCompromise"] * 3,
            r"\n3 revoked\.",
            r"\n3 skipped, being so already\.",
            r"reason keyCompromise\n2 others with the same key: revoked",
            *[told] * 3,
            r"other.pem: good",
            r"good +revoked: privilegeWithdrawn +CN=other",
            r"\n1 would be revoked\.",
            r"\n1 revoked\.",
            r"privilegeWithdrawn",
            r"reason superseded\n",
            r"already revoked since .*, reason keyCompromise\n1 revoked, 1 skipped",
            r"SERIAL NUMBER",
            r"the end",
        ],
    )
    assert done.stderr.count("Response verify OK") == 4
