"""Plans: what asks, what goes on without asking, and that nothing happens without a yes."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

CODE = """
import sys
import click
from services.cli import output
from services.cli.consent import Consent, Proposal, consent_options

@click.command()
@consent_options
def command(consent: Consent) -> None:
    def act() -> tuple[output.Json, str]:
        return {"made": True}, "made"
    consent.carry_out(Proposal(("make it", "keep it"), act, ("it is new",)))

command()
"""


def run(*arguments: str, typed: str | None = None) -> tuple[int, str]:
    """Exit status and output, with a terminal on which that is typed, or without one."""
    command = [sys.executable, "-c", CODE, *arguments]
    if typed is None:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stdout + done.stderr
    ours, its = pty.openpty()
    try:
        os.write(ours, typed.encode())
        done = subprocess.run(command, stdin=its, capture_output=True, text=True, timeout=60, check=False)
    finally:
        os.close(ours)
        os.close(its)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "typed", "status", "made"),
    [
        pytest.param((), None, 1, False, id="no-terminal"),
        pytest.param((), "n\n", 1, False, id="no"),
        pytest.param((), "\n", 1, False, id="neither"),
        pytest.param((), "y\n", 0, True, id="yes"),
        pytest.param(("--yes",), None, 0, True, id="yes-by-option"),
        pytest.param(("--dry-run",), None, 0, False, id="dry-run"),
        pytest.param(("--dry-run", "--yes"), None, 0, False, id="dry-run-wins"),
    ],
)
def test_nothing_without_a_yes(arguments: tuple[str, ...], typed: str | None, status: int, made: bool) -> None:
    """The plan is shown either way, each step and what follows from it."""
    returned, said = run(*arguments, typed=typed)
    assert (returned, "made\n" in said) == (status, made)
    assert "  1. make it\n  2. keep it\n  Note: it is new\n" in said
