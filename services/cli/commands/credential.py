"""`goodstanding credential`: who may call the gRPC services. Works on the data folder, without the services."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click

from services.cli import output
from services.cli.credentials import (
    SERVER,
    Credential,
    TlsAuthority,
    check_server_names,
    load_authority,
    load_certificate,
    record,
)
from services.cli.failures import Failed
from services.cli.files import write_file
from services.cli.folder import DataFolder
from services.cli.groups import Group
from services.cli.options import FOLDER, data_option, json_option
from services.cli.settings import open_database, readable
from services.clock import rfc3339, utc_now
from services.config import Settings, load_settings
from services.db.credentials import deny_credential, list_credentials, upsert_credential
from services.db.engine import Database
from services.db.records import CredentialRecord
from services.pki import mtls

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
LONGEST = timedelta(days=3650)


@dataclass(frozen=True)
class Office:
    """What the commands work with."""

    folder: DataFolder
    settings: Settings
    db: Database

    def authority(self) -> TlsAuthority:
        """The root of the credentials."""
        return load_authority(self.folder, self.settings.tls.trust_domain)


@contextmanager
def office(data: Path) -> Iterator[Office]:
    """The data folder and its database."""
    folder = DataFolder(data)
    folder.require()
    with readable():
        settings = load_settings(folder.config)
    with open_database(settings) as db:
        yield Office(folder, settings, db)


@click.group("credential", cls=Group)
def command() -> None:
    """Make, renew, list and deny credentials for the gRPC services."""


@command.command("new")
@click.option("--name", required=True, help="Who it is for; also the name of the files.")
@click.option("--role", required=True, type=click.Choice((*mtls.ROLES, SERVER)), help="What it may do.")
@click.option(
    "--out", metavar="DIR", type=FOLDER, help="Where NAME.pem, NAME.key and ca.pem go.  [default: tls in --data]"
)
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="How long it is valid.")
@click.option(
    "--server-name",
    "server_names",
    metavar="NAME",
    multiple=True,
    help="For role server: what it answers to besides localhost.",
)
@data_option
@json_option
def new(
    name: str, role: str, out: Path | None, days: int, server_names: tuple[str, ...], data: Path, as_json: bool
) -> None:
    """Make a credential: a key and a certificate for it."""
    if NAME.fullmatch(name) is None or name == "ca":
        raise click.BadParameter("lower-case letters, digits, dots and hyphens, and not ca.", param_hint="'--name'")
    if server_names and role != SERVER:
        raise click.UsageError("--server-name is for --role server.")
    check_server_names(server_names)
    with office(data) as at:
        file = (out or at.folder.tls) / f"{name}.pem"
        if file.exists():  # a key that lost its certificate is none that anybody can use
            raise Failed(f"{file} is there already: `goodstanding credential renew {name}` replaces it and its key")
        now, validity = utc_now(), timedelta(days=days)
        authority = at.authority()
        if role == SERVER:
            credential = authority.server(name, server_names, now, validity)
        else:
            credential = authority.client(name, role, now, validity)
        finish(at, credential, file, as_json=as_json)


@command.command("renew")
@click.argument("name")
@click.option("--out", metavar="DIR", type=FOLDER, help="Where NAME.pem and NAME.key are.  [default: tls in --data]")
@data_option
@json_option
def renew(name: str, out: Path | None, data: Path, as_json: bool) -> None:
    """Replace a credential by a new one for the same name and role, with a new key, as long valid as it was.

    Running services pick theirs up by themselves. The old one stays valid until it expires or is denied.
    """
    with office(data) as at:
        file = (out or at.folder.tls) / f"{name}.pem"
        if name == "ca" or not file.exists():
            raise Failed(
                f"{file} is not there: no credential of that name to renew; see `goodstanding credential list`, or "
                "make one: `goodstanding credential new`"
            )
        finish(at, at.authority().renewed(name, load_certificate(file), utc_now()), file, as_json=as_json)


@command.command("list")
@data_option
@json_option
def list_command(data: Path, as_json: bool) -> None:
    """List the credentials, the latest made first."""
    with office(data) as at, at.db.read() as conn:
        found = [describe(credential) for credential in list_credentials(conn)]
    if as_json:
        output.emit({"credentials": found})
        return
    columns = ("name", "role", "state", "not_after_time", "denied_because", "fingerprint")
    output.table(
        [column.removesuffix("_time").replace("_", " ").upper() for column in columns],
        ([credential[column] for column in columns] for credential in found),
    )


@command.command("deny")
@click.argument("who", metavar="NAME|FINGERPRINT")
@click.option("--because", metavar="TEXT", default="", help="Why; kept with it.")
@data_option
@json_option
def deny(who: str, because: str, data: Path, as_json: bool) -> None:
    """Deny a credential, or all of a name. The services refuse it within a second; there is no way back.

    A fingerprint that is not recorded here (the database is older than the credential) is denied all the same.
    """
    fingerprint = who.lower().replace(":", "")
    by_fingerprint = FINGERPRINT.fullmatch(fingerprint) is not None
    with office(data) as at, at.db.write() as conn:
        found = [
            credential
            for credential in list_credentials(conn)
            if (credential.fingerprint == fingerprint if by_fingerprint else credential.name == who)
        ]
        now = utc_now()
        if not found and by_fingerprint:
            found = [unrecorded(fingerprint, now)]
            upsert_credential(conn, found[0])
            output.note("warning: no credential with this fingerprint is recorded here; check that it is the right one")
        if not found:
            raise Failed(f"no credential {who}: see `goodstanding credential list`")
        denied = [deny_credential(conn, credential.fingerprint, now, because) for credential in found]
    described = [describe(credential) for credential in denied if credential is not None]
    if as_json:
        output.emit({"credentials": described})
        return
    for credential in described:
        click.echo(output.plain(f"denied {credential['name']} ({credential['role']}) {credential['fingerprint']}"))


def unrecorded(fingerprint: str, now: datetime) -> CredentialRecord:
    """A credential of which nothing but the fingerprint is known. None that we make is valid longer than this says."""
    return CredentialRecord(fingerprint, "unrecorded", "unknown", "", now + LONGEST, now, None, "")


def finish(at: Office, credential: Credential, file: Path, *, as_json: bool) -> None:
    """Record a credential, write its files, and say so."""
    made = credential.record(utc_now())
    record(at.db, credential, made.created_at)
    if file.parent != at.folder.tls:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        root = file.parent / "ca.pem"
        if not root.exists():
            write_file(root, (at.folder.tls / "ca.pem").read_bytes(), private=False)  # never through a planted link
    credential.write(file)
    if as_json:
        output.emit({**describe(made), "certificate": str(file), "key": str(file.with_suffix(".key"))})
        return
    click.echo(
        f"{credential.name} ({credential.role}): {file} and {file.with_suffix('.key')}, valid until "
        f"{moment(made)['not_after_time']}"
    )


def describe(credential: CredentialRecord) -> output.Json:
    """A credential as JSON."""
    state = "denied" if credential.denied_at else "expired" if credential.not_after < utc_now() else "valid"
    return {
        "name": credential.name,
        "role": credential.role,
        "identity": credential.identity,
        "fingerprint": credential.fingerprint,
        "state": state,
        **moment(credential),
        "denied_because": credential.denied_because or None,
    }


def moment(credential: CredentialRecord) -> output.Json:
    """The times of a credential as JSON."""
    times = {
        "create_time": credential.created_at,
        "not_after_time": credential.not_after,
        "denied_time": credential.denied_at,
    }
    return {name: rfc3339(time) if time else None for name, time in times.items()}
