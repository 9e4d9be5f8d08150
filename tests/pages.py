"""The pages of the documentation, as tests read them: what is printed there is what runs."""

from __future__ import annotations

import re

from tests.e2e.system import System


def blocks(page: str, language: str = "bash") -> list[str]:
    """The blocks of a page in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def script_of(page: str, system: System) -> str:
    """The shell blocks of a page, with the addresses of `system`."""
    actual = {
        "127.0.0.1:2560": system.http,
        "127.0.0.1:2561": system.ops,
        "127.0.0.1:50051": system.ca,
        "127.0.0.1:50052": system.status,
    }
    return re.sub("|".join(map(re.escape, actual)), lambda printed: actual[printed[0]], "\n".join(blocks(page)))


def assert_in_order(said: str, patterns: list[str]) -> None:
    """Each pattern is found behind the one before it."""
    position = 0
    for pattern in patterns:
        found = re.compile(pattern).search(said, position)
        assert found, f"{pattern!r} is missing after:\n{said[:position]}\n----\n{said[position:]}"
        position = found.end()
