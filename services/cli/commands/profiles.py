"""`goodstanding profiles`: which certificates a configuration lets the CA issue, or the running ca service.

Reads files and calls nobody, but with --running.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from services.cli import output
from services.cli.client import connect
from services.cli.failures import Failed, mistakes
from services.cli.folder import DataFolder
from services.cli.groups import Group
from services.cli.options import FILE, Connection, connection_options, json_option
from services.clock import utc_now
from services.config import profiles_in
from services.pki.lint import LinterMissing, require_pkilint
from services.pki.profile import Profile
from services.pki.profile_text import table_of, toml_of
from services.pki.profile_words import write_duration
from services.pki.profiles import OCSP_RESPONDER
from services.pki.validity import longest_validity
from services.profile_files import FileUnreadable

if TYPE_CHECKING:
    from goodstanding.ca.v1 import ca_pb2

COLUMNS = ("PROFILE", "FOR", "VALID", "AT MOST", "ROLES", "NAMES")

running_option = click.option("--running", is_flag=True, help="Those of the running ca service, and not of a file.")
config_option = click.option(
    "--config", metavar="FILE", type=FILE, help="The configuration, if it is not in the data folder."
)


@click.group("profiles", cls=Group)
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
        raise Failed(mistakes(problems))
    try:
        require_pkilint({profile.name: profile.lint for profile in profiles.values()})
    except LinterMissing as missing:
        output.note(f"on this machine, {missing}")
    output.note(f"no mistakes: {', '.join(profiles)}")


@command.command("list")
@running_option
@config_option
@json_option
@connection_options
def list_command(running: bool, config: Path | None, as_json: bool, connection: Connection) -> None:
    """List the profiles, built-in and configured, with the validity of what is issued today."""
    if running:
        _list_running(connection, config, as_json=as_json)
        return
    profiles, now = _of(connection.data, config), utc_now()
    if as_json:
        output.emit({"profiles": [_json(profile, now) for profile in profiles.values()]})
        return
    output.table(COLUMNS, [_row(profile, now) for profile in profiles.values()])


@command.command("show")
@click.argument("name")
@running_option
@config_option
@json_option
@connection_options
def show_command(name: str, running: bool, config: Path | None, as_json: bool, connection: Connection) -> None:
    """Print a profile as TOML, with every setting: ready to be changed and put into a configuration.

    But for ocsp-responder, which stays as it is.
    """
    if running:
        _show_running(name, connection, config, as_json=as_json)
        return
    profiles = _of(connection.data, config)
    if name not in profiles:
        raise Failed(f"there is no profile {name}; one of {', '.join(profiles)}")
    if as_json:
        output.emit(_json(profiles[name], utc_now()))
    else:
        _echo(name, toml_of(profiles[name]))


def _list_running(connection: Connection, config: Path | None, *, as_json: bool) -> None:
    found = _running(connection, config)
    if as_json:
        output.emit({"profiles": [_running_json(profile) for profile in found.values()]})
        return
    rows = (
        (
            profile.name,
            profile.description,
            write_duration(profile.default_validity.ToTimedelta()),
            write_duration(profile.max_validity.ToTimedelta()),
            ", ".join(profile.roles),
            ", ".join(profile.name_kinds) or "-",
        )
        for profile in found.values()
    )
    output.table(COLUMNS, rows)


def _show_running(name: str, connection: Connection, config: Path | None, *, as_json: bool) -> None:
    found = _running(connection, config)
    if name not in found:
        raise Failed(f"there is no profile {name}; one of {', '.join(found)}")
    if as_json:
        output.emit(_running_json(found[name]))
    else:
        _echo(name, found[name].settings_toml)


def _echo(name: str, toml: str) -> None:
    if name == OCSP_RESPONDER:
        click.echo("# Built in, and stays as it is: no configuration may hold this table.")
    click.echo(output.plain(toml), nl=False)


def _running(connection: Connection, config: Path | None) -> dict[str, ca_pb2.Profile]:
    """The profiles of the running ca service, by name."""
    from goodstanding.ca.v1 import ca_pb2, ca_pb2_grpc

    if config is not None:
        raise click.UsageError("--running asks the ca service; --config is for a file.")
    with connect(connection, "ca") as ca:
        stub = ca_pb2_grpc.CertificateAuthorityServiceStub(ca.channel)
        response = ca.call(stub.ListProfiles, ca_pb2.ListProfilesRequest())
    return {profile.name: profile for profile in response.profiles}


def _running_json(profile: ca_pb2.Profile) -> output.Json:
    """As `_json` has it: the table of settings, read back."""
    table = tomllib.loads(profile.settings_toml)["profiles"][profile.name]
    return _settings_json(profile.name, table, profile.max_validity.ToTimedelta())


def _json(profile: Profile, now: datetime) -> output.Json:
    return _settings_json(profile.name, table_of(profile), longest_validity(profile, now))


def _settings_json(name: str, table: dict[str, Any], longest: timedelta) -> output.Json:
    """The table of a profile; dates become text, and the limit of the day is added."""
    if not isinstance(caps := table["validity"]["cap"], str):
        table["validity"]["cap"] = [{**cap, "from": cap["from"].isoformat()} for cap in caps]
    table["validity"]["max_now"] = write_duration(longest)
    return {"name": name, **table}


def _row(profile: Profile, now: datetime) -> tuple[str, ...]:
    longest = longest_validity(profile, now)
    return (
        profile.name,
        profile.description,
        write_duration(min(profile.default_validity, longest)),
        write_duration(longest),
        ", ".join(sorted(profile.roles)),
        ", ".join(sorted(profile.allowed_name_kinds)) or "-",
    )


def _of(data: Path, config: Path | None) -> Mapping[str, Profile]:
    """Those of the configuration. Raises Failed where there is none."""
    folder = DataFolder(data)
    if config is None:
        folder.require()
    profiles, problems = _read(config or folder.config)
    if problems:
        raise Failed(mistakes(problems))
    return profiles


def _read(file: Path) -> tuple[Mapping[str, Profile], list[str]]:
    try:
        return profiles_in(file)
    except FileUnreadable as error:
        raise Failed(str(error)) from error
