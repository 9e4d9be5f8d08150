"""The options that say which certificates a revocation is about."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from services.cli import output
from services.cli.once import Once
from services.cli.options import READABLE, CertificateName, Moment, Target, read_certificate

R = TypeVar("R")

FILTER_TIMES = ("issue_from_time", "issue_until_time", "not_after_from_time", "not_after_until_time")


@dataclass(frozen=True)
class Selection:
    """Which certificates the user means: one of five ways to say it."""

    serials: tuple[str, ...]
    certificates: tuple[Path, ...]
    serials_file: Path | None
    key: Path | None
    filters: Mapping[str, Any]
    """Fields of CertificateFilter, those that were given; without the issuer."""
    issuer: str

    def check(self) -> None:
        """Raises UsageError unless it is exactly one."""
        ways = [self.serials, self.certificates, self.serials_file, self.key, self.filters]
        given = sum(way not in (None, (), {}) for way in ways)
        if not all(map(str.strip, self.serials)):
            raise click.UsageError("A SERIAL is empty; is a variable of the shell not set?")
        if given > 1 or (not given and not self.issuer):
            raise click.UsageError(
                "Give either a serial number (hex) or --cert FILE, one or several of them; or else --serials FILE, "
                "--key FILE, or filters such as --name, --profile and --issuer."
            )
        if self.key and self.issuer:
            raise click.UsageError("--key FILE means all certificates with that key, whoever issued them.")

    @property
    def is_open(self) -> bool:
        """Whether the user cannot have counted what is meant."""
        return not (self.serials or self.certificates or self.serials_file)

    def single(self) -> Target | None:
        """The one certificate that is named, if it is one."""
        if len(self.serials) == 1:
            return Target(self.serials[0], None)
        if len(self.certificates) == 1:
            return Target("", read_certificate(self.certificates[0]))
        return None


def selection_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command the ways to name certificates, as one argument `selection`."""

    @click.argument("serials", metavar="[SERIAL]...", nargs=-1)
    @click.option(
        "--cert",
        "certificates",
        metavar="FILE",
        type=READABLE,
        multiple=True,
        help="The certificate itself, PEM or DER (-: standard input). May be repeated.",
    )
    @click.option(
        "--serials",
        "serials_file",
        cls=Once,
        metavar="FILE",
        type=READABLE,
        help="Serial numbers, one a line, each with a reason behind it if it has its own (-: standard input).",
    )
    @click.option(
        "--key",
        "leaked_key",
        cls=Once,
        metavar="FILE",
        type=READABLE,
        help="All with this key: a certificate, certificate request, public or private key. A private key is not sent.",
    )
    @click.option(
        "--issuer", cls=Once, metavar="NAME", default="", help="The issuer; needed where several fit. Alone: a filter."
    )
    @click.option(
        "--profile",
        cls=Once,
        metavar="NAME",
        help="Filter: all of this profile. CAs and OCSP responders are meant only by theirs.",
    )
    @click.option(
        "--name",
        cls=Once,
        metavar="NAME",
        type=CertificateName(),
        help="Filter: all with this common or alternative name, whole.",
    )
    @click.option("--issued-by", cls=Once, metavar="IDENTITY", help="Filter: all that this caller asked for.")
    @click.option(
        "--issued-from", "issue_from_time", cls=Once, type=Moment(), help="Filter: issued at this time or later."
    )
    @click.option(
        "--issued-before", "issue_until_time", cls=Once, type=Moment(), help="Filter: issued before this time."
    )
    @click.option(
        "--expires-from", "not_after_from_time", cls=Once, type=Moment(), help="Filter: expires then or later."
    )
    @click.option(
        "--expires-before", "not_after_until_time", cls=Once, type=Moment(), help="Filter: expires before this time."
    )
    @click.option("--state", cls=Once, type=click.Choice(list(output.STATES)), help="Filter: in this state.")
    @functools.wraps(function)
    def with_selection(
        serials: tuple[str, ...],
        certificates: tuple[Path, ...],
        serials_file: Path | None,
        leaked_key: Path | None,
        issuer: str,
        state: str | None,
        **others: Any,
    ) -> R:
        filters = {name: others.pop(name) for name in ("profile", "name", "issued_by", *FILTER_TIMES)}
        filters["state"] = output.STATES[state] if state else None
        given = {name: value for name, value in filters.items() if value is not None}
        selection = Selection(serials, certificates, serials_file, leaked_key, given, issuer)
        selection.check()
        return function(selection=selection, **others)

    return with_selection
