"""`goodstanding profiles`: which certificates a configuration lets the CA issue. Reads files, and calls nobody."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from services.cli import output
from services.cli.failures import Failed
from services.cli.folder import DataFolder
from services.cli.options import FILE, data_option, json_option
from services.pki.lint import LinterMissing, require_pkilint
from services.pki.profile import Profile
from services.pki.profile_text import table_of, toml_of
from services.pki.profile_words import write_duration
from services.pki.profiles import BUILTIN
from services.profile_files import FileUnreadable, profiles_in

config_option = click.option(
    "--config", metavar="FILE", type=FILE, help="The configuration, if it is not in the data folder."
)


@click.group("profiles")
def command() -> None:
    """Show and check profiles: which certificates are issued, to whom, with what in them."""


@command.command("check")
@click.argument("file", type=FILE)
@json_option
def check_command(file: Path, as_json: bool) -> None:
    """Check the profiles in FILE: a configuration, or a file with [profiles.NAME] tables alone.

    Everything that is wrong is a line, with table and key.
    """
    profiles, problems = _read(file)
    if as_json:
        output.emit({"profiles": sorted(profiles) if not problems else [], "problems": problems})
        if problems:
            raise SystemExit(1)
        return
    if problems:
        raise Failed("\n".join([f"{len(problems)} mistakes" if len(problems) > 1 else "a mistake", *problems]))
    try:
        require_pkilint({profile.name: profile.lint for profile in profiles.values()})
    except LinterMissing as missing:
        output.note(f"on this machine, {missing}")
    output.note(f"no mistakes: {', '.join(profiles)}")


@command.command("list")
@data_option
@config_option
@json_option
def list_command(data: Path, config: Path | None, as_json: bool) -> None:
    """List the profiles, built-in and configured."""
    profiles = _of(data, config)
    if as_json:
        output.emit({"profiles": [_json(profile) for profile in profiles.values()]})
        return
    columns = ("PROFILE", "FOR", "VALID", "AT MOST", "ROLES", "NAMES")
    output.table(columns, [_row(profile) for profile in profiles.values()])


@command.command("show")
@click.argument("name")
@data_option
@config_option
@json_option
def show_command(name: str, data: Path, config: Path | None, as_json: bool) -> None:
    """Print a profile as TOML, with every setting: ready to be changed and put into a configuration."""
    profiles = _of(data, config)
    if name not in profiles:
        raise Failed(f"there is no profile {name}; one of {', '.join(profiles)}")
    if as_json:
        output.emit(_json(profiles[name]))
    else:
        click.echo(output.plain(toml_of(profiles[name])), nl=False)


def _json(profile: Profile) -> output.Json:
    """The table of a profile; dates become text."""
    table = table_of(profile)
    if not isinstance(caps := table["validity"]["cap"], str):
        table["validity"]["cap"] = [{**cap, "from": cap["from"].isoformat()} for cap in caps]
    return {"name": profile.name, **table}


def _row(profile: Profile) -> tuple[str, ...]:
    return (
        profile.name,
        profile.description,
        write_duration(profile.default_validity),
        write_duration(profile.max_validity),
        ", ".join(sorted(profile.roles)),
        ", ".join(sorted(profile.allowed_name_kinds)) or "-",
    )


def _of(data: Path, config: Path | None) -> Mapping[str, Profile]:
    """Those of the configuration; the built-in ones where there is none."""
    file = config or DataFolder(data).config
    if config is None and not file.exists():
        return BUILTIN
    profiles, problems = _read(file)
    if problems:
        raise Failed("; ".join(problems))
    return profiles


def _read(file: Path) -> tuple[Mapping[str, Profile], list[str]]:
    try:
        return profiles_in(file)
    except FileUnreadable as error:
        raise Failed(str(error)) from error
