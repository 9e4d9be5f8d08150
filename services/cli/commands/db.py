"""`goodstanding db`: the database's schema."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli import output
from services.cli.folder import DataFolder
from services.cli.groups import Group
from services.cli.options import FILE, data_option, json_option
from services.cli.settings import readable
from services.config import load_settings
from services.db.schema import upgrade


@click.group("db", cls=Group)
def command() -> None:
    """Look after the database."""


@command.command("upgrade")
@data_option
@click.option("--config", metavar="FILE", type=FILE, help="The configuration, if it is not in the data folder.")
@json_option
def upgrade_command(data: Path, config: Path | None, as_json: bool) -> None:
    """Bring the database's schema up to this version's. Make a backup first."""
    if config is None:
        DataFolder(data).require()
    with readable():
        settings = load_settings(config or DataFolder(data).config)
    upgrade(settings.database.url)
    if as_json:
        output.emit({"upgraded": True})
    else:
        output.note("the database is up to date")
