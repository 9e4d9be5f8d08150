"""`goodstanding export`: take along what was issued here."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from services.cli import output
from services.cli.export import Progress, export_openssl
from services.cli.folder import DataFolder
from services.cli.groups import Group
from services.cli.index_writer import Exported
from services.cli.once import Once
from services.cli.options import FOLDER, Connection, connection_options, json_option


@click.group("export", cls=Group)
def command() -> None:
    """Take along what was issued here, with its statuses, to another certificate authority."""


@command.command("openssl")
@click.argument("folder", metavar="DIR", type=FOLDER)
@click.option("--issuer", cls=Once, metavar="NAME", default="", help="The issuer; needed where several are active.")
@json_option
@connection_options
def openssl_command(folder: Path, issuer: str, as_json: bool, connection: Connection) -> None:
    """Write the folder of an OpenSSL CA: index.txt, serial, crlnumber, newcerts, openssl.cnf.

    DIR is new or empty. `openssl ca` and `openssl ocsp` go on from there, once you have put the key where openssl.cnf
    looks for it: the key stays where it is, and is not read. See docs/leaving.md.
    """
    with _bar(shown=not as_json and sys.stderr.isatty()) as progress:
        done = export_openssl(connection, issuer, folder, progress)
    key = DataFolder(connection.data).authorities / f"{done.issuer}.key"
    if as_json:
        output.emit(_described(done, folder, key if key.is_file() else None))
    else:
        _tell(done, folder, key)
    for line in _warnings(done):
        output.note(line)


def _described(done: Exported, folder: Path, key: Path | None) -> output.Json:
    return {
        "folder": str(folder),
        "issuer": done.issuer,
        "certificates": done.count,
        "valid": done.states["V"],
        "revoked": done.states["R"],
        "expired": done.states["E"],
        "without_certificate": done.without_certificate,
        "beyond_index": done.beyond_index,
        "next_serial": done.next_serial,
        "next_crl_number": done.next_crl_number,
        "crl": done.crl,
        "issued_meanwhile": done.issued_meanwhile,
        "changed_meanwhile": done.changed_meanwhile,
        "key_file": str(key) if key else None,
    }


def _tell(done: Exported, folder: Path, key: Path) -> None:
    states = done.states
    without = f", {done.without_certificate} without certificate" if done.without_certificate else ""
    click.echo(
        f"{folder}: {done.count} certificates of {output.plain(done.issuer)}: {states['V']} valid, "
        f"{states['R']} revoked, {states['E']} expired{without}."
    )
    target = folder / "private" / "ca.key.pem"
    if key.is_file():
        click.echo(f"The key is not in it. Take it along, encrypted as it is:\n  cp {_typed(key)} {_typed(target)}")
        passphrase = DataFolder(key.parent.parent).secrets / f"{key.stem}.passphrase"
        if passphrase.is_file():
            click.echo(f"Its passphrase is in {passphrase}: openssl asks for it, or takes -passin file:FILE.")
    else:
        click.echo(f"The key is not in it: put it into {target}, encrypted as the ca service has it.")
    click.echo(f"Then: openssl ca -config {_typed(folder / 'openssl.cnf')} -gencrl -out {_typed(folder / 'crl.pem')}")


def _typed(path: Path) -> str:
    """As a shell takes it."""
    return shlex.quote(str(path))


def _warnings(done: Exported) -> Iterator[str]:
    if done.issued_meanwhile or done.changed_meanwhile:
        yield (
            f"Not all of one moment: while this was read, {done.issued_meanwhile} certificates were issued and "
            f"{done.changed_meanwhile} statuses changed. Export again once nothing changes any more."
        )
    if done.beyond_index:
        yield (
            f"{done.beyond_index} revocations have a reason or an invalidity time that index.txt cannot hold; it is in "
            "index.txt.more, and `openssl` will not tell it."
        )


def _nothing(written: int, total: int) -> None:
    """Nobody watches."""


@contextmanager
def _bar(*, shown: bool) -> Iterator[Progress]:
    if not shown:
        yield _nothing
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, console=Console(stderr=True, highlight=False)) as bars:
        task = bars.add_task("Exporting", total=None)

        def update(written: int, total: int) -> None:
            bars.update(task, completed=written, total=total)

        yield update
