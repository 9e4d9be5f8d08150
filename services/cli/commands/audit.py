"""`goodstanding audit`: who decided what, when, and proof that nothing of it was changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from goodstanding.ca.v1 import audit_pb2, audit_pb2_grpc, ca_pb2
from services.cli import output
from services.cli.client import Client, connect
from services.cli.failures import Failed
from services.cli.groups import Group
from services.cli.listing import Column, Format, format_options, show
from services.cli.once import Once
from services.cli.options import (
    READABLE,
    WRITABLE,
    Connection,
    Moment,
    Target,
    connection_options,
    issuer_option,
    json_option,
    target_options,
)
from services.db.chain import ChainVerifier, Flaw, Head

if TYPE_CHECKING:
    from services.cli.audit_statuses import Comparison

PAGE = 500
MAX_FLAWS = 20

COLUMNS = (
    Column("TIME", lambda value: value["time"]),
    Column("METHOD", lambda value: value["method"], cut=True),
    Column("RESULT", lambda value: value["result"], cut=True),
    Column("IDENTITY", lambda value: value["actor"]["identity"] or value["actor"]["peer"], cut=True),
    Column("ISSUER", lambda value: value["issuer"], cut=True, spare=3),
    Column("SERIAL NUMBER", lambda value: value["serial_number"], spare=1),
    Column("DETAILS", lambda value: summary(value["details"]), cut=True, spare=2),
    Column("PEER", lambda value: value["actor"]["peer"], cut=True, spare=6),
    Column("REQUEST ID", lambda value: value["actor"]["request_id"], cut=True, spare=7),
    Column("SEQUENCE", lambda value: value["sequence"], spare=5),
)


class KeptHead(click.ParamType[Head]):
    """SEQUENCE:HASH, as `audit head` prints it."""

    name = "head"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Head:
        """The head."""
        if isinstance(value, Head):
            return value
        try:
            return Head.parse(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}.", param, ctx)


@click.group("audit", cls=Group)
def command() -> None:
    """Read, export and verify the audit log: every decision, in a chain of hashes."""


@command.command("list")
@click.option("--from", "time_from", cls=Once, type=Moment(), help="Only entries of this time or later.")
@click.option("--until", "time_until", cls=Once, type=Moment(), help="Only entries of before this time.")
@click.option("--identity", cls=Once, metavar="URI", default="", help="Only entries of this identity.")
@click.option(
    "--method", cls=Once, metavar="NAME", default="", help="Only entries of this method, such as IssueCertificate."
)
@click.option(
    "--result", cls=Once, metavar="REASON", default="", help="Only entries with this result: OK, or a reason."
)
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="How many at the most.")
@click.option("--all", "without_limit", is_flag=True, help="All of them.")
@format_options
@connection_options
def list_command(
    time_from: datetime | None,
    time_until: datetime | None,
    identity: str,
    method: str,
    result: str,
    refused: bool,
    limit: int,
    without_limit: bool,
    form: Format,
    connection: Connection,
) -> None:
    """List entries, the latest first."""
    request = audit_pb2.ListAuditEntriesRequest(identity=identity, method=method, result=result, refused=refused)
    if time_from is not None:
        request.from_time.FromDatetime(time_from)
    if time_until is not None:
        request.until_time.FromDatetime(time_until)
    request.page_size = PAGE if without_limit else min(PAGE, limit + 1)
    with connect(connection, "ca") as ca:
        show(form, "entries", COLUMNS, entries(ca, request), None if without_limit else limit)


@command.command("show")
@target_options
@issuer_option
@json_option
@connection_options
def show_command(target: Target, issuer: str, as_json: bool, connection: Connection) -> None:
    """Show who issued, revoked or asked for a certificate, and when: named by its SERIAL number or --cert FILE."""
    request = audit_pb2.ListAuditEntriesRequest(page_size=PAGE)
    request.issuer_and_serial_number.issuer = issuer
    request.issuer_and_serial_number.serial_number = serial_of(target)
    with connect(connection, "ca") as ca:
        found = sorted(entries(ca, request), key=lambda value: value["sequence"])
    if not found and not as_json:
        raise Failed("the audit log tells nothing of this serial number")
    show(Format(json=as_json), "entries", COLUMNS, found, None)


@command.command("export")
@click.option("--out", metavar="FILE", type=WRITABLE, help="Write here.  [default: standard output]")
@click.option("--after", metavar="SEQUENCE", type=click.IntRange(0), default=0, help="Begin behind this entry.")
@connection_options
def export_command(out: Path | None, after: int, connection: Connection) -> None:
    """Export entries as JSON lines, oldest first, in the form that `audit verify --file` checks."""
    with connect(connection, "ca") as ca:
        lines = exported(ca, after)
        if out is None:
            for line in lines:
                click.echo(line)
            return
        count = 0
        with out.open("w", encoding="utf-8", newline="\n") as file:
            for count, line in enumerate(lines, 1):  # noqa: B007 - the last one counts
                file.write(line + "\n")
    output.note(f"{count} entries")


@command.command("head")
@json_option
@connection_options
def head_command(as_json: bool, connection: Connection) -> None:
    """Print the last entry's number and hash. Keep it where nobody who may write to the database can."""
    with connect(connection, "ca") as ca:
        response = ca.call(audit_pb2_grpc.AuditServiceStub(ca.channel).GetAuditHead, audit_pb2.GetAuditHeadRequest())
    head = Head(response.sequence, response.hash)
    if as_json:
        as_of = output.when(response, "as_of_time")
        output.emit({"sequence": head.sequence, "hash": head.hash.hex(), "head": str(head), "as_of_time": as_of})
    else:
        click.echo(str(head))


@command.command("verify")
@click.option("--file", metavar="FILE", type=READABLE, help="Verify what was exported, without the service (-: stdin).")
@click.option(
    "--head",
    "heads",
    metavar="SEQUENCE:HASH",
    type=KeptHead(),
    multiple=True,
    help="A head that was kept: the log has to hold it. May be given several times.",
)
@click.option("--statuses", is_flag=True, help="Compare every certificate with what the log says of it, too.")
@json_option
@connection_options
def verify_command(
    file: Path | None, heads: tuple[Head, ...], statuses: bool, as_json: bool, connection: Connection
) -> None:
    """Find any entry that was changed, removed or moved. Without --head, a log made anew as a whole passes.

    The hashes are computed here: the service is not believed. --statuses names every certificate whose status, end or
    profile was changed in the database and not by the CA. Exit status 1 if anything is wrong.
    """
    if file is not None:
        if statuses:
            raise click.UsageError("--statuses compares with the log of the service: leave --file out.")
        verifier = ChainVerifier(heads)
        flaws = check(verifier, lines_of(file))
        if not verifier.count and not flaws:
            raise Failed(
                f"{file} holds no entry, and verifies nothing: did the export fail? (Behind the last there is none.)"
            )
        _tell(verifier, flaws, None, as_json=as_json)
        return
    with connect(connection, "ca") as ca:
        stub = audit_pb2_grpc.AuditServiceStub(ca.channel)
        now = ca.call(stub.GetAuditHead, audit_pb2.GetAuditHeadRequest())
        verifier = ChainVerifier([Head(now.sequence, now.hash), *heads])
        comparison = _comparison(ca, verifier) if statuses else None
        flaws = check(verifier, comparison.reading(exported(ca, 0)) if comparison else exported(ca, 0))
        if comparison and not flaws:
            flaws = comparison.run(MAX_FLAWS)
    _tell(verifier, flaws, comparison, as_json=as_json)


def _comparison(ca: Client, verifier: ChainVerifier) -> Comparison:
    from services.cli.audit_statuses import Comparison
    from services.cli.commands.list import certificates

    def later() -> Iterator[str]:
        return exported(ca, verifier.head.sequence)

    every = certificates(ca, ca_pb2.ListCertificatesRequest(page_size=PAGE))
    return Comparison(ca, verifier, every, later)


def _tell(verifier: ChainVerifier, flaws: list[Flaw], comparison: Comparison | None, *, as_json: bool) -> None:
    """Print what was found. Raises Failed where anything is wrong."""
    differences = comparison.differences if comparison else []
    if as_json:
        told = [{"sequence": flaw.sequence, "text": flaw.text} for flaw in flaws]
        valid = not flaws and not differences
        found = {"valid": valid, "count": verifier.count, "head": str(verifier.head), "flaws": told}
        output.emit({**found, "statuses": comparison.described()} if comparison else found)
    else:
        for text in (*(flaw.text for flaw in flaws), *map(str, differences)):
            click.echo(output.plain(text), err=True)
    if flaws:
        raise Failed(f"the audit log is not as it was written: see entry {flaws[0].sequence}")
    if differences:
        raise Failed("the database is not what the audit log says: somebody has changed it beside the CA")
    if not as_json:
        click.echo(f"{verifier.count} entries, unbroken; head {verifier.head}")
        if comparison:
            click.echo(comparison.summary())


def entries(ca: Client, request: audit_pb2.ListAuditEntriesRequest) -> Iterator[output.Json]:
    """All entries that fit, page after page, as they are asked for."""
    stub = audit_pb2_grpc.AuditServiceStub(ca.channel)
    while True:
        page = ca.renewed().call(stub.ListAuditEntries, request)
        yield from map(described, page.entries)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


def exported(ca: Client, after: int) -> Iterator[str]:
    """The lines of an export."""
    stub = audit_pb2_grpc.AuditServiceStub(ca.channel)
    part: audit_pb2.ExportAuditEntriesResponse
    for part in ca.stream(stub.ExportAuditEntries, audit_pb2.ExportAuditEntriesRequest(after_sequence=after)):
        yield from part.entries_json


def lines_of(file: Path) -> Iterator[str]:
    """The lines of a file that was exported."""
    stream = sys.stdin.buffer if str(file) == "-" else file.open("rb")
    with stream:
        for line in stream:
            yield line.rstrip(b"\r\n").decode("utf-8", "replace")


def check(verifier: ChainVerifier, lines: Iterable[str]) -> list[Flaw]:
    """The first flaws of a chain: one change may show in many places."""
    flaws: list[Flaw] = []
    for line in lines:
        flaws += verifier.take(line)
        if len(flaws) >= MAX_FLAWS:
            return flaws
    return flaws + verifier.end()


def serial_of(target: Target) -> str:
    """The serial number that was given, or that of the certificate."""
    if target.certificate is None:
        return target.serial
    from services.cli.commands.get import load

    return f"{load(target.certificate).serial_number:x}"


def described(value: audit_pb2.AuditEntry) -> output.Json:
    """An entry as JSON."""
    return {
        "sequence": value.sequence,
        "time": output.when(value, "time"),
        "actor": output.actor(value.actor),
        "method": value.method,
        "result": value.result,
        "issuer": value.issuer or None,
        "serial_number": value.serial_number or None,
        "details": read_details(value.details_json),
        "previous_hash": value.previous_hash.hex(),
        "hash": value.hash.hex(),
    }


def read_details(text: str) -> output.Json:
    """The details; whatever they are, if somebody changed them."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"unreadable": text}


def summary(details: output.Json) -> str:
    """Details in a table: what a person asks about first, without hashes."""
    return ", ".join(
        f"{name} {_plain(value)}" for name, value in details.items() if not name.endswith(("sha256", "fingerprint"))
    )


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} ({each})" for key, each in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
