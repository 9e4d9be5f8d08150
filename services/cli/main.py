"""The entry point: finds the subcommand, imports only that one, and turns every error into one line and an exit status.

Exit statuses: 0 done, 1 refused, failed or interrupted, 2 wrong usage. Results go to standard output, everything
else to standard error.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from services.cli.failures import one_line
from services.cli.options import FOLDER

# Name, module and what `goodstanding --help` says: listing the commands must not import them.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "up": ("services.cli.commands.up", "Run ca, status and gateway on this machine; the first start initialises."),
    "init": ("services.cli.commands.init", "Make a data folder: authorities, credentials, configuration, database."),
    "serve": ("services.cli.commands.serve", "Run one of the services, for production."),
    "db": ("services.cli.commands.db", "Look after the database."),
    "ca": ("services.cli.commands.ca", "Make, import, renew, roll over and retire the authorities."),
    "import": (
        "services.cli.commands.import_",
        "Bring in what another CA has issued: OpenSSL's folder, certificates, CRLs.",
    ),
    "credential": ("services.cli.commands.credential", "Make, renew, list and deny credentials for the gRPC services."),
    "issue": ("services.cli.commands.issue", "Issue a certificate for a certificate request."),
    "revoke": ("services.cli.commands.revoke", "Revoke a certificate, put it on hold, or release it."),
    "status": ("services.cli.commands.status", "Show whether a certificate is in good standing."),
    "explain": ("services.cli.commands.explain", "Say why an OCSP answer is what it is, and what to do about it."),
    "get": ("services.cli.commands.get", "Show a certificate with its state and history."),
    "list": ("services.cli.commands.list", "List certificates, the latest issued first."),
    "count": ("services.cli.commands.count", "Count certificates by issuer, profile and state."),
    "audit": ("services.cli.commands.audit", "Read, export and verify the audit log."),
    "keys": ("services.cli.commands.keys", "Block public keys, so that none of them is certified again."),
    "profiles": ("services.cli.commands.profiles", "Show and check profiles: which certificates are issued, to whom."),
    "export": ("services.cli.commands.export", "Take along what was issued here, to an OpenSSL CA."),
    "issuers": ("services.cli.commands.issuers", "List the issuers."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, and whose errors are one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The names, in the order of a day's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command, imported."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list of commands in the help, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what goes wrong comes out as one line, with the cure in it."""
        with one_line():
            return super().invoke(ctx)


def remember_data(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:  # noqa: ARG001
    """Keep the data folder for the subcommand: `services.cli.options` looks for it."""
    ctx.obj = value


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="goodstanding", message="%(prog)s %(version)s")
@click.option(
    "--data",
    metavar="DIR",
    type=FOLDER,
    expose_value=False,
    callback=remember_data,
    help="The data folder. After the subcommand it means the same, and wins.",
)
def cli() -> None:
    """A certificate authority and certificate-status backend.

    Commands find the services and their own credential through --data DIR (default: data, or GOODSTANDING_DATA).
    """


def main() -> None:
    """Run the command line of this process."""
    # gRPC's core would tell of failed handshakes in lines of its own, beside the line that explains them. It reads this
    # when it is imported. The services want those lines: see `services.logs`.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    cli(prog_name="goodstanding")
