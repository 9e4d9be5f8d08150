"""`goodstanding init`: makes a data folder, and starts nothing."""

from __future__ import annotations

from pathlib import Path

import click

from services.cli import output
from services.cli.credentials import check_server_names
from services.cli.folder import CA_ADDRESS, HTTP_ADDRESS, OPS_ADDRESS, STATUS_ADDRESS, DataFolder
from services.cli.init import initialise
from services.cli.options import HostPort, HttpUrl, data_option, json_option, key_type_option
from services.cli.plan import Plan
from services.clock import utc_now


@click.command("init")
@data_option
@click.option(
    "--ca", metavar="HOST:PORT", type=HostPort(), default=CA_ADDRESS, show_default=True, help="The CA service."
)
@click.option(
    "--status",
    metavar="HOST:PORT",
    type=HostPort(),
    default=STATUS_ADDRESS,
    show_default=True,
    help="The status service.",
)
@click.option(
    "--http",
    metavar="HOST:PORT",
    type=HostPort(),
    default=HTTP_ADDRESS,
    show_default=True,
    help="The gateway, for OCSP clients.",
)
@click.option(
    "--ops",
    metavar="HOST:PORT",
    type=HostPort(),
    default=OPS_ADDRESS,
    show_default=True,
    help="The gateway, for operators.",
)
@click.option(
    "--public-url", metavar="URL", type=HttpUrl(), help="The gateway as clients know it; goes into certificates."
)
@click.option(
    "--database-url",
    metavar="URL",
    envvar="GOODSTANDING_DATABASE__URL",
    default=Plan.database_url,
    show_default=True,
    help="sqlite:///PATH (in the data folder) or postgresql://…",
)
@click.option("--name", default=Plan.name, show_default=True, help="What the names of the authorities begin with.")
@click.option(
    "--server-name",
    "server_names",
    metavar="NAME",
    multiple=True,
    help="What the gRPC servers answer to besides localhost. May be repeated.",
)
@key_type_option
@json_option
def command(
    data: Path,
    ca: str,
    status: str,
    http: str,
    ops: str,
    public_url: str | None,
    database_url: str,
    name: str,
    server_names: tuple[str, ...],
    key_type: str,
    as_json: bool,
) -> None:
    """Make a data folder: root and issuing CA, credentials, configuration, database.

    The folder is there with everything in it afterwards, or not at all.
    """
    check_server_names(server_names)
    plan = Plan(ca, status, http, ops, public_url, database_url, name, server_names, key_type)
    initialise(DataFolder(data), plan, utc_now())
    if as_json:
        output.emit({"data": str(data), "config": str(data / "config.toml")})
        return
    output.note(
        f"initialised {data}. Move {data}/ca/root.key and {data}/secrets/root.passphrase to two safe places: "
        "no service needs them."
    )
