"""The walk-throughs in docs/walkthroughs, as printed: each in a folder of its own, with the services that it starts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.pages import assert_in_order, script_of

PAGES = Path(__file__).parents[2] / "docs" / "walkthroughs"
START = "<!-- the services run from here on -->"


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[System]:
    """A system that is not started yet."""
    system = System(tmp_path)
    yield system
    assert system.stop() == 0


def run_page(name: str, system: System) -> str:
    """Run a page from its beginning to its end, and return what it says. One shell each before and after the start."""
    before, found, after = (PAGES / f"{name}.md").read_text().partition(START)
    assert found
    said = []
    for part in (before, after):
        commands = script_of(part, system)
        if part is after:
            system.start()
        done = system.run("bash", "-euo", "pipefail", "-c", commands + "\necho the end", timeout=180)
        assert done.stdout.endswith("the end\n")
        said.append(done.stdout + done.stderr)
    return "\n".join(said)


EXPECTED = {
    "two-tier": [
        r"subject=CN = Example root CA",
        r"CA:TRUE, pathlen:0",
        r"alpha.pem: OK\nbeta.pem: OK\ngamma.pem: OK",
        r"alpha.pem: good",
        r"beta.pem: revoked",
        r"1\. open the key of root: safe-one/root.key",
        r"Note: devices, issuing are active then",
        r"devices +active +root +p-256",
        r"sensor.pem: OK",
        r"sensor.pem: good",
        r"revocation list 2 of root: 0 entries",
        r"crlNumber=0x02",
    ],
    "roll-over": [
        r"before.pem: OK",
        r"sign another certificate for the key of issuing",
        r"before.pem: OK\nbefore.pem: OK",
        r"between.pem: OK",
        r"between.pem: good",
        r"retire issuing: it issues nothing more",
        r"after.pem: OK",
        r"after.pem: good",
        r"before.pem: good",
        r"before.pem: revoked",
        r"issuing +retired +root",
        r"issuing-2 +active +root",
        r"Note: 1 of what it issued is still valid",
        r"issuing is offline",
    ],
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_a_walk_through_works_as_printed(fresh: System, name: str) -> None:
    """Every command succeeds, and says what the page promises, in that order."""
    said = run_page(name, fresh)
    assert_in_order(said, EXPECTED[name])
    assert not re.search(r"verify error|Verify Failure|: error", said, re.IGNORECASE)


def test_every_page_is_run() -> None:
    """A page that no test runs would rot."""
    assert {page.stem for page in PAGES.glob("*.md")} == EXPECTED.keys() | {"key-leaked"}
