"""Plans that are shown before anything happens, and what may make them happen.

A person on a terminal is asked; a script says `--yes`. Where neither is there, nothing is done.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from services.cli import output
from services.cli.failures import Failed
from services.cli.options import json_option

R = TypeVar("R")


@dataclass(frozen=True)
class Proposal:
    """What is going to happen, line by line, and how. `act` returns the result as JSON, and what to tell a person."""

    lines: tuple[str, ...]
    act: Callable[[], tuple[output.Json, str]]
    notes: tuple[str, ...] = ()
    """What follows from it: not part of the plan."""


@dataclass(frozen=True)
class Consent:
    """How the user wants a plan dealt with."""

    yes: bool
    dry_run: bool
    as_json: bool

    def carry_out(self, proposal: Proposal) -> None:
        """Show the plan, and do it if that is wanted. Raises Failed where nobody is there to say so."""
        plan = {"plan": list(proposal.lines), "notes": list(proposal.notes)}
        if not self.as_json or not self.dry_run:
            self._show(proposal)
        if self.dry_run:
            if self.as_json:
                output.emit({**plan, "done": False})
            return
        self._ask()
        result, told = proposal.act()
        if self.as_json:
            output.emit({**plan, "done": True, **result})
        else:
            click.echo(output.plain(told))

    def _show(self, proposal: Proposal) -> None:
        """On standard error where standard output is for JSON."""
        click.echo("Plan:", err=self.as_json)
        for number, line in enumerate(proposal.lines, 1):
            click.echo(output.plain(f"  {number}. {line}"), err=self.as_json)
        for note in proposal.notes:
            click.echo(output.plain(f"  Note: {note}"), err=self.as_json)

    def _ask(self) -> None:
        if self.yes:
            return
        if sys.stdin is None or not sys.stdin.isatty():
            raise Failed("nothing was done: there is no terminal to ask on; --yes carries the plan out")
        if not click.confirm("Carry this out?", err=True):
            raise Failed("nothing was done")


def consent_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command `--yes`, `--dry-run` and `--json`, as one argument `consent`."""

    @click.option("--yes", is_flag=True, help="Carry the plan out without asking.")
    @click.option("--dry-run", is_flag=True, help="Print the plan, and do nothing.")
    @json_option
    @functools.wraps(function)
    def with_consent(yes: bool, dry_run: bool, as_json: bool, **others: Any) -> R:
        return function(consent=Consent(yes, dry_run, as_json), **others)

    return with_consent
