"""Options that say what is meant, or narrow it down: given once, and with a value, or not at all.

What it guards against: a shell variable that is not set makes `--name ""`, and a filter that is dropped means more than
the user does. Of an option that is given twice click keeps the last, in silence: the first was meant as well.
"""

from __future__ import annotations

from typing import Any

import click


class Once(click.Option):
    """An option with one value. An empty one, or a second one, is wrong usage; without any it is its `default`."""

    def __init__(self, param_decls: Any = None, *, default: Any = None, **attrs: Any) -> None:
        self._otherwise = default
        super().__init__(param_decls, multiple=True, callback=self._only, **attrs)

    def _only(self, ctx: click.Context, param: click.Parameter, values: tuple[Any, ...]) -> Any:
        # Of an option that may be repeated click hands over all values: here they are counted.
        if len(values) > 1:
            raise click.BadParameter(
                f"it is given {len(values)} times, and takes one value; run the command once for each.",
                ctx=ctx,
                param=param,
            )
        if not values:
            return self._otherwise
        if isinstance(values[0], str) and not values[0].strip():
            raise click.BadParameter(
                "it is empty. Give a value, or leave the option out; is a variable of the shell not set?",
                ctx=ctx,
                param=param,
            )
        return values[0]
