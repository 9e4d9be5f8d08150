"""Groups of subcommands: `--help` lists each with its whole first sentence, where click would cut it off."""

from __future__ import annotations

import click

_WHOLE = 1000
"""Longer than any sentence."""


class Group(click.Group):
    """A group that says all that its subcommands are for."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands in the help."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(_WHOLE)) for name, each in found if each is not None])
