"""docs/explain.md, as printed, and what it says of refusals."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.answer import Why
from tests.e2e.system import System

PAGE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text()


def test_the_page(system: System) -> None:
    """The commands work by copy and paste, and find what the page says that they find."""
    blocks = "\n".join(re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    for printed, actual in (("127.0.0.1:2560", system.http), ("127.0.0.1:2561", system.ops)):
        blocks = blocks.replace(printed, actual)
    done = system.run("bash", "-euo", "pipefail", "-c", blocks + "\necho the end", timeout=120)
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
