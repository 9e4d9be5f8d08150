"""`goodstanding import`: what another CA has issued comes in, with its statuses, and nobody's certificate changes."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from services.cli.consent import Consent, consent_options
from services.cli.failures import Failed
from services.cli.groups import Group
from services.cli.options import ANYWHERE, FILE, FOLDER, Connection, connection_options, json_option

if TYPE_CHECKING:
    from cryptography import x509

    from services.cli.importing.carrying_out import Opened
    from services.cli.importing.findings import Findings
    from services.openssl_ca.layout import Parts

R = TypeVar("R")

EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.group("import", cls=Group)
def command() -> None:
    """Bring in what another CA has issued, with its statuses, and the CA itself.

    For the CA's host, as the user that the ca service runs as, while it runs: the key is encrypted anew in the data
    folder, and the service records the rest. Run it with --dry-run first. The same command again brings only what is
    new, and completes one that was cut off.
    """


def import_options(function: Callable[..., R]) -> Callable[..., R]:
    """Give the command what both kinds of imports have, as one argument `common`."""

    @click.option("--chain", metavar="FILE", type=FILE, help="The CA certificates above it, up to the root (PEM).")
    @click.option("--key", metavar="FILE", type=FILE, help="The CA's private key (PEM).")
    @click.option(
        "--passphrase-file",
        metavar="FILE",
        type=FILE,
        help="The passphrase of that key.  [default: GOODSTANDING_PASSPHRASE_NAME, prompt]",
    )
    @click.option("--offline", is_flag=True, help="Leave the key out: the issuer issues nothing here.")
    @click.option("--name", metavar="NAME", help="How the issuer is called here.  [default: made of its common name]")
    @click.option("--retired", is_flag=True, help="It has issued, and shall do no more than answer for that.")
    @click.option("--skip-bad", is_flag=True, help="Leave out what is refused, and bring in the rest.")
    @click.option("--dry-run", is_flag=True, help="Print the report, and record nothing.")
    @json_option
    @connection_options
    @functools.wraps(function)
    def with_common(**options: Any) -> R:
        if options["retired"] and options["offline"]:
            raise click.UsageError("--retired is for an issuer whose key is imported; with --offline, it is offline.")
        if options["offline"] and (options["key"] or options["passphrase_file"]):
            raise click.UsageError("--offline leaves the key out: --key and --passphrase-file have no use then.")
        return function(**options)

    return with_common


@command.command("openssl")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@click.option("--config", metavar="FILE", type=FILE, help="openssl.cnf.  [default: DIR/openssl.cnf, if it is there]")
@click.option("--section", metavar="NAME", help="The CA's section in it.  [default: default_ca]")
@click.option("--index", metavar="FILE", type=ANYWHERE, help="index.txt.")
@click.option("--ca", "certificate", metavar="FILE", type=ANYWHERE, help="The CA's own certificate.")
@click.option("--newcerts", metavar="DIR", type=FOLDER, help="Where the certificates are, named SERIAL.pem.")
@click.option("--serial-file", metavar="FILE", type=ANYWHERE, help="The file with the next serial number.")
@click.option("--crlnumber-file", metavar="FILE", type=ANYWHERE, help="The file with the next CRL number.")
@click.option("--crl", metavar="FILE", type=FILE, multiple=True, help="A revocation list to compare with.")
@import_options
def openssl_command(
    folder: Path,
    config: Path | None,
    section: str | None,
    index: Path | None,
    certificate: Path | None,
    newcerts: Path | None,
    serial_file: Path | None,
    crlnumber_file: Path | None,
    crl: tuple[Path, ...],
    chain: Path | None,
    key: Path | None,
    offline: bool,
    **common: Any,
) -> None:
    """Bring in the CA that `openssl ca` keeps in DIR: its certificate, chain, key, and every row of index.txt.

    Its parts are found by openssl.cnf, by the places where guides put them, or as they are named one by one.
    """
    from services.cli.importing import openssl_folder
    from services.openssl_ca.layout import Parts

    given = Parts(index, certificate, key, chain, newcerts, serial_file, crlnumber_file, crl)
    parts, notes = openssl_folder.find(folder, config, section, given, os.environ)
    openssl_folder.require(folder, parts, given, offline=offline)

    def opener(authority: x509.Certificate, findings: Findings) -> Opened:
        return openssl_folder.open_records(parts, authority, findings, notes)

    _carry_out(parts, opener, offline=offline, **common)


@command.command("certificates")
@click.argument("folder", metavar="DIR", type=EXISTING_FOLDER)
@click.option("--ca", "certificate", metavar="FILE", type=FILE, required=True, help="The CA's own certificate.")
@click.option("--crl", metavar="FILE", type=FILE, help="Its revocation list: those on it come in as revoked.")
@import_options
def certificates_command(
    folder: Path,
    certificate: Path,
    crl: Path | None,
    chain: Path | None,
    key: Path | None,
    offline: bool,
    **common: Any,
) -> None:
    """Bring in the certificates in DIR and the folders in it, PEM or DER, with their statuses from a revocation list.

    What is on the list without a certificate comes in as revoked, too. Without --key the issuer is offline.
    """
    from services.cli.importing import certificate_folder
    from services.openssl_ca.layout import Parts

    def opener(authority: x509.Certificate, findings: Findings) -> Opened:
        return certificate_folder.open_records(folder, crl, authority, findings)

    _carry_out(Parts(certificate=certificate, chain=chain, key=key), opener, offline=offline, **common)


@command.command("abandon")
@click.argument("name")
@consent_options
@connection_options
def abandon_command(name: str, consent: Consent, connection: Connection) -> None:
    """Give up the import of issuer NAME, which was not completed: its name is free again.

    Nobody was told of what came in, and nobody will be. To complete an import instead, run it again.
    """
    from services.cli.importing.abandoning import propose

    consent.carry_out(propose(connection, name))


def _carry_out(
    parts: Parts,
    opener: Callable[[x509.Certificate, Findings], Opened],
    *,
    offline: bool,
    passphrase_file: Path | None,
    name: str | None,
    retired: bool,
    skip_bad: bool,
    dry_run: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    from services.cli.importing.carrying_out import Wanted, carry_out

    if parts.certificate is None:
        raise Failed("the CA's own certificate was not found: name it with --ca")
    wanted = Wanted(
        connection=connection,
        certificate=parts.certificate,
        chain=parts.chain,
        key=None if offline else parts.key,
        passphrase_file=passphrase_file,
        name=name,
        retired=retired,
        skip_bad=skip_bad,
        dry_run=dry_run,
        as_json=as_json,
    )
    carry_out(wanted, opener)
