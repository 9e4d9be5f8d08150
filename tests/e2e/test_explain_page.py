"""docs/explain.md, as printed, and what it says of refusals."""

from __future__ import annotations

from pathlib import Path

from gateway.answer import Why
from tests.e2e.system import System
from tests.pages import script_of

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()


def test_the_page(system: System) -> None:
    """The commands work by copy and paste, and find what the page says that they find."""
    done = system.run("bash", "-euo", "pipefail", "-c", script_of(PAGE, system) + "\necho the end", timeout=120)
    assert done.stdout.endswith("the end\n")
    said = done.stdout + done.stderr
    for expected in (
        "unauthorized (6)",
        'What to do: The request mixes the name of "issuing" with the key of "root"',
        "the status is good",
        "revoke (superseded)",
        'Issuer "issuing" is known, and has no certificate with serial number 1003',
        "Verification: passed",
        "passed: it is the nonce of the request",
        '{"explanations":[{',
    ):
        assert expected in said, expected


def test_every_refusal_is_named() -> None:
    """The page has the reason of every refusal."""
    assert [why for why in Why if f"`{why}`" not in PAGE] == []
