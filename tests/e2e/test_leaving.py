"""docs/leaving.md, as printed: everything on it works, and says what it promises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.system import System
from tests.e2e.test_walkthroughs import script

PAGE = Path(__file__).parents[2] / "docs" / "leaving.md"
EXPECTED = (
    r"ca: 3 certificates of issuing: 2 valid, 1 revoked, 0 expired\.",
    r"The key is not in it\. Take it along, encrypted as it is:\n  cp data/ca/issuing\.key ca/private/ca\.key\.pem",
    r"=Revoked \(R\)",
    r"=Valid \(V\)",
    r"crlNumber=0x0[2-9]",
    r"third\.pem: OK",
    r"0x[0-9A-F]+: revoked\n.*\n\s+Reason: superseded",
    r"0x[0-9A-F]+: revoked\n.*\n\s+Reason: keyCompromise",
)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[System]:
    """A system of this test's own."""
    system = System(tmp_path).start()
    yield system
    assert system.stop() == 0


def test_the_page_works_as_printed(fresh: System) -> None:
    """Every command succeeds, from the first certificate to the answer of OpenSSL's responder."""
    commands = script(PAGE.read_text(), fresh)
    done = fresh.run("bash", "-euo", "pipefail", "-c", f"exec 2>&1\n{commands}\necho the end", timeout=120)
    assert done.stdout.endswith("the end\n")
    position = 0
    for pattern in EXPECTED:
        found = re.compile(pattern).search(done.stdout, position)
        assert found, f"{pattern!r} is missing after:\n{done.stdout[:position]}\n----\n{done.stdout[position:]}"
        position = found.end()
    report = (fresh.folder / "report.txt").read_text()
    assert re.search(r"\b5\b", report), report
